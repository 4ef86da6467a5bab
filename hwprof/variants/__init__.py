"""Other networks made from a network, Graph -> Graph: quantize, half, prune, factorize; sparsify for real weights."""
