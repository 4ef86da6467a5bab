"""How far down the values before a Softmax matter, so that a mask takes no part of their range.

A mask adds -1e9 or -inf to the scores that a Softmax reads. A grid down to the lowest value would have 256 steps over
that range, and one step would hold all scores. But a Softmax gives an element that is `d` below its row's largest at
most exp(-d), so nothing is lost where all values below a floor are moved up to it:

    floor = (lowest maximum of a row) - reach

The floor is right for rows with a higher maximum, too; for them it is lower than necessary. A row has `n`
elements. If each that was moved up weighs exp(-reach), all of them together weigh n * exp(-reach); that is half a step
of the result, which no 8-bit result shows, for

    reach = log(2 * n / step)

Before the Softmax the floor passes back through operators that only move values, and through sums: a term matters down
to the floor of the sum less the largest sum of the other terms.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

import numpy as np

from hwprof.graph import Graph, Node
from hwprof.integer.lowering import attention_rule
from hwprof.onnx_io.tensor_uses import MOVING
from hwprof.variants import grids
from hwprof.variants.quantized_values import Ranges

_CHOOSING = {"Max", "Where"}  # the result's elements are among those of the operands
_LEAST_SHARE = 256 * attention_rule.FINEST  # of 255 steps: the largest result of a Softmax that has a grid of its own
_APART = 1000.0  # steps of a grid that holds rows so far apart are too coarse for either: the lower one is all hidden


def lowest_maximum(node: Node, array: np.ndarray) -> float:
    """The lowest of the maxima of all rows. array: the input of the Softmax, [..., n]. Rows that a mask hides
    completely do not count: nothing reads their result."""
    tops = array.max(axis=node.attribute("axis", -1))
    return float(tops[tops > tops.max() - _APART].min(initial=np.inf))


def wanted(graph: Graph) -> set[str]:
    """The tensors whose ranges `cut` needs: the result and the input of every Softmax, and the terms of that input."""
    found: set[str] = set()
    for node in reversed(graph.nodes):
        if node.op == "Softmax":
            found |= {node.inputs[0], node.outputs[0]}
        elif node.outputs and node.outputs[0] in found:
            found |= set(_terms(graph, node))
    return found


def cut(graph: Graph, ranges: Ranges, tops: Mapping[str, float]) -> Ranges:
    """The ranges, of `wanted` at least, without the part below a floor. tops: the lowest maximum of a row by the name
    of the input of each Softmax.

    The result of a Softmax gets a range with steps that it can make. Scores have one range before and after a mask, so
    that those that it does not hide are not rounded twice.
    """
    coarse_enough = {
        node.outputs[0]: (0.0, max(ranges[node.outputs[0]][1], _LEAST_SHARE))
        for node in graph.nodes
        if node.op == "Softmax"
    }
    ranges = {**ranges, **coarse_enough}
    floors = _Floors(graph, ranges, tops)
    bounded = {name: (min(max(low, floors.of(name)), high), high) for name, (low, high) in ranges.items()}
    for node in graph.nodes:
        if node.op in {"Add", "Where"} and math.isfinite(floors.of(node.outputs[0])):
            shown = [name for name in _terms(graph, node) if ranges[name][0] > floors.of(name) - _APART]
            if len(shown) == 1:
                both = [bounded[name] for name in (*shown, *node.outputs)]
                joined = min(low for low, _ in both), max(high for _, high in both)
                bounded |= dict.fromkeys((*shown, *node.outputs), joined)
    return bounded


def _terms(graph: Graph, node: Node) -> Iterator[str]:
    """The operands whose floor follows from that of the result."""
    if node.op in MOVING:
        names = node.inputs[:1]
    elif node.op == "Where":
        names = node.inputs[1:]
    else:
        names = node.inputs if node.op in {"Add", *_CHOOSING} else ()
    return (name for name in names if graph.has_type(name) and graph.type_of(name).dtype == "float32")


class _Floors:
    """Floors of the tensors of a graph, worked out where they are asked for."""

    def __init__(self, graph: Graph, ranges: Ranges, tops: Mapping[str, float]) -> None:
        self._graph = graph
        self._ranges = ranges
        self._tops = tops
        self._readers = graph.consumers()
        self._known: dict[str, float] = dict.fromkeys(graph.outputs, -math.inf)

    def of(self, name: str) -> float:
        """-inf where every value matters."""
        if name not in self._known:
            readers = self._readers.get(name, ())
            self._known[name] = min((self._for(node, name) for node in readers), default=-math.inf)
        return self._known[name]

    def _for(self, node: Node, name: str) -> float:
        """The floor of an operand of the node, as far as that goes."""
        if node.op == "Softmax":
            if not self._graph.has_type(node.inputs[0]):
                return -math.inf  # how far its elements reach depends on how many there are
            return self._tops[name] - self._reach(node)
        if name not in set(_terms(self._graph, node)):
            return -math.inf
        floor = self.of(node.outputs[0])
        if node.op != "Add":
            return floor
        others = list(node.inputs)
        others.remove(name)
        return floor - self._ranges[others[0]][1] if math.isfinite(floor) else floor

    def _reach(self, node: Node) -> float:
        step = grids.of_range(*self._ranges[node.outputs[0]]).scale
        elements = self._graph.shape(node.inputs[0])[node.attribute("axis", -1)]
        return math.log(2 * elements / step)
