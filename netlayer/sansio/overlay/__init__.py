"""Whom to link to, and when to try."""
