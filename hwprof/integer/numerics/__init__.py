"""The arithmetic of the integer engine: fixed point, grids, and piecewise-linear functions."""
