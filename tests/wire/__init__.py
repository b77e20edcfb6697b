"""Tests of what travels: frames, messages and values."""
