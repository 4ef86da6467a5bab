"""What the integer engine runs: a list of typed integer operations with their weights, and no float between them."""
