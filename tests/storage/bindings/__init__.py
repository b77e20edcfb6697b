"""Tests of the stores of bindings."""
