"""Operators that runtimes replace together by one kernel of another kind: GELU and SiLU as exporters write them, the
bias of a product, the sum before a layer normalization, the activation after a batch normalization that is in no
convolution.

2026-11-29, found by comparing the rules of `hwprof.encoders.execution` with what ONNX Runtime executes of 260 generic
networks: of 8,085 operators the rules told 1,500 otherwise, and most of these are in one of these places.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable

from hwprof.encoders.execution import ACTIVATIONS
from hwprof.graph import Graph

_GATES = frozenset({"Sigmoid", "HardSigmoid"})


def places(graph: Graph) -> dict[int, str]:
    """The place of each node that is in one of these patterns, by its number."""
    return _Patterns(graph).found


class _Patterns:
    """found: the place of each node in a pattern."""

    def __init__(self, graph: Graph) -> None:
        self._nodes = graph.nodes
        self._producer = {name: i for i, node in enumerate(graph.nodes) for name in node.outputs if name}
        self._readers: dict[str, list[int]] = defaultdict(list)  # of what the nodes make
        for i, node in enumerate(graph.nodes):
            for name in node.inputs:
                if name in self._producer:  # most are weights
                    self._readers[name].append(i)
        self.found: dict[int, str] = {}
        for i, node in enumerate(graph.nodes):
            if (find := _AROUND.get(node.op)) is not None:
                find(self, i)

    def _gelu(self, i: int) -> None:
        """The tensor by the root of 2, its Erf, plus 1, times the tensor, times 0.5, in any order of the factors."""
        self._mark(self._producer.get(self._nodes[i].inputs[0]), ("Div", "Mul"), "of GELU")
        self.found[i] = "of GELU"
        for op in ("Add", "Mul", "Mul"):
            following = self._only_reader(i)
            if following is None or self._nodes[following].op != op:
                return
            for name in self._nodes[following].inputs:
                if op == "Mul" and name not in self._nodes[i].outputs:
                    self._mark(self._producer.get(name), ("Mul",), "of GELU")
            i = following
            self.found[i] = "of GELU"

    def _mark(self, i: int | None, ops: tuple[str, ...], place: str) -> None:
        if i is not None and self._nodes[i].op in ops:
            self.found[i] = place

    def _gate(self, i: int) -> None:
        """A tensor times its Sigmoid, or HardSigmoid."""
        following = self._only_reader(i)
        if following is None or self._nodes[following].op != "Mul":
            return
        if self._nodes[i].inputs[0] in self._nodes[following].inputs:
            self.found[i] = self.found[following] = "of SiLU"

    def _sum_before(self, i: int) -> None:
        before = self._producer.get(self._nodes[i].inputs[0])
        if before is not None and all(name in self._producer for name in self._nodes[before].inputs):
            self._mark(before, ("Add",), "before normalization")

    def _activation_after(self, i: int) -> None:
        following = self._only_reader(i)
        if following is not None and self._nodes[following].op in ACTIVATIONS:
            self.found[following] = "after normalization"

    def _bias_after(self, i: int) -> None:
        following = self._only_reader(i)
        if following is not None and self._nodes[following].op == "Add":
            others = [name for name in self._nodes[following].inputs if name not in self._nodes[i].outputs]
            if others and others[0] not in self._producer:
                self.found[following] = "of a bias"

    def _only_reader(self, i: int) -> int | None:
        readers = self._readers[self._nodes[i].outputs[0]]
        return readers[0] if len(readers) == 1 else None


# How the patterns around an operator are found.
_AROUND: dict[str, Callable[[_Patterns, int], None]] = {
    "Erf": _Patterns._gelu,
    **dict.fromkeys(_GATES, _Patterns._gate),
    "LayerNormalization": _Patterns._sum_before,
    "BatchNormalization": _Patterns._activation_after,
    "MatMul": _Patterns._bias_after,
}
