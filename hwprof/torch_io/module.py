"""A Graph with weights as a PyTorch module whose Python code is generated, one call per operator.

2026-11-21, why generated code. A module that walks through a list of operators spends longer on walking than
small kernels run, and `torch.compile` unrolls it slowly; torch.fx writes the code that a person would write.
Each call stands in a variable that carries the place of its operator, `n12`; what depends on stored values only
(the dequantization of a weight) is computed once, as every compiling runtime does when it loads a model.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx, nn

from hwprof.errors import InputError, UnknownOperatorError
from hwprof.graph import Graph, Node
from hwprof.torch_io import functions
from hwprof.torch_io.operators import TORCH_TYPES, Call, TorchCall, Value, title, translate

_LABEL = re.compile(r"n(\d+)(?:_\d+)?")
_TUPLES = (torch.split,)  # functions that return several tensors, however many are wanted


def to_module(graph: Graph, weights: Mapping[str, np.ndarray], floats: torch.dtype = torch.float32) -> fx.GraphModule:
    """The module takes the graph's inputs in their order and returns a tuple of its outputs.

    weights: the values of all weights and constants, by name. floats: the type that takes the place of float32.
    Raises UnknownOperatorError for an operator without a counterpart.
    """
    return _Translator(graph, weights, floats).module()


def place_of(name: str) -> int | None:
    """The place in `graph.nodes` of the operator that a variable of the generated code belongs to."""
    match = _LABEL.fullmatch(name)
    return int(match[1]) if match else None


def as_tensor(array: np.ndarray, dtype: str, floats: torch.dtype = torch.float32) -> Tensor:
    """The array as a tensor of the graph's type; float32 becomes `floats`. Raises InputError for other types."""
    if dtype not in TORCH_TYPES:
        raise InputError(f"PyTorch has no counterpart here of element type {dtype!r}")
    target = floats if dtype == "float32" else TORCH_TYPES[dtype]
    if dtype == "bfloat16":  # NumPy has none
        array = array.astype(np.float32)
    owned = array if array.flags.writeable and array.flags.c_contiguous else array.copy()
    return torch.from_numpy(owned).reshape(array.shape).to(target)


class _Translator:
    """`static` are the tensors known ahead, `live` the nodes that stand for the rest."""

    def __init__(self, graph: Graph, weights: Mapping[str, np.ndarray], floats: torch.dtype) -> None:
        self._graph = graph
        self._floats = floats
        self._static: dict[str, Tensor] = {
            t.name: as_tensor(weights[t.name], t.dtype, floats) for t in (*graph.weights, *graph.constants)
        }
        self._live: dict[str, fx.Node] = {}
        self._root = nn.Module()
        self._code = fx.Graph()
        self._held: dict[int, fx.Node] = {}  # of id(tensor)

    def module(self) -> fx.GraphModule:
        for i, tensor in enumerate(self._graph.inputs):
            self._live[tensor.name] = self._code.placeholder(f"x{i}")
        for place, node in enumerate(self._graph.nodes):
            self._operator(place, node)
        self._code.output(tuple(self._node(name) for name in self._graph.outputs))
        return fx.GraphModule(self._root, self._code).eval()

    def _operator(self, place: int, node: Node) -> None:
        if node.op in ("Shape", "Size", "Constant", "ConstantOfShape", "Range"):
            return self._known_shape(node)
        values = [self._value(name) if name else None for name in node.inputs]
        call = translate(Call(node, self._graph, values, self._floats))
        if not any(isinstance(v, fx.Node) for v in values):
            return self._keep(node, _computed(call))
        made = self._made(f"n{place}", call)
        if not (
            call.function in _TUPLES or isinstance(call.function, functions.Lstm)
        ):  # further outputs are optional and, unless a rule objects, not read
            self._live[node.outputs[0]] = made
            return None
        for i, name in enumerate(node.outputs):
            if name:
                args = (made, i)
                self._live[name] = self._code.create_node("call_function", operator.getitem, args, {}, f"n{place}_{i}")
        return None

    def _made(self, name: str, call: TorchCall) -> fx.Node:
        args, kwargs = self._arguments(call.args), self._arguments(dict(call.kwargs))
        if not isinstance(call.function, nn.Module):
            return self._code.create_node("call_function", call.function, args, kwargs, name)
        self._root.add_module(f"m_{name}", call.function)
        return self._code.create_node("call_module", f"m_{name}", args, kwargs, name)

    def _known_shape(self, node: Node) -> None:
        """Shapes are static; loading a file folds what depends on them, a graph built by hand may still ask."""
        if node.op == "Shape":
            self._keep(
                node,
                torch.tensor(self._graph.shape(node.inputs[0])[node.attribute("start", 0) : node.attribute("end")]),
            )
        else:
            raise UnknownOperatorError(f"operator {title(node)} should have been folded when the network was loaded")

    def _keep(self, node: Node, result: Any) -> None:
        results = result if isinstance(result, tuple | list) else (result,)
        self._static.update({name: value for name, value in zip(node.outputs, results, strict=False) if name})

    def _value(self, name: str) -> Value:
        if name in self._static:
            return self._static[name]
        return self._live[name]

    def _arguments(self, values: Any) -> Any:
        """With tensors that are known ahead as attributes of the module."""
        if isinstance(values, Tensor):
            return self._stored(values)
        if isinstance(values, dict):
            return {key: self._arguments(value) for key, value in values.items()}
        if isinstance(values, tuple | list):
            return type(values)(self._arguments(value) for value in values)
        return values

    def _stored(self, tensor: Tensor) -> fx.Node:
        """One buffer per tensor, read where it is first used."""
        if id(tensor) not in self._held:
            name = f"w{len(self._held)}"
            self._root.register_buffer(name, tensor)  # which keeps it alive, and its id its own
            self._held[id(tensor)] = self._code.get_attr(name)
        return self._held[id(tensor)]

    def _node(self, name: str) -> fx.Node:
        value = self._value(name)
        return value if isinstance(value, fx.Node) else self._stored(value)


def _computed(call: TorchCall) -> Any:
    with torch.inference_mode(mode=False), torch.no_grad():
        return call.function(*call.args, **call.kwargs)
