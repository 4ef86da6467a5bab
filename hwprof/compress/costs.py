"""Costs that need no device: the bytes of a network's weights, its multiply-adds, and its predicted latency.

They have the signature of the latency by a table, so that a method takes any of them, and are differentiable in soft
choices in the same way; each number of channels, each rank and each bit is an option.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from hwprof import cost
from hwprof.compress.choice import Choices
from hwprof.compress.choices import as_before_value, chosen_graph, every_value
from hwprof.compress.method import Cost
from hwprof.compress.soft import Interpolated, Points
from hwprof.graph import Graph


def size_bytes(graph: Graph, only_variant: str = "") -> Cost:
    """The bytes of all weights and constants, as they are in the file, of the graph with choices. only_variant: that of
    a device whose runtime runs no other. The cost raises InputError as `chosen_graph`."""
    return _counted(graph, only_variant, lambda g: sum(t.size_bytes for t in (*g.weights, *g.constants)))


def macs(graph: Graph, only_variant: str = "") -> Cost:
    """The multiply-adds of the graph with choices; those with fewer bits count as much. The cost raises InputError as
    `chosen_graph`, and UnknownOperatorError for an operator whose work is unknown."""
    return _counted(graph, only_variant, lambda g: cost.of(g).macs)


def predicted_ms(graph: Graph, predict: Callable[[Sequence[Graph]], np.ndarray], only_variant: str = "") -> Cost:
    """The latency of the graph with choices by a predictor, ms, where no row of a table is measured: `predict` takes
    graphs to ms, [n], such as the `predict` of a `KernelPredictor`, which knows any channels, rank, bits and groups.

    It is differentiable where the choices are soft. The cost raises InputError as `chosen_graph`, and what `predict`
    raises.
    """
    return _counted(graph, only_variant, lambda g: float(predict([g])[0]))


def _counted(graph: Graph, only_variant: str, count: Callable[[Graph], float]) -> Cost:
    def counts(many: Sequence[Choices]) -> np.ndarray:
        """[n]"""
        return np.array([count(chosen_graph(graph, choices, only_variant)) for choices in many], float)

    def points(layer: str, field: str) -> Points:
        before = as_before_value(graph, layer, field)
        return [] if before is None else [(before, None), *((float(n), n) for n in every_value(graph, layer, field))]

    return Interpolated(counts, points)
