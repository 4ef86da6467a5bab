"""Searches: choose an architecture under a latency. They know no predictor class and no backend: a latency
comes in as a function."""
