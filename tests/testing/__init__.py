"""Tests of the simulated internet."""
