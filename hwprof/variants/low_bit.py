"""Weights of few bits, and weights from a dictionary: a file that is smaller by as much as it claims, and runs.

A layer is a Conv, Gemm or MatMul with a stored weight that no other operator reads, named by the label of its node.

- 8 and 4 bits are ONNX's types INT8 and INT4, read by a DequantizeLinear with one step for each output.
- Other widths are packed into bytes (3 bits as 2 and 1), which operators unpack into indices; these pick INT8 integers
  for a DequantizeLinear (`low_bits`), or the values of a dictionary (`dictionaries`, as in LUT-Q, Cardinaux et al.,
  arXiv 1911.04951). Runtimes unpack once, when they load the network, and so run its dense kernels; a DequantizeLinear
  they run each time, except ONNX Runtime in a MatMul, which gets a kernel that rounds activations to 8 bits.

2026-11-29, why 2 bits are not ONNX's INT2: opset 25 has it, which needs a newer file format than the runtimes that we
support read, and none of their kernels takes it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from hwprof.errors import InputError
from hwprof.graph import AttributeValue, Constant, Graph, Node, Tensor
from hwprof.onnx_io.opset import with_opset
from hwprof.onnx_io.packed import unpacked
from hwprof.onnx_io.proto import dtype_code
from hwprof.variants.quantize import SCALE, STORED, batch_norms, fold_batch_norm
from hwprof.variants.quantized_values import folded, norm_factor
from hwprof.variants.weights import Weights, constant_arrays

WIDTHS = range(1, 9)
MOST_LEVELS = 256
_TYPES = {8: "int8", 4: "int4"}  # of widths that ONNX has
_AXIS_OPSET, _INT4_OPSET = 13, 21  # the first whose DequantizeLinear has an axis, and takes INT4
_BYTE = 8
_PARTS = (4, 2, 1)  # widths that fill a byte
_LARGEST = 127  # of a dictionary's integers
_POWERS = 64  # of a dictionary of powers of two, in whose integers seven of them are exact
_ROUNDS = 50  # of k-means


@dataclass(frozen=True, slots=True)
class Layer:
    """An operator's stored weight, [*shape], and the axis of its outputs."""

    node: Node
    weight: Tensor
    axis: int

    @property
    def outputs(self) -> int:
        return self.weight.shape[self.axis]

    def along(self, of_outputs: np.ndarray) -> np.ndarray:
        """[outputs] or [1], in the shape that broadcasts along the axis of the weight."""
        shape = [1] * len(self.weight.shape)
        shape[self.axis] = -1
        return of_outputs.reshape(shape)

    def rows(self, weight: np.ndarray) -> np.ndarray:
        """weight: of the weight's shape. Returns [outputs, n]."""
        return np.moveaxis(weight, self.axis, 0).reshape(self.outputs, -1)


def layers(graph: Graph) -> dict[str, Layer]:
    """By label, the layers whose weights can be stored in another way, in order."""
    readers = graph.consumers()
    found = {}
    for node in graph.nodes:
        axis = _output_axis(node)
        if axis is None or node.inputs[1] not in graph.weight_names:
            continue
        weight = graph.type_of(node.inputs[1])
        is_alone = len(readers[weight.name]) == 1 and node.inputs.count(weight.name) == 1
        if is_alone and weight.dtype == "float32" and len(weight.shape) > axis and (node.op == "Conv" or axis < 2):
            found[node.label] = Layer(node, weight, axis)
    return {name: layer for name, layer in found.items() if layer.node.op == "Conv" or len(layer.weight.shape) == 2}


def _output_axis(node: Node) -> int | None:
    if node.domain or len(node.inputs) < 2:
        return None
    if node.op == "Gemm":
        return 0 if node.attribute("transB", 0) else 1
    return {"Conv": 0, "MatMul": 1}.get(node.op)


# -- low bits ------------------------------------------------------------------------------------------


def low_bits(graph: Graph, bits: Mapping[str, int]) -> Graph:
    """The graph whose weights have these widths, by layer; the others are unchanged.

    Batch normalization that follows such a convolution is folded into its steps. Raises InputError for a layer or width
    that does not exist, and where ONNX's converter cannot raise the graph to the opset that the type needs.
    """
    if not bits:
        return graph
    raised = _raised(graph, bits)
    return _rewritten(raised, {name: _low_bit_parts(layer, bits[name]) for name, layer in _chosen(raised, bits)})


def low_bits_weights(
    graph: Graph, weights: Weights, bits: Mapping[str, int], steps: Mapping[str, float | np.ndarray] | None = None
) -> tuple[Graph, dict[str, np.ndarray]]:
    """`low_bits` with the weights and constants of the new graph by name, each [*shape] of its tensor.

    weights: those of the graph by name. steps: by layer the step of its grid, a scalar or [outputs], on which the
    weight is rounded to integers of at most 2 ** (bits - 1) - 1, or with one bit to plus or minus the step; by default
    the step of the largest weight of each output, or with one bit the mean of their sizes.
    """
    if not bits:
        return graph, {**weights}
    raised = _raised(graph, bits)
    is_folded = len(batch_norms(raised)) < len(batch_norms(graph))
    arrays = {**(folded(graph, weights) if is_folded else weights), **constant_arrays(raised)}
    gains = _norm_gains(graph, weights) if is_folded else {}
    for name, layer in _chosen(raised, bits):
        weight = np.asarray(arrays[layer.weight.name], np.float64)
        if steps is None or name not in steps:
            step = default_steps(layer, weight, bits[name])
        else:
            step = _positive(np.broadcast_to(steps[name], layer.outputs) * gains.get(name, 1.0))
        arrays |= _low_bit_values(layer, weight, bits[name], step)
    return _with_arrays(low_bits(graph, bits), arrays)


def _raised(graph: Graph, bits: Mapping[str, int]) -> Graph:
    """Without batch normalization after the layers, and in the opset of their types."""
    for name, width in bits.items():
        if width not in WIDTHS:
            raise InputError(f"layer {name!r} cannot have {width} bits; known: 1 to {max(WIDTHS)}")
    raised = with_opset(graph, _INT4_OPSET if 4 in bits.values() else _AXIS_OPSET)
    return fold_batch_norm(raised) if any(raised.producers()[n].label in bits for n in batch_norms(raised)) else raised


def _norm_gains(graph: Graph, weights: Weights) -> dict[str, np.ndarray]:
    """By layer the size of the factor, [outputs], that batch normalization is folded into its weight with."""
    producers = graph.producers()
    return {producers[name].label: np.abs(norm_factor(norm, weights)) for name, norm in batch_norms(graph).items()}


def default_steps(layer: Layer, weight: np.ndarray, bits: int) -> np.ndarray:
    """The steps, float32 [outputs], above 0, with which `low_bits_weights` stores the weight, [*shape], by default."""
    sizes = np.abs(layer.rows(weight))
    return _positive(sizes.mean(axis=1) if bits == 1 else sizes.max(axis=1, initial=0.0) / largest_integer(bits))


def rounded(layer: Layer, weight: np.ndarray, bits: int, steps: np.ndarray) -> np.ndarray:
    """The weight, [*shape], as it is stored with these steps, float32 [outputs]; float32 [*shape]."""
    return np.asarray(_in_steps(layer, weight, bits, steps) * layer.along(steps), np.float32)


def _positive(steps: np.ndarray) -> np.ndarray:
    return np.where(steps > 0, steps, 1.0).astype(np.float32)


def _in_steps(layer: Layer, weight: np.ndarray, bits: int, steps: np.ndarray) -> np.ndarray:
    """int8, of the weight's shape."""
    most = largest_integer(bits)
    exact = np.clip(weight / layer.along(steps.astype(np.float64)), -most, most)
    return np.where(exact < 0, -1, 1).astype(np.int8) if bits == 1 else np.rint(exact).astype(np.int8)


def largest_integer(bits: int) -> int:
    """The largest integer of a symmetric grid: 7 with 4 bits, 1 with 2 bits and with 1, which has no 0."""
    return max((1 << (bits - 1)) - 1, 1)


def _low_bit_parts(layer: Layer, bits: int) -> _Parts:
    """Integers, stored or unpacked, and the DequantizeLinear that makes the weight of them."""
    parts, name, shape = _Parts(layer), layer.weight.name, layer.weight.shape
    if bits in _TYPES:
        integers = parts.weight(f"{name}{STORED}", _TYPES[bits], shape)
    else:
        table = parts.weight(f"{name}_integers", "int8", (2**bits,))
        integers = parts.node("Gather", (table, _unpacked(parts, bits)), f"{name}{STORED}", "int8", shape)
    scale = parts.weight(f"{name}{SCALE}", "float32", (layer.outputs,))
    parts.node(
        "DequantizeLinear", (integers, scale), f"{name}_DequantizeLinear_Output", "float32", shape, axis=layer.axis
    )
    return parts


def _low_bit_values(layer: Layer, weight: np.ndarray, bits: int, steps: np.ndarray) -> dict[str, np.ndarray]:
    """weight: of the weight's shape; steps: float32 [outputs], above 0."""
    name, integers = layer.weight.name, _in_steps(layer, weight, bits, steps)
    scale = {f"{name}{SCALE}": steps}
    if bits in _TYPES:
        return scale | {f"{name}{STORED}": integers}
    codes = (integers > 0).astype(np.uint8) if bits == 1 else integers.view(np.uint8) & (2**bits - 1)
    return scale | {f"{name}_integers": _integers(bits)} | _packed(name, codes, bits)


def _integers(bits: int) -> np.ndarray:
    """int8 [2 ** bits]: the integer of each code, in two's complement."""
    if bits == 1:
        return np.array([-1, 1], np.int8)
    codes = np.arange(2**bits)
    return np.asarray(codes - (codes >= 2 ** (bits - 1)) * 2**bits, np.int8)


# -- dictionaries --------------------------------------------------------------------------------------


def dictionaries(graph: Graph, levels: Mapping[str, int]) -> Graph:
    """The graph whose weights are indices into dictionaries of this many values, by layer; the others are unchanged.

    An index has as many bits as it needs, and a dictionary 2 ** bits places. Raises InputError for a layer or a number
    of levels that does not exist.
    """
    for name, count in levels.items():
        if not 1 <= count <= MOST_LEVELS:
            raise InputError(f"layer {name!r} cannot have a dictionary of {count} values; known: 1 to {MOST_LEVELS}")
    return _rewritten(graph, {name: _dictionary_parts(layer, levels[name]) for name, layer in _chosen(graph, levels)})


def dictionary_weights(
    graph: Graph, weights: Weights, levels: Mapping[str, int]
) -> tuple[Graph, dict[str, np.ndarray]]:
    """`dictionaries` with the weights and constants of the new graph by name, each [*shape] of its tensor.

    weights: those of the graph by name. One that has no more different values than levels is kept bit for bit; else its
    values are the means of clusters (k-means from even quantiles).
    """
    arrays = {**weights, **constant_arrays(graph)}
    for name, layer in _chosen(graph, levels):
        weight = np.asarray(arrays[layer.weight.name], np.float32)
        values, codes = clustered(weight, levels[name])
        bits = index_bits(levels[name])
        table = np.pad(values, (0, 2**bits - len(values)), mode="edge")
        arrays |= {f"{layer.weight.name}_values": table, **_packed(layer.weight.name, codes.astype(np.uint8), bits)}
    return _with_arrays(dictionaries(graph, levels), arrays)


def index_bits(levels: int) -> int:
    """The width of an index into a dictionary."""
    return max(1, math.ceil(math.log2(levels)))


def clustered(weight: np.ndarray, levels: int) -> tuple[np.ndarray, np.ndarray]:
    """weight: float32 [...]. Returns at most `levels` values, float32 [k], ascending, and the place of each element's
    value, [...]."""
    flat = weight.ravel()
    values = np.unique(flat)
    if len(values) > levels:
        values = np.unique(np.quantile(flat, (np.arange(levels) + 0.5) / levels).astype(np.float32))
        for _ in range(_ROUNDS):
            places = nearest(flat, values)
            counts, sums = np.bincount(places, minlength=len(values)), np.bincount(places, flat, len(values))
            means = np.where(counts > 0, sums / np.maximum(counts, 1), values).astype(np.float32)
            if np.array_equal(means, values):
                break
            values = np.unique(means)
    return values, nearest(flat, values).reshape(weight.shape)


def nearest(x: np.ndarray, values: np.ndarray) -> np.ndarray:
    """x: [...]; values: [k], ascending. Returns the place of the nearest value, [...]."""
    return np.searchsorted((values[1:].astype(np.float64) + values[:-1]) / 2, x)


def _dictionary_parts(layer: Layer, levels: int) -> _Parts:
    parts, name, bits = _Parts(layer), layer.weight.name, index_bits(levels)
    values = parts.weight(f"{name}_values", "float32", (2**bits,))
    parts.node("Gather", (values, _unpacked(parts, bits)), f"{name}_unpacked", "float32", layer.weight.shape)
    return parts


def integer_dictionaries(graph: Graph) -> Graph:
    """The graph whose dictionaries hold INT8 integers with a step, as `low_bits` stores them, so that a quantized
    network can read them."""
    for gather, layer in _float_dictionaries(graph):
        name = gather.outputs[0]
        parts = _Parts(layer)
        table = parts.weight(f"{name}_integers", "int8", graph.shape(gather.inputs[0]))
        integers = parts.node("Gather", (table, gather.inputs[1]), f"{name}{STORED}", "int8", layer.weight.shape)
        scale = parts.weight(f"{name}{SCALE}", "float32", (layer.outputs,))
        shape, made = layer.weight.shape, f"{name}_DequantizeLinear_Output"
        parts.node("DequantizeLinear", (integers, scale), made, "float32", shape, axis=layer.axis)
        graph = _replaced(graph, {layer.node.label: parts}, without=gather)
    return graph


def integer_dictionary_weights(graph: Graph, weights: Weights) -> dict[str, np.ndarray]:
    """The weights of `integer_dictionaries(graph)` by name, each [*shape] of its tensor. weights: those of the graph by
    name. Powers of two stay exact within a factor of 64; other values move by 1/254 of the largest at most."""
    arrays = dict(weights)
    for gather, layer in _float_dictionaries(graph):
        name = gather.outputs[0]
        values = np.asarray(weights[gather.inputs[0]], np.float64)
        largest = float(np.abs(values).max()) or 1.0
        in_powers = values * _POWERS / largest
        step = largest / (_POWERS if np.array_equal(in_powers, np.rint(in_powers)) else _LARGEST)
        arrays[f"{name}_integers"] = np.rint(values / step).astype(np.int8)
        arrays[f"{name}{SCALE}"] = np.full(layer.outputs, step, np.float32)
    return arrays


def _float_dictionaries(graph: Graph) -> list[tuple[Node, Layer]]:
    """The Gather that makes a layer's weight of a dictionary, and the layer as it would be without."""
    made_by, found = unpacked(graph), []
    for node in graph.nodes:
        axis = _output_axis(node)
        gather = made_by.get(node.inputs[1]) if axis is not None else None
        if axis is not None and gather is not None and gather.op == "Gather":
            found.append((gather, Layer(node, graph.type_of(node.inputs[1]), axis)))
    return found


# -- packing -------------------------------------------------------------------------------------------


def _packed(name: str, codes: np.ndarray, bits: int) -> dict[str, np.ndarray]:
    """codes: uint8 [...]. Returns the bytes that `_unpacked` reads by name, each [n, 1]."""
    packed, low = {}, 0
    for width in _split(bits):
        per_byte, flat = _BYTE // width, (codes.ravel() >> low) & (2**width - 1)
        whole = np.zeros((-(-flat.size // per_byte), per_byte), np.uint8)
        whole.ravel()[: flat.size] = flat
        shifts = width * np.arange(per_byte, dtype=np.uint8)
        packed[f"{name}_packed{width}"] = np.bitwise_or.reduce(whole << shifts, axis=1, keepdims=True)
        low += width
    return packed


def _unpacked(parts: _Parts, bits: int) -> str:
    """The indices, int32, of the weight's shape."""
    name, shape = parts.layer.weight.name, parts.layer.weight.shape
    whole, low = "", 0
    for width in _split(bits):
        digits = _digits(parts, f"{name}_packed{width}", width, math.prod(shape))
        if low:
            high = parts.node("Mul", (digits, parts.constant(f"{name}_at{low}", "int32", [2**low])), f"{digits}_at")
            digits = parts.node("Add", (whole, high), f"{digits}_added")
        whole, low = digits, low + width
    return parts.node("Reshape", (whole, parts.constant(f"{name}_shape", "int64", shape)), f"{name}_index", shape=shape)


def _digits(parts: _Parts, packed: str, width: int, count: int) -> str:
    """The digits of this width in bytes, the lowest first: int32 [count]."""
    per_byte = _BYTE // width
    rows = -(-count // per_byte)
    stored = parts.weight(packed, "uint8", (rows, 1))
    integers = parts.node("Cast", (stored,), f"{packed}_bytes", shape=(rows, 1), to=dtype_code("int32"))
    places = parts.constant(f"{packed}_places", "int32", [2 ** (width * i) for i in range(per_byte)])
    shifted = parts.node("Div", (integers, places), f"{packed}_shifted", shape=(rows, per_byte))
    modulus = parts.constant(f"{packed}_modulus", "int32", [2**width])
    digits = parts.node("Mod", (shifted, modulus), f"{packed}_digits", shape=(rows, per_byte))
    flat = parts.constant(f"{packed}_flat", "int64", [rows * per_byte])
    row = parts.node("Reshape", (digits, flat), f"{packed}_row", shape=(rows * per_byte,))
    if rows * per_byte == count:
        return row
    ends = [parts.constant(f"{packed}_{end}", "int64", [at]) for end, at in (("start", 0), ("end", count))]
    return parts.node("Slice", (row, *ends), f"{packed}_cut", shape=(count,))


def _split(bits: int) -> list[int]:
    """Widths that fill bytes and add up to the bits, the largest first."""
    return [_BYTE] if bits == _BYTE else [width for width in _PARTS if bits & width]


# -- writing the graph -------------------------------------------------------------------------------


@dataclass(slots=True)
class _Parts:
    """The operators that make a layer's weight; the last one's result is the weight."""

    layer: Layer
    nodes: list[Node] = field(default_factory=list)
    weights: list[Tensor] = field(default_factory=list)
    constants: list[Constant] = field(default_factory=list)
    values: list[Tensor] = field(default_factory=list)

    def weight(self, name: str, dtype: str, shape: Sequence[int]) -> str:
        self.weights.append(Tensor(name, dtype, tuple(shape)))
        return name

    def constant(self, name: str, dtype: str, values: Sequence[int]) -> str:
        self.constants.append(Constant(name, dtype, (len(values),), tuple(values)))
        return name

    def node(
        self, op: str, inputs: Sequence[str], name: str, dtype: str = "int32", shape: Sequence[int] | None = None,
        **attributes: AttributeValue,
    ) -> str:  # fmt: skip
        """shape: that of the last operator's result by default."""
        self.nodes.append(Node(op, tuple(inputs), (name,), tuple(attributes.items()), name=name))
        self.values.append(Tensor(name, dtype, self.values[-1].shape if shape is None else tuple(shape)))
        return name


def _chosen(graph: Graph, names: Mapping[str, int]) -> list[tuple[str, Layer]]:
    known = layers(graph)
    for name in names:
        if name not in known:
            raise InputError(f"no layer with a stored weight is named {name!r}; known: {', '.join(known) or 'none'}")
    return [(name, layer) for name, layer in known.items() if name in names]


def _rewritten(graph: Graph, parts: Mapping[str, _Parts]) -> Graph:
    return _replaced(graph, parts) if parts else graph


def _replaced(graph: Graph, parts: Mapping[str, _Parts], without: Node | None = None) -> Graph:
    """The graph whose layers read the weights that the parts make, without a node, and without weights that nobody
    reads."""
    nodes: list[Node] = []
    for node in graph.nodes:
        made = parts.get(node.label) if node != without else None
        if made is not None and node == made.layer.node:
            nodes += made.nodes
            node = replace(node, inputs=(node.inputs[0], made.nodes[-1].outputs[0], *node.inputs[2:]))  # noqa: PLW2901
        nodes += [node] if node != without else []
    every = list(parts.values())
    read = {name for node in nodes for name in node.inputs}
    return replace(
        graph,
        nodes=tuple(nodes),
        weights=(*(t for t in graph.weights if t.name in read), *(t for part in every for t in part.weights)),
        constants=(*graph.constants, *(c for part in every for c in part.constants)),
        values=(*(t for t in graph.values if without is None or t.name not in without.outputs),
                *(t for part in every for t in part.values)),
        source=None,
    )  # fmt: skip


def _with_arrays(graph: Graph, arrays: Weights) -> tuple[Graph, dict[str, np.ndarray]]:
    every = {**arrays, **constant_arrays(graph)}
    return graph, {t.name: every[t.name] for t in (*graph.weights, *graph.constants)}
