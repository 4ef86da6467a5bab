"""A Graph with weights as a PyTorch module whose Python code is generated, one call per operator.

2026-11-21, why generated code. A module that walks through a list of operators spends longer on walking than
small kernels run, and `torch.compile` unrolls it slowly; torch.fx writes the code that a person would write.
Each call assigns a variable that is named by the place of its operator, `n12`. Values that depend on stored ones only
(a dequantized weight) are computed once, as every compiling runtime does when it loads a model.
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
from hwprof.torch_io.operators import RULES, TORCH_TYPES, Call, Rule, TorchCall, Value, title, translate

_LABEL = re.compile(r"n(\d+)(?:_\d+)?")
_TUPLES = (torch.split, functions.lstm)  # functions that return several tensors, however many are wanted


def to_module(graph: Graph, weights: Mapping[str, np.ndarray], floats: torch.dtype = torch.float32) -> fx.GraphModule:
    """The module takes the graph's inputs in their order and returns a tuple of its outputs, of the graph's shapes.

    weights: the values of all weights and constants by name, each [*shape] of its tensor. floats: the type that takes
    the place of float32. Raises UnknownOperatorError for an operator without a counterpart.
    """
    stored = {t.name: as_tensor(weights[t.name], t.dtype, floats) for t in (*graph.weights, *graph.constants)}
    return Translator(graph, stored, floats).module().eval()


def place_of(name: str) -> int | None:
    """The index in `graph.nodes` of the operator that a variable of the generated code belongs to."""
    match = _LABEL.fullmatch(name)
    return int(match[1]) if match else None


def as_tensor(array: np.ndarray, dtype: str, floats: torch.dtype = torch.float32) -> Tensor:
    """array: [...]. Returns it as a tensor [...] of the graph's type; float32 becomes `floats`. Raises InputError for a
    type that has no counterpart."""
    if dtype not in TORCH_TYPES:
        raise InputError(f"element type {dtype!r} has no counterpart in PyTorch; known: {', '.join(TORCH_TYPES)}")
    target = floats if dtype == "float32" else TORCH_TYPES[dtype]
    if dtype == "bfloat16":  # NumPy has none
        array = array.astype(np.float32)
    owned = array if array.flags.writeable and array.flags.c_contiguous else array.copy()
    return torch.from_numpy(owned).reshape(array.shape).to(target)


class Translator:
    """Writes the code of one module: `static` are the tensors known ahead, `live` the nodes that stand for the rest.

    A subclass decides what else is live and which rules translate the operators.
    """

    def __init__(
        self, graph: Graph, static: Mapping[str, Tensor], floats: torch.dtype, rules: Mapping[str, Rule] = RULES
    ) -> None:
        self.graph = graph
        self.root = nn.Module()
        self.code = fx.Graph()
        self._floats = floats
        self._rules = rules
        self._static = dict(static)
        self._live: dict[str, fx.Node] = {}
        self._held: dict[int, fx.Node] = {}  # by id(tensor)

    def module(self) -> fx.GraphModule:
        """Takes the graph's inputs in their order and returns a tuple of its outputs."""
        for i, tensor in enumerate(self.graph.inputs):
            self.assign(tensor.name, self.code.placeholder(f"x{i}"))
        for place, node in enumerate(self.graph.nodes):
            self._operator(place, node)
        self.code.output(tuple(self._node(name) for name in self.graph.outputs))
        return fx.GraphModule(self.root, self.code)

    def value(self, name: str) -> Value:
        """A tensor that is known ahead, or the node that stands for it."""
        return self._static[name] if name in self._static else self._live[name]

    def assign(self, name: str, made: fx.Node) -> None:
        """Makes the node stand for the graph's tensor of this name."""
        self._live[name] = made

    def _operator(self, place: int, node: Node) -> None:
        if node.op in ("Shape", "Size", "Constant", "ConstantOfShape", "Range"):
            return self._known_shape(node)
        values = [self.value(name) if name else None for name in node.inputs]
        call = translate(Call(node, self.graph, values, self._floats), self._rules)
        if not any(isinstance(v, fx.Node) for v in values):
            return self._keep(node, _computed(call))
        made = self._made(f"n{place}", call)
        if call.function not in _TUPLES and not isinstance(call.function, functions.Lstm):
            return self.assign(node.outputs[0], made)  # others are optional and, unless a rule objects, not read
        for i, name in enumerate(node.outputs):
            if name:
                result = self.code.create_node("call_function", operator.getitem, (made, i), {}, f"n{place}_{i}")
                self.assign(name, result)
        return None

    def _made(self, name: str, call: TorchCall) -> fx.Node:
        args, kwargs = self._arguments(call.args), self._arguments(dict(call.kwargs))
        if not isinstance(call.function, nn.Module):
            return self.code.create_node("call_function", call.function, args, kwargs, name)
        self.root.add_module(f"m_{name}", call.function)
        return self.code.create_node("call_module", f"m_{name}", args, kwargs, name)

    def _known_shape(self, node: Node) -> None:
        """Shapes are static; loading a file folds what depends on them, a graph built by hand may still ask."""
        if node.op != "Shape":
            raise UnknownOperatorError(f"operator {title(node)} should have been folded when the network was loaded")
        shape = self.graph.shape(node.inputs[0])[node.attribute("start", 0) : node.attribute("end")]
        self._keep(node, torch.tensor(shape))

    def _keep(self, node: Node, result: Any) -> None:
        results = result if isinstance(result, tuple | list) else (result,)
        self._static.update({name: value for name, value in zip(node.outputs, results, strict=False) if name})

    def _arguments(self, values: Any) -> Any:
        """The values, with attributes of the module in place of tensors that are known ahead."""
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
            self.root.register_buffer(name, tensor)  # which keeps it alive, and its id its own
            self._held[id(tensor)] = self.code.get_attr(name)
        return self._held[id(tensor)]

    def _node(self, name: str) -> fx.Node:
        value = self.value(name)
        return value if isinstance(value, fx.Node) else self._stored(value)


def _computed(call: TorchCall) -> Any:
    with torch.inference_mode(mode=False), torch.no_grad():
        return call.function(*call.args, **call.kwargs)
