"""Unstructured sparsity: the smallest weights of a trained network become zero.

2026-11-20, why there is no Graph -> Graph function here. A Graph holds no weights, so the sparse network is the same
Graph, with the same digest, and dense kernels take the same time for it: a zero costs as much as any number. A model
file whose weights are really zero can be measured; `hwprof.variants.apply` writes it. Without weights the variant is
refused, because a record of a dense network would carry the name of a sparse one.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from hwprof.errors import InputError
from hwprof.graph import Graph

_WEIGHT_INPUTS = {
    "Conv": (1,), "ConvTranspose": (1,), "Gemm": (0, 1), "MatMul": (0, 1),
    "LSTM": (1, 2), "GRU": (1, 2), "RNN": (1, 2),
}  # fmt: skip


def sparsify_weights(graph: Graph, weights: Mapping[str, np.ndarray], sparsity: float) -> dict[str, np.ndarray]:
    """The weights by name, each [*shape] of its tensor, with a share `sparsity` in [0, 1) of each matrix or filter set
    to zero, the smallest first.

    Biases, normalization and embeddings stay. Raises InputError for another share.
    """
    if not 0 <= sparsity < 1:
        raise InputError(
            f"cannot set a share of {sparsity} of the weights to zero; give a share of at least 0 and below 1"
        )
    pruned = {name for names in sparsifiable(graph).values() for name in names}
    return {name: _zeroed(array, sparsity) if name in pruned else array for name, array in weights.items()}


def sparsifiable(graph: Graph) -> dict[str, tuple[str, ...]]:
    """By the name of each operator the matrices and filters among its weights, which `sparsify_weights` thins out."""
    found = {
        node.label: tuple(
            node.inputs[i]
            for i in _WEIGHT_INPUTS.get(node.op, ())
            if i < len(node.inputs) and node.inputs[i] in graph.weight_names
        )
        for node in graph.nodes
    }
    return {label: names for label, names in found.items() if names}


def _zeroed(array: np.ndarray, sparsity: float) -> np.ndarray:
    flat = array.ravel().copy()
    count = int(flat.size * sparsity)
    if count:
        flat[np.argpartition(np.abs(flat), count - 1)[:count]] = 0
    return flat.reshape(array.shape)
