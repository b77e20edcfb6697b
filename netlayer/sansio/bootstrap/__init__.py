"""What a bootstrap node answers."""
