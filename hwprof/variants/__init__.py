"""Changes of a network: quantized, in half precision, pruned, factorized, sparse, without multiplications by zero.

`spec` is the grammar that names them, `apply` writes them with weights; each other file is one change or a part of it.
"""
