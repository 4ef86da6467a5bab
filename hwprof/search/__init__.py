"""Searches: choose an architecture under a latency. They do not know any predictor class or backend: a latency is
passed in as a function."""
