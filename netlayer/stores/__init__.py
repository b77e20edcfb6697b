"""Where bootstrap nodes keep who holds which id."""
