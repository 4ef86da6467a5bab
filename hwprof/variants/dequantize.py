"""The float network of a Q/DQ network: stored weights become what they stand for, and activations lose their grids.

It reads files of QuantizeLinear and DequantizeLinear (QDQ), also with a Clip to fewer bits between them (QCDQ, as
Brevitas exports it). An activation whose grid begins at 0 may have lost its Relu to that grid, as ONNX Runtime's
quantizer does; where its operator can give less than 0, the Relu is put back.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from hwprof.errors import InputError
from hwprof.graph import Graph, Node, Tensor, is_quantized
from hwprof.onnx_io.inference import infer_with
from hwprof.variants.weights import Weights, constant_arrays, evaluated

_TO_GRID, _FROM_GRID = "QuantizeLinear", "DequantizeLinear"
_NOT_NEGATIVE = frozenset({"Relu", "Sigmoid", "Softmax", "HardSigmoid", "Exp", "Abs", "Clip"})
_KEEPS_SIGN = frozenset({
    "MaxPool", "AveragePool", "GlobalAveragePool", "GlobalMaxPool", "Flatten", "Reshape", "Transpose", "Squeeze",
    "Unsqueeze", "Slice", "Identity",
})  # fmt: skip


def dequantized(graph: Graph, weights: Weights) -> tuple[Graph, dict[str, np.ndarray]]:
    """The float network with its weights and constants by name, each [*shape] of its tensor.

    weights: those of the graph by name. Inputs and outputs keep their names. Raises InputError for an operator that
    computes with integers, such as QLinearConv.
    """
    for node in graph.nodes:
        if is_quantized(node) and node.op not in (_TO_GRID, _FROM_GRID):
            raise InputError(
                f"operator {node.label!r} of {graph.name!r} is a {node.op}, which computes with integers; give the "
                "float network, or one of QuantizeLinear and DequantizeLinear"
            )
    return _Dequantizing(graph, {**weights, **constant_arrays(graph)}).network()


class _Dequantizing:
    """Takes the operators of one network, in their order."""

    def __init__(self, graph: Graph, arrays: Weights) -> None:
        self._graph, self._arrays = graph, arrays
        self._static = set(arrays)  # depends on no input
        self._equal: dict[str, str] = {}  # by tensor, the float one in its place
        self._on_grid: set[str] = set()
        self._made: dict[str, Node] = {}  # by tensor, the operator that is kept
        self._nodes: list[Node] = []

    def network(self) -> tuple[Graph, dict[str, np.ndarray]]:
        for node in self._graph.nodes:
            self._take(node)
        nodes = self._with_output_names()
        read = {name for node in nodes for name in node.inputs}
        stored = {*self._graph.weight_names, *(c.name for c in self._graph.constants)}
        arrays = {**self._arrays, **evaluated(self._graph, self._arrays, (self._static & read) - stored)}
        made = {out for node in nodes for out in node.outputs}
        graph = replace(
            self._graph,
            nodes=tuple(nodes),
            weights=(
                *(t for t in self._graph.weights if t.name in read),
                *(Tensor(n, str(arrays[n].dtype), arrays[n].shape) for n in arrays if n in read - stored),
            ),
            constants=tuple(c for c in self._graph.constants if c.name in read),
            source=None,
        )
        typed = infer_with(graph, [t for t in graph.values if t.name in made - self._equal.keys() - self._on_grid])
        return typed, {t.name: arrays[t.name] for t in (*typed.weights, *typed.constants)}

    def _take(self, node: Node) -> None:
        first = node.inputs[0] if node.inputs else ""
        if node.inputs and all(name in self._static for name in node.inputs if name):
            self._static.update(node.outputs)
        elif node.op == _TO_GRID:
            self._equal[node.outputs[0]] = self._rectified(node, self._equal.get(first, first))
            self._on_grid.add(node.outputs[0])
        elif node.op == _FROM_GRID:
            self._equal[node.outputs[0]] = self._equal.get(first, first)
        elif node.op == "Clip" and first in self._on_grid:  # the bits of QCDQ
            self._equal[node.outputs[0]] = self._equal.get(first, first)
            self._on_grid.add(node.outputs[0])
        else:
            self._keep(replace(node, inputs=tuple(self._equal.get(name, name) for name in node.inputs)))
            self._on_grid.update(node.outputs if first in self._on_grid else ())

    def _keep(self, node: Node) -> None:
        self._nodes.append(node)
        self._made |= dict.fromkeys(node.outputs, node)

    def _rectified(self, to_grid: Node, source: str) -> str:
        """The tensor, or its Relu where only the grid removes what is below 0."""
        _, _, *zero = to_grid.inputs
        held = np.asarray(self._arrays[zero[0]] if zero and zero[0] in self._arrays else np.uint8(0))
        begins_at_zero = held.dtype.kind in "iu" and bool((held == np.iinfo(held.dtype).min).all())
        if not begins_at_zero or self._is_positive(source):
            return source
        relu = Node("Relu", (source,), (f"{source}_rectified",), name=f"{source}_rectified")
        self._keep(relu)
        return relu.outputs[0]

    def _is_positive(self, name: str) -> bool:
        """Whether the tensor is never below 0. An input counts as such: its grid is the range of the data alone."""
        node = self._made.get(name)
        while node is not None and node.op in _KEEPS_SIGN:
            node = self._made.get(node.inputs[0])
        return node is None or node.op in _NOT_NEGATIVE

    def _with_output_names(self) -> list[Node]:
        """The operators, of which those that make an output give it its name."""
        names: dict[str, str] = {}
        copies: list[Node] = []
        for name in self._graph.outputs:
            source = self._equal.get(name, name)
            if source == name:
                continue
            if source in self._made and source not in {*names, *self._graph.outputs}:
                names[source] = name
            else:
                copies.append(Node("Identity", (source,), (name,), name=name))
        return [
            replace(
                node,
                inputs=tuple(names.get(name, name) for name in node.inputs),
                outputs=tuple(names.get(name, name) for name in node.outputs),
            )
            for node in (*self._nodes, *copies)
        ]
