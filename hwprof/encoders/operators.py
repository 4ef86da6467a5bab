"""Operator counts: how often each kind of operator, with its kernel and stride, occurs in a graph."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin

from hwprof.errors import InputError, UnknownOperatorError
from hwprof.graph import Graph, Node


class OperatorCounts(TransformerMixin, BaseEstimator):
    """Encodes graphs as [n_graphs, n_kinds]. `fit` learns the kinds; `transform` rejects a graph with any other kind.

    live_only: count only the operators that an output depends on.
    """

    def __init__(self, live_only: bool = False) -> None:
        self.live_only = live_only

    def fit(self, X: Sequence[Graph], y: object = None) -> OperatorCounts:
        """X: [n_graphs]. Raises InputError without any graph."""
        del y
        if not len(X):
            raise InputError("operator counts need at least one graph to learn the kinds of operators from")
        self.kinds_ = sorted(set().union(*(self._counts(graph) for graph in X)))
        return self

    def transform(self, X: Sequence[Graph]) -> np.ndarray:
        """X: [n_graphs]. Returns [n_graphs, n_kinds]. Raises UnknownOperatorError for a kind of operator that no graph
        in `fit` had."""
        known = set(self.kinds_)
        rows = np.zeros((len(X), len(self.kinds_)))
        for row, graph in enumerate(X):
            counts = self._counts(graph)
            if unknown := sorted(counts.keys() - known):
                raise UnknownOperatorError(f"graph {graph.name!r} has {unknown[0]!r}, which no training graph has")
            rows[row] = [counts[kind] for kind in self.kinds_]
        return rows

    def get_feature_names_out(self, input_features: object = None) -> np.ndarray:
        """Returns the kinds of operators, [n_kinds]."""
        del input_features
        return np.array(self.kinds_)

    def _counts(self, graph: Graph) -> Counter[str]:
        return Counter(kind(node) for node in (graph.live() if self.live_only else graph).nodes)


def checked_graph(value: object) -> Graph:
    """Returns the value. Raises InputError for anything that is not a graph."""
    if not isinstance(value, Graph):
        raise InputError(f"a graph is needed; {type(value).__name__} {value!r:.60} was given")
    return value


def kind(node: Node) -> str:
    """Returns the operator with its kernel, stride and groups: 'Conv 3x3', 'Conv 3x3 grouped, stride 2'."""
    kernel, strides = node.attribute("kernel_shape"), node.attribute("strides")
    text = f"{node.op} {'x'.join(map(str, kernel))}" if kernel else node.op
    if node.attribute("group", 1) > 1:
        text += " grouped"
    return f"{text}, stride {max(strides)}" if strides and max(strides) > 1 else text


class Signatures:
    """Numbers the operators of graphs from 0: those of the same kind and cost have the same number, in any graph, so
    that what follows from an operator alone is computed once for each number."""

    def __init__(self) -> None:
        self._numbers: dict[Hashable, int] = {}
        self._types: dict[Hashable, int] = {}
        self._attributes: dict[Hashable, int] = {}

    def of(self, graph: Graph) -> list[int]:
        """Returns [n_nodes]."""
        type_of, numbers = self._types_of(graph).get, self._numbers
        attributes: dict[int, int] = {}  # by the identity of the tuple, which equal layers of a builder share
        found = []
        for node in graph.nodes:
            number = attributes.get(id(node.attributes))
            if number is None:
                number = self._attributes.setdefault(node.attributes, len(self._attributes))
                attributes[id(node.attributes)] = number
            inputs, outputs = node.inputs, node.outputs
            key = (node.op, node.domain, number, *map(type_of, inputs), len(inputs), *map(type_of, outputs))
            found.append(numbers.setdefault(key, len(numbers)))
        return found

    def _types_of(self, graph: Graph) -> dict[str, int]:
        """The number of the type of each tensor by its name; that of a weight is another one."""
        number, found = self._types.setdefault, dict[str, int]()
        for group in (graph.values, graph.constants, graph.inputs):
            for t in group:
                found[t.name] = number((t.dtype, t.shape), len(self._types))
        for t in graph.weights:
            found[t.name] = number((t.dtype, t.shape, "weight"), len(self._types))
        return found
