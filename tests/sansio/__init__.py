"""Tests of the decisions: bytes and times in, events and bytes out."""
