"""What meets Twisted: drivers of connections, listeners, dialers, look-ups, TLS."""
