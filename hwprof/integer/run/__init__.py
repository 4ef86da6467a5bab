"""Two ways to run an integer program: with NumPy (the reference) and with the compiled kernels (the engine)."""
