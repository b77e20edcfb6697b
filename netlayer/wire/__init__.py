"""What travels: frames, the messages in them, and the values in packets. Bytes in, values out, no I/O."""
