"""The float network of a Q/DQ network: stored weights become what they stand for, and activations lose their grids.

It reads files of QuantizeLinear and DequantizeLinear (QDQ), also with a Clip to fewer bits between them (QCDQ, as
Brevitas exports it). An activation whose grid begins at 0 may have lost its Relu to that grid, as ONNX Runtime's
quantizer does; where its operator can give less than 0, the Relu is put back.
"""

from __future__ import annotations

from dataclasses import replace
from typing import cast

import numpy as np

from hwprof.errors import InputError
from hwprof.graph import BITS_PER_ELEMENT, Graph, Node, Tensor, is_quantized
from hwprof.onnx_io.inference import infer_with
from hwprof.onnx_io.proto import numpy_dtype
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
        self._graph = graph
        self._arrays = dict(arrays)  # also of what is computed from weights alone
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
        arrays = self._arrays
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
        if node.inputs and all(name in self._arrays for name in node.inputs if name):
            self._arrays |= _computed(self._graph, node, self._arrays)
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


def _computed(graph: Graph, node: Node, arrays: Weights) -> Weights:
    """The results of an operator that reads known arrays alone, by name, each [*shape] of its tensor."""
    if node.op in (_TO_GRID, _FROM_GRID):  # the evaluator of ONNX has them for the newest opsets alone
        return {node.outputs[0]: _on_grid(graph, node, arrays)}
    read = tuple(Tensor(name, str(arrays[name].dtype), arrays[name].shape) for name in {*node.inputs} - {""})
    alone = replace(
        graph, inputs=(), outputs=node.outputs, nodes=(node,), weights=read, constants=(), values=(), source=None
    )
    return evaluated(alone, arrays, node.outputs)


def _on_grid(graph: Graph, node: Node, arrays: Weights) -> np.ndarray:
    """[*shape]: the integers of a QuantizeLinear, or the reals of a DequantizeLinear."""
    name, scale_name, *zero_name = filter(None, node.inputs)
    x, scale = arrays[name], _along(node, arrays[name], arrays[scale_name])
    zero = _along(node, x, arrays[zero_name[0]]).astype(np.int64) if zero_name else np.int64(0)
    if node.op == _FROM_GRID:
        return np.asarray((x.astype(np.int64) - zero).astype(scale.dtype) * scale)
    made = graph.type_of(node.outputs[0])
    unsigned, bits = made.dtype.startswith("u"), BITS_PER_ELEMENT[made.dtype]
    low, high = (0, 2**bits - 1) if unsigned else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
    return np.asarray(np.clip(np.rint(x / scale) + zero, low, high).astype(numpy_dtype(made)))


def _along(node: Node, x: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Scales or zero points, [], [rows] or one for each block of a row, in a shape that fits x, [*shape]."""
    axis = int(cast("int", node.attribute("axis", 1)))
    if values.size == 1:
        return values.reshape(())
    if values.ndim == 1:
        return values.reshape([-1 if i == axis % x.ndim else 1 for i in range(x.ndim)])
    return np.repeat(values, -(-x.shape[axis] // values.shape[axis]), axis).take(range(x.shape[axis]), axis)
