"""Runtimes, one per file. Each opens a graph on a device and times it; nothing else."""
