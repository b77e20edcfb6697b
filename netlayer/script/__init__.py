"""What plain scripts need: a reactor in a thread of its own, and a clock."""
