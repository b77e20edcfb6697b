"""The decisions of the protocol, made without I/O and without a clock of their own."""
