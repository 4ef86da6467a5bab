"""Turns a quantized Graph into an integer program: one rule per family of operators."""
