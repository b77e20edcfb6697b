"""Whole networks in seeded weather, and the ledger that judges every packet of them."""
