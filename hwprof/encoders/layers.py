"""Graphs as sequences of operators with the edges between them, for graph and sequence networks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hwprof import cost
from hwprof.encoders.operators import checked_graph, kind
from hwprof.errors import UnknownOperatorError
from hwprof.graph import Graph


@dataclass(frozen=True, slots=True)
class Layers:
    """features: [n_nodes, n_features]; edges: [2, n_edges], from and to, in topological order."""

    features: np.ndarray
    edges: np.ndarray


class LayerEncoder:
    """Encodes an operator as its one-hot kind, log(1 + MACs), log(1 + bytes), and the distances to its nearest and
    farthest input in the sequence (ESNAC's relative links), as log(1 + distance)."""

    def __init__(self, kinds: Sequence[str]) -> None:
        self.kinds = tuple(kinds)
        self._number = {name: i for i, name in enumerate(self.kinds)}

    @classmethod
    def learned(cls, graphs: Sequence[Graph]) -> LayerEncoder:
        """Returns the encoder that knows the kinds of operators in these graphs. Raises InputError for anything that is
        not a graph."""
        return cls(sorted({kind(node) for graph in graphs for node in checked_graph(graph).nodes}))

    @property
    def n_features(self) -> int:
        """Columns of `Layers.features`."""
        return len(self.kinds) + 4

    def __call__(self, graph: Graph) -> Layers:
        """Returns features [n_nodes, n_features] and edges [2, n_edges]. Raises UnknownOperatorError for an operator
        that no training graph had, or that has no cost rule, InputError for anything that is not a graph."""
        features = np.zeros((len(checked_graph(graph).nodes), self.n_features), np.float32)
        number: dict[str, int] = {}
        edges: list[tuple[int, int]] = []
        for i, (node, work) in enumerate(zip(graph.nodes, cost.of_nodes(graph), strict=True)):
            name = kind(node)
            if name not in self._number:
                raise UnknownOperatorError(f"graph {graph.name!r} has {name!r}, which no training graph has")
            features[i, self._number[name]] = 1
            sources = [number[tensor] for tensor in node.inputs if tensor in number]
            distances = [i - source for source in sources] or [0]
            features[i, -4:] = np.log1p([work.macs, work.moved_bytes, min(distances), max(distances)])
            features[i, -4:-2] /= 10  # of the order of 1
            edges += [(source, i) for source in sources]
            number.update((tensor, i) for tensor in node.outputs if tensor)
        return Layers(features, np.array(edges, np.int64).reshape(-1, 2).T)
