"""Latency as something to optimize: expected and relaxed latencies, losses and budgets over a table or a predictor."""
