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


def signatures(graph: Graph) -> list[Hashable]:
    """Returns [n_nodes]: keys that are equal for operators of the same kind and cost, in any graph."""
    types: dict[str, Hashable] = {}
    for group in (graph.values, graph.constants, graph.inputs):
        types.update([(t.name, (t.dtype, t.shape)) for t in group])
    types.update([(t.name, (t.dtype, t.shape, "weight")) for t in graph.weights])
    known = types.get
    return [
        (node.op, node.domain, node.attributes, *map(known, node.inputs), len(node.inputs), *map(known, node.outputs))
        for node in graph.nodes
    ]
