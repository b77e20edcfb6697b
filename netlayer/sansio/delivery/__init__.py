"""What is under way to and from one peer."""
