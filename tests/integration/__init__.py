"""Tests with real sockets and real processes: few, and on 127.0.0.1 only."""
