"""Low-rank factorization: a convolution or matrix product becomes two smaller ones.

Schemes of Trained Rank Pruning (Xu et al., arXiv 1812.02402): "channel" unfolds a filter n x c x k x k to
n x (c k k), a k x k convolution to `rank` channels and a 1 x 1 one after it; "spatial" unfolds it to
(c k) x (n k), a k x 1 convolution and a 1 x k one. A matrix has one unfolding.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Literal

import numpy as np

from hwprof.errors import InputError
from hwprof.graph import AttributeValue, Constant, Graph, Node, Tensor

FACTORS = ("_first", "_second")  # suffixes of the names of the two operators and weights
Scheme = Literal["channel", "spatial"]
_GEMM_WITHOUT_BIAS = 11  # the first opset whose Gemm needs no bias
Rank = int | float | Mapping[str, int | float]


def factorize(graph: Graph, rank: Rank, scheme: Scheme = "channel") -> Graph:
    """The graph with each Conv, Gemm and MatMul that gets smaller replaced by two of rank `rank`.

    rank: an int is the rank, a float in (0, 1] the share of the full one; a mapping gives either by operator
    name, for those operators only and even where it makes them larger. Grouped convolutions and weights
    that two operators share stay. Raises InputError for a rank, scheme or name that does not fit.
    """
    return _rewritten(graph, _splits(graph, rank, scheme))


def factorize_weights(
    graph: Graph,
    weights: Mapping[str, np.ndarray],
    rank: Rank,
    scheme: Scheme = "channel",
    bases: Mapping[str, np.ndarray] = MappingProxyType({}),
) -> tuple[Graph, dict[str, np.ndarray]]:
    """Like `factorize`, with the weights of the new graph by name, each [*shape] of its tensor.

    weights: those of the graph by name. The two factors are the truncated singular value decomposition, the nearest
    matrix of that rank; at full rank the network computes the same. bases: by operator orthonormal columns, [outputs,
    outputs], the most important one first; the outputs of the operator are projected onto the first `rank` of them.
    """
    splits = _splits(graph, rank, scheme)
    smaller = _rewritten(graph, splits)
    factors: dict[str, np.ndarray] = {}
    names = {node.outputs[0]: node.label for node in graph.nodes}
    for output, split in splits.items():
        first, second = split.factors(np.asarray(weights[split.weight.name]), bases.get(names[output]))
        factors |= {split.first.name: first, split.second.name: second}
    return smaller, {t.name: factors[t.name] if t.name in factors else weights[t.name] for t in smaller.weights}


def full_ranks(graph: Graph, scheme: Scheme = "channel") -> dict[str, int]:
    """By the name of each operator that `factorize` takes, the rank at which it computes the same."""
    return {name: min(unfolding.sides) for name, unfolding in unfoldings(graph, scheme).items()}


def smaller_ranks(graph: Graph, scheme: Scheme = "channel") -> dict[str, int]:
    """By the name of each operator that `factorize` can make smaller, the largest rank at which it does."""
    ranks: dict[str, int] = {}
    for name, unfolding in unfoldings(graph, scheme).items():
        full = min(unfolding.sides)
        saving = [rank for rank in range(full, 0, -1) if _split(unfolding, rank).saves]
        ranks |= {name: saving[0]} if saving else {}
    return ranks


def singular_values(
    graph: Graph, weights: Mapping[str, np.ndarray], scheme: Scheme = "channel"
) -> dict[str, np.ndarray]:
    """By the name of each operator that `factorize` takes, the singular values of its unfolded weight, descending,
    [full rank]. weights: those of the graph by name."""
    found = unfoldings(graph, scheme)
    matrices = {name: u.matrix(np.asarray(weights[u.weight.name], float)) for name, u in found.items()}
    return {name: np.linalg.svd(matrix, compute_uv=False) for name, matrix in matrices.items()}


# -- the unfoldings ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Unfolding:
    """A weight seen as a matrix [outputs, inputs], the product of [outputs, rank] and [rank, inputs].

    The operator of the right factor runs first, that of the left one second.
    """

    weight: Tensor

    @property
    def sides(self) -> tuple[int, int]:
        """Outputs and inputs of the matrix."""
        raise NotImplementedError

    def shapes(self, rank: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """The shapes of the first and of the second weight."""
        raise NotImplementedError

    def matrix(self, weight: np.ndarray) -> np.ndarray:
        """weight: of the weight's shape. Returns [outputs, inputs]."""
        raise NotImplementedError

    def array(self, matrix: np.ndarray) -> np.ndarray:
        """matrix: [outputs, inputs]. Returns the weight, of its shape: the inverse of `matrix`."""
        raise NotImplementedError

    def folded(self, left: np.ndarray, right: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """left: [outputs, rank]; right: [rank, inputs]. Returns the first and the second weight, of `shapes`."""
        raise NotImplementedError


class _Channel(Unfolding):
    """n x c x k... as n x (c k...)."""

    @property
    def sides(self) -> tuple[int, int]:
        n, *rest = self.weight.shape
        return n, math.prod(rest)

    def shapes(self, rank: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
        n, *rest = self.weight.shape
        return (rank, *rest), (n, rank, *(1 for _ in rest[1:]))

    def matrix(self, weight: np.ndarray) -> np.ndarray:
        return weight.reshape(self.sides)

    def array(self, matrix: np.ndarray) -> np.ndarray:
        return matrix.reshape(self.weight.shape)

    def folded(self, left: np.ndarray, right: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        first, second = self.shapes(len(right))
        return right.reshape(first), left.reshape(second)


class _Spatial(Unfolding):
    """n x c x p x q as (n q) x (c p)."""

    @property
    def sides(self) -> tuple[int, int]:
        n, c, p, q = self.weight.shape
        return n * q, c * p

    def shapes(self, rank: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
        n, c, p, q = self.weight.shape
        return (rank, c, p, 1), (n, rank, 1, q)

    def matrix(self, weight: np.ndarray) -> np.ndarray:
        return weight.transpose(0, 3, 1, 2).reshape(self.sides)

    def array(self, matrix: np.ndarray) -> np.ndarray:
        n, c, p, q = self.weight.shape
        return matrix.reshape(n, q, c, p).transpose(0, 2, 3, 1)

    def folded(self, left: np.ndarray, right: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        first, second = self.shapes(len(right))
        n, rank, _, q = second
        return right.reshape(first), left.reshape(n, q, rank).transpose(0, 2, 1).reshape(second)


class _Matrix(Unfolding):
    """outputs x inputs, as a Gemm with transB stores it."""

    @property
    def sides(self) -> tuple[int, int]:
        n, k = self.weight.shape
        return n, k

    def shapes(self, rank: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
        n, k = self.sides
        return (rank, k), (n, rank)

    def matrix(self, weight: np.ndarray) -> np.ndarray:
        return weight

    def array(self, matrix: np.ndarray) -> np.ndarray:
        return matrix

    def folded(self, left: np.ndarray, right: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return right, left


class _TransposedMatrix(Unfolding):
    """inputs x outputs, as MatMul and Gemm store it."""

    @property
    def sides(self) -> tuple[int, int]:
        k, n = self.weight.shape
        return n, k

    def shapes(self, rank: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
        n, k = self.sides
        return (k, rank), (rank, n)

    def matrix(self, weight: np.ndarray) -> np.ndarray:
        return weight.T

    def array(self, matrix: np.ndarray) -> np.ndarray:
        return matrix.T

    def folded(self, left: np.ndarray, right: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return right.T, left.T


def _unfolding(graph: Graph, node: Node, scheme: Scheme) -> Unfolding | None:
    """None for an operator that is not factorized."""
    if len(node.inputs) < 2 or node.inputs[1] not in graph.weight_names or node.domain not in ("", "ai.onnx"):
        return None
    weight = graph.type_of(node.inputs[1])
    if node.op == "Conv" and node.attribute("group", 1) == 1:
        spatial = scheme == "spatial" and len(weight.shape) == 4
        return _Spatial(weight) if spatial else _Channel(weight)
    if node.op == "Gemm" and node.attribute("transB", 0):
        return _Matrix(weight)
    if node.op == "Gemm" or (node.op == "MatMul" and len(weight.shape) == 2):
        return _TransposedMatrix(weight)
    return None


# -- which operators, to which rank --------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Split:
    unfolding: Unfolding
    rank: int

    @property
    def weight(self) -> Tensor:
        return self.unfolding.weight

    @property
    def first(self) -> Tensor:
        return replace(self.weight, name=f"{self.weight.name}_first", shape=self.unfolding.shapes(self.rank)[0])

    @property
    def second(self) -> Tensor:
        return replace(self.weight, name=f"{self.weight.name}_second", shape=self.unfolding.shapes(self.rank)[1])

    @property
    def saves(self) -> bool:
        return self.first.numel + self.second.numel < self.weight.numel

    def factors(self, weight: np.ndarray, basis: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
        """weight: of its tensor's shape; basis: None, or of orthonormal columns, [outputs, outputs]. Returns the values
        of `first` and `second`, each of its shape; without a basis the singular values are shared evenly between them.
        """
        matrix = self.unfolding.matrix(weight).astype(np.float64)
        if basis is not None:
            left = basis[:, : self.rank]
            pair = self.unfolding.folded(left, left.T @ matrix)
        else:
            u, s, vt = np.linalg.svd(matrix, full_matrices=False)
            root = np.sqrt(s[: self.rank])
            pair = self.unfolding.folded(u[:, : self.rank] * root, root[:, None] * vt[: self.rank])
        return pair[0].astype(weight.dtype), pair[1].astype(weight.dtype)


def unfoldings(graph: Graph, scheme: Scheme = "channel") -> dict[str, Unfolding]:
    """By the name of each operator that `factorize` takes, how its weight is seen as a matrix; no other operator reads
    that weight. Raises InputError for an unknown scheme."""
    if scheme not in ("channel", "spatial"):
        raise InputError(f"no scheme of factorization is named {scheme!r}; known: channel, spatial")
    readers = graph.consumers()
    return {
        node.label: unfolding
        for node in graph.nodes
        if (unfolding := _unfolding(graph, node, scheme)) and len(readers[node.inputs[1]]) == 1
    }


def _splits(graph: Graph, rank: Rank, scheme: Scheme) -> dict[str, _Split]:
    """By the first output of the operator."""
    found = unfoldings(graph, scheme)
    if isinstance(rank, Mapping):
        for name in rank:
            if name not in found:
                raise InputError(f"no factorizable operator is named {name!r}; known: {', '.join(found) or 'none'}")
    wanted = rank if isinstance(rank, Mapping) else dict.fromkeys(found, rank)
    outputs = {node.label: node.outputs[0] for node in graph.nodes}
    splits = {outputs[name]: _split(found[name], r) for name, r in wanted.items()}
    return {out: split for out, split in splits.items() if isinstance(rank, Mapping) or split.saves}


def _split(unfolding: Unfolding, rank: int | float) -> _Split:
    full = min(unfolding.sides)
    if not 0 < rank <= (1 if isinstance(rank, float) else math.inf):
        raise InputError(f"cannot factorize to rank {rank}; give an int from 1, or a share above 0 and at most 1")
    wanted = max(round(full * rank), 1) if isinstance(rank, float) else rank
    return _Split(unfolding, min(wanted, full))


# -- the factorized graph ------------------------------------------------------------------------------


def _rewritten(graph: Graph, splits: Mapping[str, _Split]) -> Graph:
    if not splits:
        return graph
    nodes: list[Node] = []
    values: list[Tensor] = []
    zeros: list[Constant] = []
    for node in graph.nodes:
        split = splits.get(node.outputs[0])
        if split is None:
            nodes.append(node)
            continue
        between = Tensor(f"{node.outputs[0]}_first", split.weight.dtype, _between_shape(graph, node, split))
        first, second = _pair(node, split, between.name)
        if node.op == "Gemm" and dict(graph.opsets).get("", 0) < _GEMM_WITHOUT_BIAS:
            zeros.append(Constant(f"{between.name}_bias", between.dtype, (1,), (0.0,)))
            first = replace(first, inputs=(*first.inputs, zeros[-1].name))
        nodes += (first, second)
        values.append(between)
    gone = {split.weight.name for split in splits.values()}
    factors = [t for split in splits.values() for t in (split.first, split.second)]
    return replace(
        graph,
        nodes=tuple(nodes),
        weights=(*(t for t in graph.weights if t.name not in gone), *factors),
        constants=(*graph.constants, *zeros),
        values=(*graph.values, *values),
        name=f"{graph.name}-lowrank",
        source=None,
    )


def _between_shape(graph: Graph, node: Node, split: _Split) -> tuple[int, ...]:
    x, y = graph.shape(node.inputs[0]), graph.shape(node.outputs[0])
    if node.op != "Conv":
        return (*y[:-1], split.rank)
    if isinstance(split.unfolding, _Spatial):
        return (y[0], split.rank, y[2], x[3])
    return (y[0], split.rank, *y[2:])


def _pair(node: Node, split: _Split, between: str) -> tuple[Node, Node]:
    """The two operators; the second takes the bias."""
    x, _, *bias = node.inputs
    first, second = _attributes(node, split)
    return (
        replace(node, inputs=(x, split.first.name), outputs=(between,), attributes=first, name=f"{node.label}_first"),
        replace(node, inputs=(between, split.second.name, *bias), attributes=second, name=f"{node.label}_second"),
    )


Attributes = tuple[tuple[str, AttributeValue], ...]


def _attributes(node: Node, split: _Split) -> tuple[Attributes, Attributes]:
    if node.op == "MatMul":
        return (), ()
    if node.op == "Gemm":
        first = tuple((k, v) for k, v in node.attributes if k in ("transA", "transB"))
        return first, tuple((k, v) for k, v in node.attributes if k != "transA")
    kernels = split.first.shape[2:], split.second.shape[2:]
    if isinstance(split.unfolding, _Spatial):
        return _along(node, 0, kernels[0]), _along(node, 1, kernels[1])
    return _with(node.attributes, kernel_shape=kernels[0]), (("kernel_shape", kernels[1]),)


def _along(node: Node, axis: int, kernel: tuple[int, ...]) -> Attributes:
    """Strides, padding and dilation of a 2-D convolution along one of its axes only."""
    strides, dilations = node.attribute("strides", (1, 1)), node.attribute("dilations", (1, 1))
    pads = node.attribute("pads", (0, 0, 0, 0))
    changed: dict[str, tuple[int, ...]] = {
        "kernel_shape": kernel,
        "strides": tuple(s if i == axis else 1 for i, s in enumerate(strides)),
        "dilations": tuple(d if i == axis else 1 for i, d in enumerate(dilations)),
    }
    if node.attribute("auto_pad", "NOTSET") == "NOTSET":
        changed["pads"] = tuple(p if i % 2 == axis else 0 for i, p in enumerate(pads))
    return _with(node.attributes, **changed)


def _with(attributes: Attributes, **changed: AttributeValue) -> Attributes:
    return tuple({**dict(attributes), **changed}.items())
