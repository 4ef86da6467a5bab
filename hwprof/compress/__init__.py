"""Compression: shrinks a given network and keeps what it has learned."""
