"""The integer engine's input: a list of typed integer operations with their weights, without floats between them."""
