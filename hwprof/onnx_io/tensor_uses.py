"""The use of each stored tensor by the first operator that reads it: a matrix, a bias, a scale, ..."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum

from hwprof.graph import Constant, Graph, Node, Tensor, is_quantized
from hwprof.onnx_io.proto import bodies_of, is_float, with_bodies


class Role(StrEnum):
    """A use of a stored tensor."""

    MATRIX = "matrix"  # multiplied and summed over
    GAIN = "gain"  # multiplied element by element; near 1
    SHIFT = "shift"  # added; near 0
    TABLE = "table"  # rows are picked from it
    INDEX = "index"  # picks rows
    RECURRENT = "recurrent"
    SLOPE = "slope"  # slope of a leaky activation
    STEP = "step"  # scale of a quantized activation
    WEIGHT_STEP = "weight step"  # scale of a quantized weight
    ZERO_POINT = "zero point"
    STRUCTURE = "structure"  # its values decide what is computed
    OTHER = "other"


_MATRIX = (Role.MATRIX, Role.MATRIX, Role.SHIFT)
_NORM = (Role.OTHER, Role.GAIN, Role.SHIFT)
_BOUNDS = (Role.OTHER, *(Role.STRUCTURE,) * 5)
_RECURRENT = (Role.OTHER, *(Role.RECURRENT,) * 3, Role.STRUCTURE, *(Role.SHIFT,) * 3)
_PAYLOAD_FIRST = (Role.MATRIX, Role.MATRIX, Role.ZERO_POINT, Role.ZERO_POINT)

# The role of each input; further inputs are OTHER.
_ROLES: Mapping[str, tuple[Role, ...]] = {
    **dict.fromkeys(("Conv", "ConvTranspose", "Gemm", "MatMul", "Einsum"), _MATRIX),
    **dict.fromkeys(("FusedConv", "FusedGemm", "FusedMatMul", "Attention"), _MATRIX),
    **dict.fromkeys(("MatMulInteger", "ConvInteger"), _PAYLOAD_FIRST),
    "DeformConv": (Role.OTHER, Role.MATRIX, Role.SHIFT, Role.SHIFT),
    **dict.fromkeys(("LSTM", "GRU", "RNN"), _RECURRENT),
    **dict.fromkeys(("LayerNormalization", "InstanceNormalization", "GroupNormalization", "RMSNormalization"), _NORM),
    "SimplifiedLayerNormalization": _NORM,
    "SkipLayerNormalization": (Role.OTHER, *_NORM, Role.SHIFT),
    "BatchNormalization": (Role.OTHER, Role.GAIN, Role.SHIFT, Role.SHIFT, Role.GAIN),
    **dict.fromkeys(("Add", "Sub", "Sum"), (Role.SHIFT,) * 8),
    **dict.fromkeys(("BiasGelu", "FastGelu"), (Role.OTHER, Role.SHIFT)),
    **dict.fromkeys(("Mul", "Div"), (Role.GAIN, Role.GAIN)),
    **dict.fromkeys(("Gather", "GatherElements", "GatherND"), (Role.TABLE, Role.INDEX)),
    "EmbedLayerNormalization": (*(Role.INDEX,) * 2, *(Role.TABLE,) * 3, Role.GAIN, Role.SHIFT),
    "PRelu": (Role.OTHER, Role.SLOPE),
    **dict.fromkeys(("Clip", "Resize", "Upsample", "Pow", "Pad", "OneHot", "NonMaxSuppression"), _BOUNDS),
    "Range": (Role.STRUCTURE,) * 3,
}

# Operators whose output holds the elements of their first input, so that the input has the role of the output.
MOVING = frozenset({
    "Identity", "Cast", "Transpose", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Expand", "Slice", "Split",
    "QuantizeLinear", "DequantizeLinear",
})  # fmt: skip


@dataclass(frozen=True, slots=True)
class Use:
    """The tensor, or the tensor into which its elements are moved, is input `position` of `node`."""

    role: Role
    tensor: str = ""
    node: Node | None = None
    position: int = 0


class Uses:
    """Looks up the use of the tensors of one graph."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.readers = graph.consumers()
        self.producers = graph.producers()
        self._static = {t.name for t in (*graph.weights, *graph.constants)}

    def is_static(self, name: str) -> bool:
        return name in self._static

    def of(self, name: str) -> Use:
        """The use by the first reader; readers inside control-flow bodies count."""
        for node in self.readers.get(name, []):
            if name not in node.inputs:
                return self._inside(name, node)
            position = node.inputs.index(name)
            role = self._role(node, position)
            if role is Role.OTHER and position == 0 and node.op in MOVING:
                return self.of(node.outputs[0])
            return Use(role, name, node, position)
        return Use(Role.OTHER, name)

    def _inside(self, name: str, node: Node) -> Use:
        bodies = map(Uses, bodies_of(node).values())
        return next((body.of(name) for body in bodies if name in body.readers), Use(Role.OTHER, name))

    def _role(self, node: Node, position: int) -> Role:
        roles = _ROLES.get(node.op, ())
        if position < len(roles):
            return Role.WEIGHT_STEP if self._dynamic_weight(node) else roles[position]
        return self._quantized_role(node, position) if is_quantized(node) else Role.OTHER

    def _quantized_role(self, node: Node, position: int) -> Role:
        """Quantized operators list each tensor with its scale, then its zero point; some tensors come without them."""
        if self._is_scale(node, position):
            return Role.WEIGHT_STEP if self._is_payload(node, position - 1) else Role.STEP
        if position and self._is_scale(node, position - 1):
            return Role.ZERO_POINT
        return Role.MATRIX if position and node.op != "QuantizeLinear" else Role.OTHER

    def scaled_weight(self, use: Use) -> str:
        """The stored integers to which the tensor of a WEIGHT_STEP is the scale."""
        assert use.node is not None, "a scale has a reader"
        return self._dynamic_weight(use.node) or use.node.inputs[use.position - 1]

    def _dynamic_weight(self, node: Node) -> str:
        """The weight, where a Mul joins its scale with that of a dynamically quantized activation."""
        for name in node.inputs if node.op == "Mul" else ():
            source = self.producers.get(name)
            if source is not None and source.op == "DynamicQuantizeLinear":
                return next((r.inputs[1] for r in self.readers[source.outputs[0]] if r.op.endswith("Integer")), "")
        return ""

    def _is_scale(self, node: Node, position: int) -> bool:
        name = node.inputs[position]
        return name in self._static and is_float(self.graph.type_of(name).dtype)

    def _is_payload(self, node: Node, position: int) -> bool:
        """Whether the stored tensor at that position is not a zero point after another scale."""
        if position < 0 or not self.is_static(node.inputs[position]):
            return False
        return position == 0 or not self._is_scale(node, position - 1)


# -- weight or constant ------------------------------------------------------------------------------


def settle_weights(graph: Graph) -> Graph:
    """The graph with every constant that is a weight turned into one, in control-flow bodies too.

    Integers and booleans that shape the network stay constants, as do float numbers that decide the
    computation (bounds, exponents, divisors), quantized ones included. Scales, zero points and all other integers of
    8 bits and fewer are weights.
    """
    uses = Uses(graph)
    stay = tuple(c for c in graph.constants if _is_constant(c, uses))
    names = {c.name for c in stay}
    demoted = tuple(Tensor(c.name, c.dtype, c.shape) for c in graph.constants if c.name not in names)
    return replace(
        graph,
        weights=(*graph.weights, *demoted),
        constants=stay,
        nodes=tuple(with_bodies(n, lambda _, body: settle_weights(body)) for n in graph.nodes),
    )


_ALWAYS_WEIGHTS = {Role.MATRIX, Role.RECURRENT, Role.SLOPE, Role.TABLE, Role.WEIGHT_STEP}


def _is_constant(tensor: Constant, uses: Uses) -> bool:
    use = uses.of(tensor.name)
    if use.role is Role.STRUCTURE:
        return True
    if use.node is None:
        return False
    readers = uses.readers[tensor.name]
    is_stored_number = all(r.op == "DequantizeLinear" and r.inputs[0] == tensor.name for r in readers)
    if any(map(is_quantized, readers)) and not is_stored_number:
        return False
    if not is_float(tensor.dtype) and not is_stored_number:
        return use.role is not Role.MATRIX and tensor.dtype in ("bool", "int16", "int32", "int64", "uint32", "uint64")
    if use.role in _ALWAYS_WEIGHTS:
        return False
    # A single number that is not a layer's parameter is part of the formula: an epsilon, a divisor.
    return tensor.numel == 1 and (len(tensor.shape) == 0 or use.node.op in ("Add", "Sub", "Mul", "Div", "Max", "Min"))


def fan_in(node: Node, tensor: str, shape: tuple[int, ...]) -> int:
    """How many products with elements of the tensor [shape] one output of the node sums up."""
    if "ConvTranspose" in node.op:
        spread: int = node.attribute("group", 1) * math.prod(node.attribute("strides", (1,)))
        return max(1, shape[0] * math.prod(shape[2:]) // spread)
    if "Conv" in node.op:
        return math.prod(shape[1:])
    if "Einsum" in node.op or len(shape) < 2:
        return max(shape, default=1)  # at most that for one contracted axis
    first = tensor == node.inputs[0]
    transposed = bool(node.attribute("transA" if first else "transB", 0))
    return shape[-1] if first != transposed else shape[-2]
