"""Static int8 quantization of a Graph: the Q/DQ structure that ONNX Runtime's `quantize_static` writes.

Scales and zero points are plausible constants here; `hwprof.variants.calibration` replaces them by those of trained
weights and data. Operators that ONNX Runtime's quantizer leaves in float (LSTM, Div, Erf, ...) stay in float here
too, because they cost time. Convolutional networks come out operator for operator as from ONNX Runtime 1.31.

2026-11-29, why files are written from this graph and not by ONNX Runtime's quantizer. The two gave one network two
digests and two sets of operators: that quantizer first runs ONNX Runtime's graph optimizations, which make a Gemm of
some MatMul + Add. In a rough trial with bert_tiny (best of 60 alternating runs, one thread of a busy Zen 3) the
operators of this file were not slower than those; no other network was timed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, replace
from typing import Self

import numpy as np

from hwprof.errors import InputError
from hwprof.graph import Constant, Graph, Node, Tensor
from hwprof.onnx_io.packed import unpacked
from hwprof.variants.int8_layers import quantized_operators, with_names

SCALE, ZERO, STORED = "_scale", "_zero_point", "_quantized"  # suffixes of the name of a tensor
_QUANTIZERS = frozenset({"QuantizeLinear", "DynamicQuantizeLinear"})
RAW = "_QuantizeLinear_Input"  # suffix of a tensor before it is quantized
NARROW = "_narrow"  # suffix of the 8-bit twin of a 16-bit tensor
_RANGE = {"uint8": (0, 255), "int8": (-128, 127), "int16": (-32768, 32767)}
_BYTES, _WIDE = ("uint8", "int8"), "int16"
_ACTIVATION_SPAN = 8.0  # activations are taken to be in [-4, 4], or in [0, 6] after a Relu
_RELU_SPAN = 6.0
_UNIFORM_INT8_DEVIATION = 73.0  # of integers drawn evenly from [-127, 127]


def quantize(
    graph: Graph,
    activation: str = "uint8",
    weight: str = "int8",
    per_channel: bool = True,
    layers: Collection[str] | None = None,
) -> Graph:
    """The graph with Q/DQ pairs around its quantizable operators; batch normalization is folded first.

    On x86 "uint8" activations with "int8" weights are the fast combination; on ARM "int8" both ways. layers: names from
    `int8_layers.layers`; only those become int8, with the operators that follow them. Raises InputError for another
    type or layer, a graph before opset 13, or one that is quantized already.
    """
    for dtype in (activation, weight):
        if dtype not in _BYTES:
            raise InputError(f"cannot quantize to {dtype!r}; known: {', '.join(_BYTES)}")
    require_quantizable(graph)
    prepared = inline_hard_swish(fold_batch_norm(graph if layers is None else with_names(graph)))
    quantized = None if layers is None else quantized_operators(prepared, layers)
    return Rewriter(Marks(prepared, per_channel, quantized).visited(), activation, weight).graph()


def require_quantizable(graph: Graph) -> None:
    """Raises InputError for a graph before opset 13, or one that is quantized already."""
    if dict(graph.opsets).get("", 0) < 13:
        raise InputError(
            f"graph {graph.name!r} has an opset before 13, whose DequantizeLinear has no axis; convert it to opset 13 "
            "or later"
        )
    if any(node.op in _QUANTIZERS for node in graph.nodes):
        raise InputError(
            f"graph {graph.name!r} is quantized already; measure it unchanged, or give the float32 network"
        )


def fold_batch_norm(graph: Graph) -> Graph:
    """Every BatchNormalization that alone reads a Conv becomes that Conv's bias."""
    folded = batch_norms(graph)
    if not folded:
        return graph
    nodes: list[Node] = []
    biases: list[Tensor] = []
    for node in graph.nodes:
        norm = folded.get(node.outputs[0])
        if norm is not None:
            x, w, *bias = node.inputs
            if not bias:
                weight = graph.type_of(w)
                biases.append(Tensor(f"{node.outputs[0]}_bias", weight.dtype, weight.shape[:1]))
            named = bias[0] if bias else biases[-1].name
            nodes.append(replace(node, inputs=(x, w, named), outputs=norm.outputs[:1]))
        elif node not in folded.values():
            nodes.append(node)
    return _read_only(replace(graph, nodes=tuple(nodes), weights=(*graph.weights, *biases), source=None))


def batch_norms(graph: Graph) -> dict[str, Node]:
    """For the output of a Conv the BatchNormalization that alone reads it, and so disappears in its stored weight."""
    readers, producers = graph.consumers(), graph.producers()
    static = {t.name for t in (*graph.weights, *graph.constants)}
    folded: dict[str, Node] = {}
    for node in graph.nodes:
        conv = producers.get(node.inputs[0]) if node.op == "BatchNormalization" else None
        if conv is None or conv.op != "Conv" or conv.inputs[1] not in static:
            continue
        if len(readers[conv.outputs[0]]) == 1 and conv.outputs[0] not in graph.outputs:
            folded[conv.outputs[0]] = node
    return folded


def inline_hard_swish(graph: Graph) -> Graph:
    """The graph with each HardSwish as HardSigmoid and Mul: ONNX Runtime runs it so, and quantizes the Mul."""
    nodes: list[Node] = []
    gates: list[Tensor] = []
    for node in graph.nodes:
        if node.op != "HardSwish":
            nodes.append(node)
            continue
        x, y = node.inputs[0], node.outputs[0]
        gates.append(replace(graph.type_of(y), name=f"{y}_gate"))
        slope = (("alpha", 1 / 6), ("beta", 0.5))
        nodes.append(Node("HardSigmoid", (x,), (gates[-1].name,), slope, name=f"{node.label}_gate"))
        nodes.append(Node("Mul", (x, gates[-1].name), (y,), name=node.label))
    return replace(graph, nodes=tuple(nodes), values=(*graph.values, *gates)) if gates else graph


def _read_only(graph: Graph) -> Graph:
    """The graph without weights and constants that nothing reads any more, and without their types."""
    read = {*graph.consumers(), *graph.outputs}
    written = {out for node in graph.nodes for out in node.outputs}
    return replace(
        graph,
        weights=tuple(t for t in graph.weights if t.name in read),
        constants=tuple(t for t in graph.constants if t.name in read),
        values=tuple(t for t in graph.values if t.name in written),
    )


# -- which tensors ONNX Runtime's quantizer would quantize ---------------------------------------------

_SAME_AS_INPUT = {
    "Reshape", "Transpose", "Squeeze", "Unsqueeze", "Flatten", "Resize", "MaxPool", "AveragePool",
    "Slice", "TopK", "Gather", "GatherElements",
}  # fmt: skip
_EVERY_TENSOR = {
    "Add", "Mul", "LeakyRelu", "Sigmoid", "GlobalAveragePool", "Concat", "Softmax", "ArgMax", "CumSum",
}  # fmt: skip


@dataclass
class Marks:
    """Follows the walk of `QDQQuantizer` over the operators of a graph."""

    graph: Graph
    per_channel: bool
    quantized: Collection[str] | None = None  # first outputs of the operators to visit; None for all
    activations: dict[str, str] = field(default_factory=dict)  # tensor -> tensor whose scale it shares
    weights: dict[str, int | None] = field(default_factory=dict)  # weight -> axis of its scales
    biases: dict[str, tuple[str, str]] = field(default_factory=dict)  # bias -> input and weight of its operator
    removed: dict[str, str] = field(default_factory=dict)  # input of a needless Relu or Clip -> its output
    wide: set[str] = field(default_factory=set)  # activations of 16 bits
    narrow_inputs: set[tuple[str, str]] = field(default_factory=set)  # of these, with a result of who reads 8 bits

    def __post_init__(self) -> None:
        self._readers, self._producers = self.graph.consumers(), self.graph.producers()
        self._static = {t.name for t in (*self.graph.weights, *self.graph.constants)}
        self._fixed = {*self.graph.outputs, *(t.name for t in self.graph.inputs)}
        unpacking = unpacked(self.graph)
        self._on_grid = {  # weights that have a grid already, with the axis of its steps
            node.outputs[0]: node.attribute("axis", 1)
            for node in self.graph.nodes
            if node.op == "DequantizeLinear" and (node.inputs[0] in self._static or node.inputs[0] in unpacking)
        }
        self._given = {*self._on_grid, *unpacking}

    def visited(self) -> Self:
        """With every operator marked that is to be quantized."""
        for node in self.graph.nodes:
            if not self.stays_float(node):
                self.visit(node)
        return self

    def stays_float(self, node: Node) -> bool:
        return self.quantized is not None and node.outputs[0] not in self.quantized

    def is_made_float(self, name: str) -> bool:
        """Whether an operator that stays float makes this, or none does."""
        producer = self._producers.get(name)
        return producer is None or self.stays_float(producer)

    def visit(self, node: Node) -> None:
        if node.domain not in ("", "ai.onnx") or node.outputs[0] in self._given:
            return
        if node.op in _SAME_AS_INPUT:
            self._same_as_input(node)
        elif node.op in _EVERY_TENSOR:
            self._mark(*node.inputs, *node.outputs)
        elif rule := _RULES.get(node.op):
            rule(self, node)

    def _mark(self, *names: str) -> None:
        for name in filter(self._can_be_quantized, names):
            self.activations.setdefault(name, name)

    def _can_be_quantized(self, name: str) -> bool:
        """Whether integers can stand for it: float32, and not a constant that is infinite or not a number."""
        if not self.graph.has_type(name):
            return False
        tensor = self.graph.type_of(name)
        is_finite = not isinstance(tensor, Constant) or all(map(math.isfinite, tensor.values))
        return tensor.dtype == "float32" and is_finite

    def _same_as_input(self, node: Node) -> None:
        if node.op.startswith("Gather") and node.inputs[0] in self._static:
            self._mark(node.inputs[0])
        self._share(node)

    def _share(self, node: Node) -> None:
        if node.inputs[0] not in self.activations:
            return
        for out in node.outputs:
            if out and self.graph.has_type(out) and self.graph.type_of(out).dtype == "float32":
                self.activations[out] = node.inputs[0]

    def _weight(self, name: str, axis: int) -> None:
        if name in self._on_grid:
            self.weights[name] = self._on_grid[name]
            return
        if name not in self._static:
            self._mark(name)
            return
        if not self._can_be_quantized(name):
            return
        rank = len(self.graph.type_of(name).shape)
        self.weights.setdefault(name, axis if self.per_channel and axis < rank else None)

    def _bias(self, node: Node) -> None:
        x, w, *bias = node.inputs
        if bias and bias[0] in self._static:
            self.biases.setdefault(bias[0], (x, w))

    def convolution(self, node: Node) -> None:
        if not self._can_be_quantized(node.inputs[0]):
            return
        self._mark(node.inputs[0], node.outputs[0])
        self._weight(node.inputs[1], 0 if node.op == "Conv" else 1)
        self._bias(node)

    def gemm(self, node: Node) -> None:
        if not self._can_be_quantized(node.inputs[0]):
            return
        self._mark(node.inputs[0], node.outputs[0])
        self._weight(node.inputs[1], 0 if node.attribute("transB", 0) else 1)
        self._bias(node)

    def matmul(self, node: Node) -> None:
        for name in node.inputs:
            self._weight(name, 1)
        self._mark(node.outputs[0])

    def bound(self, node: Node) -> None:
        """Drops a Relu or Clip that alone reads a quantized operator: the range of the output's grid clips as well."""
        x, y = node.inputs[0], node.outputs[0]
        if x not in self.activations:
            return
        if len(self._readers[x]) == 1 and x not in self._fixed:
            self.removed[x] = y
            del self.activations[x]
        self._mark(y)

    def normalization(self, node: Node) -> None:
        x, scale, *bias = node.inputs
        if not self._can_be_quantized(x):
            return
        self._mark(x, *node.outputs)
        self._weight(scale, 1)
        if bias and bias[0] in self._static:
            self.biases.setdefault(bias[0], (x, scale))

    def pad(self, node: Node) -> None:
        self._mark(*node.inputs)
        fill = node.inputs[2] if len(node.inputs) > 2 else ""
        if node.attribute("mode", "constant") != "constant" or not any(self.graph.constant_values.get(fill, (0,))):
            self._share(node)
        else:
            self._mark(*node.outputs)

    def split(self, node: Node) -> None:
        self._mark(node.inputs[0])
        self._share(node)

    def where(self, node: Node) -> None:
        if all(name in self.activations for name in node.inputs[1:]):
            self._mark(*node.outputs)


_RULES: dict[str, Callable[[Marks, Node], None]] = {
    "Conv": Marks.convolution,
    "ConvTranspose": Marks.convolution,
    "Gemm": Marks.gemm,
    "MatMul": Marks.matmul,
    "Relu": Marks.bound,
    "Clip": Marks.bound,
    "InstanceNormalization": Marks.normalization,
    "LayerNormalization": Marks.normalization,
    "BatchNormalization": Marks.normalization,
    "Pad": Marks.pad,
    "Split": Marks.split,
    "Where": Marks.where,
}


def is_quantizable(node: Node) -> bool:
    """Whether operators of this kind are quantized where their tensors allow it."""
    return node.domain in ("", "ai.onnx") and (node.op in _SAME_AS_INPUT | _EVERY_TENSOR or node.op in _RULES)


# -- writing the Q/DQ pairs ----------------------------------------------------------------------------


class Rewriter:
    """Turns marks into a graph. Names follow ONNX Runtime's, so that tools which know those read this too."""

    def __init__(self, marks: Marks, activation: str, weight: str) -> None:
        self._marks = marks
        self._old = marks.graph
        self._activation = activation
        self._weight = weight
        self._nodes: list[Node] = []
        self._weights: list[Tensor] = []
        self._constants: list[Constant] = []
        self._values: dict[str, Tensor] = {t.name: t for t in self._old.values}
        self._clipped = set(marks.removed.values())
        self._read_as: dict[str, str] = {}  # tensor -> name of its dequantized twin

    def graph(self) -> Graph:
        for tensor in (*self._old.weights, *self._old.constants):
            self._static(tensor)
        for tensor in self._old.inputs:
            if tensor.name in self._marks.activations:
                self._pair(tensor.name, tensor.name)
        for node in self._old.nodes:
            if node.inputs[:1] and self._marks.removed.get(node.inputs[0]) == node.outputs[0]:
                continue
            self._operator(node)
        return _read_only(
            replace(
                self._old,
                nodes=tuple(self._nodes),
                weights=tuple(self._weights),
                constants=tuple(self._constants),
                values=tuple(self._values.values()),
                name=f"{self._old.name}-int8",
                source=None,
            )
        )

    def _operator(self, node: Node) -> None:
        outputs = tuple(self._marks.removed.get(name, name) for name in node.outputs)
        written = tuple(f"{name}{RAW}" if self._is_marked_output(name) else name for name in outputs)
        inputs = tuple(self._input(name, node) for name in node.inputs)
        self._nodes.append(replace(node, inputs=inputs, outputs=written))
        for name, raw in zip(outputs, written, strict=True):
            if name in self._marks.activations:
                self._values[raw] = replace(self._old.type_of(name), name=raw)
                self._pair(name, raw)

    def _input(self, name: str, node: Node) -> str:
        """The tensor that the operator reads in place of `name`."""
        if self._marks.stays_float(node) and self._marks.is_made_float(name):
            return name
        as_read = self._read_as.get(name, name)
        return self._narrow(name, as_read) if (name, node.outputs[0]) in self._marks.narrow_inputs else as_read

    def _narrow(self, name: str, wide: str) -> str:
        """The 8-bit twin of a 16-bit tensor."""
        twin = f"{name}{NARROW}"
        if twin not in self._read_as:
            grid = f"{self._root(name)}{NARROW}"
            if grid_names(grid)[0] not in {c.name for c in self._constants}:
                low, _ = _RANGE[self._activation]
                self._grid(grid, (), _ACTIVATION_SPAN / 255, self._activation, low + 128)
            self._values[twin] = replace(self._old.type_of(name), name=twin)
            self._quantize(twin, wide, grid, self._activation)
        return self._read_as[twin]

    def _is_marked_output(self, name: str) -> bool:
        """Whether an output of the network is read from its grid."""
        is_kept_float = self._marks.quantized is not None and self._marks.is_made_float(name)
        return name in self._old.outputs and name in self._marks.activations and not is_kept_float

    def _static(self, tensor: Tensor) -> None:
        """Adds a weight or constant, and the integers of a quantized one that a DequantizeLinear reads. Unread
        tensors are dropped later."""
        marks = self._marks
        if isinstance(tensor, Constant):
            self._constants.append(tensor)
        else:
            self._weights.append(tensor)
        if tensor.name in marks.biases:
            self._bias(tensor)
        elif tensor.name in marks.weights:
            self._stored(tensor, self._weight, marks.weights[tensor.name])
        elif tensor.name in marks.activations:
            self._stored(tensor, self._activation, None)

    def _stored(self, tensor: Tensor, dtype: str, axis: int | None) -> None:
        if isinstance(tensor, Constant) and tensor.numel == 1:
            scale, zero, values = _quantized(tensor.values, *_RANGE[dtype])
            self._constants.append(Constant(f"{tensor.name}{STORED}", dtype, tensor.shape, values))
        else:
            scale, zero = _weight_scale(tensor.shape, axis or 0), 128 if dtype == "uint8" else 0
            self._weights.append(Tensor(f"{tensor.name}{STORED}", dtype, tensor.shape))
        shape = () if axis is None else (tensor.shape[axis],)
        self._grid(tensor.name, shape, scale, dtype, zero)
        self._dequantize(tensor, f"{tensor.name}{STORED}", axis)

    def _bias(self, tensor: Tensor) -> None:
        """int32, at the product of the scales of input and weight: at another the runtime keeps the float kernel."""
        x, w = self._marks.biases[tensor.name]
        axis = self._marks.weights.get(w)
        weight_scale = _weight_scale(self._old.shape(w), axis or 0)
        scale = float(np.float32(self._activation_scale(self._root(x))) * np.float32(weight_scale))
        self._weights.append(Tensor(f"{tensor.name}{STORED}", "int32", tensor.shape))
        self._grid(tensor.name, () if axis is None else tensor.shape, scale, "int32", 0)
        self._dequantize(tensor, f"{tensor.name}{STORED}", None if axis is None else 0)

    def _root(self, name: str) -> str:
        """The activation whose scale this one shares, or itself."""
        while self._marks.activations[name] != name:
            name = self._marks.activations[name]
        return name

    def _activation_scale(self, root: str) -> float:
        return (_RELU_SPAN if root in self._clipped else _ACTIVATION_SPAN) / 255

    def _pair(self, name: str, raw: str) -> None:
        """Adds Q and DQ after the activation `raw`; readers of `name` read the DQ's output."""
        root = self._root(name)
        dtype = _WIDE if root in self._marks.wide else self._activation
        if root == name:
            low, high = _RANGE[dtype]
            zero = low if name in self._clipped else (low + high + 1) // 2
            self._grid(name, (), self._activation_scale(name) * 255 / (high - low), dtype, zero)
        self._quantize(name, raw, root, dtype)

    def _quantize(self, name: str, raw: str, grid: str, dtype: str) -> None:
        """Adds Q and DQ on an existing grid."""
        quantized = f"{name}_QuantizeLinear_Output"
        self._nodes.append(
            Node("QuantizeLinear", (raw, *grid_names(grid)), (quantized,), name=f"{name}_QuantizeLinear")
        )
        tensor = self._values[name] if name in self._values else self._old.type_of(name)
        self._values[quantized] = Tensor(quantized, dtype, tensor.shape)
        self._dequantize(tensor, quantized, None, grid)

    def _dequantize(self, tensor: Tensor, quantized: str, axis: int | None, grid: str = "") -> None:
        name = tensor.name
        out = name if self._is_marked_output(name) else f"{name}_DequantizeLinear_Output"
        self._nodes.append(
            Node(
                "DequantizeLinear",
                (quantized, *grid_names(grid or name)),
                (out,),
                () if axis is None else (("axis", axis),),
                name=f"{name}_DequantizeLinear",
            )
        )
        self._values[out] = Tensor(out, tensor.dtype, tensor.shape)
        self._read_as[name] = out

    def _grid(self, name: str, shape: tuple[int, ...], scale: float, dtype: str, zero: int) -> None:
        count = math.prod(shape)
        scale_name, zero_name = grid_names(name)
        self._constants.append(Constant(scale_name, "float32", shape, (scale,) * count))
        self._constants.append(Constant(zero_name, dtype, shape, (zero,) * count))


def _weight_scale(shape: tuple[int, ...], axis: int) -> float:
    """The scale at which evenly drawn int8 weights keep the size of the activations; `axis` is that of the outputs. An
    empty tensor has any."""
    fan_in = math.prod(shape) // max(shape[axis], 1) if shape else 1
    return math.sqrt(2 / max(fan_in, 1)) / _UNIFORM_INT8_DEVIATION


def grid_names(tensor: str) -> tuple[str, str]:
    """The names of a quantized tensor's scale and zero point."""
    return f"{tensor}{SCALE}", f"{tensor}{ZERO}"


def _quantized(values: Sequence[float], low: int, high: int) -> tuple[float, int, tuple[int, ...]]:
    """Scale, zero point and integers of values, on the smallest grid that holds them and 0."""
    least, most = min(0.0, *values), max(0.0, *values)
    scale = (most - least) / (high - low) or 1.0
    zero = low - round(least / scale)
    return scale, zero, tuple(min(max(round(v / scale) + zero, low), high) for v in values)
