"""Faults between real processes: the members, what breaks their connections, and the ledger that judges the outcome."""
