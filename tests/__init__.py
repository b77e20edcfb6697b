"""The tests of netlayer; a file mirrors its module."""
