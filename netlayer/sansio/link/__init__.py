"""One connection, from its introductions to its farewell."""
