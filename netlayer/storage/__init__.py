"""What outlives a process: identities, keys of peers, lists of who may link."""
