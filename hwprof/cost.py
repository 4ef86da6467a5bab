"""Counts the work of a graph: multiply-adds, other scalar operations, parameters and bytes moved, per operator.

The conventions for all of hwprof:

- `macs`: a fused multiply-add of a matrix-like operator (convolution, matrix product, recurrence) counts
  once. Padding counts like data; the bias is not included.
- `element_ops`: every other scalar operation counts once, and so does a function of one element (exp, erf,
  gelu, a cast). A bias is one addition per output element. Copies count as zero.
- `parameters`: elements of the weight tensors, as stored: a batch normalization has four per channel.
- bytes moved: each operator, taken alone, reads its inputs and weights once and writes its outputs once. An operator
  that selects (Gather, Slice) reads only the selected elements; a view (Reshape, Identity) moves nothing.

Every node counts, including dead branches, since eager runtimes execute them. For a runtime that does not, count
`graph.live()`. Control flow (If, Loop, Scan) has no rule, because its work depends on the data.

A new operator is one line of `RULES`, and one function where no existing one fits.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from hwprof.errors import InputError, UnknownOperatorError
from hwprof.graph import Graph, Node, Tensor


@dataclass(frozen=True, slots=True)
class OperatorCost:
    """The work of one node. `parameters` counts the weights that it reads, including shared ones; scales and zero
    points of quantized tensors are not parameters."""

    macs: int
    element_ops: int
    parameters: int
    read_bytes: int
    written_bytes: int

    @property
    def moved_bytes(self) -> int:
        return self.read_bytes + self.written_bytes


class GraphCost(OperatorCost):
    """The work of a whole graph: the sum over its nodes, except that `parameters` counts each weight tensor once."""

    __slots__ = ()


def of(graph: Graph) -> GraphCost:
    """The cost of the graph. Raises UnknownOperatorError for an operator without a rule, InputError for an unknown
    shape."""
    counts = [_count(graph, node) for node in graph.nodes]
    macs, element_ops, read_bytes, written_bytes = (sum(column) for column in zip((0, 0, 0, 0), *counts, strict=True))
    return GraphCost(macs, element_ops, sum(_parameters(graph, graph.nodes).values()), read_bytes, written_bytes)


def of_nodes(graph: Graph) -> list[OperatorCost]:
    """The cost of each node, in the order of `graph.nodes`. Raises as `of` does."""
    weights = _parameters(graph, graph.nodes)
    return [_cost(graph, node, weights) for node in graph.nodes]


def of_node(graph: Graph, node: Node) -> OperatorCost:
    """The cost of one node of the graph. Raises as `of` does."""
    return _cost(graph, node, _parameters(graph, [node]))


def unknown_operators(graph: Graph) -> tuple[str, ...]:
    """Sorted names of the graph's operators that have no rule."""
    return tuple(sorted({_key(node) for node in graph.nodes} - RULES.keys()))


def _parameters(graph: Graph, nodes: Sequence[Node]) -> dict[str, int]:
    """How many parameters each weight of the graph has that these nodes do not read as a scale or a zero point."""
    grids = {name for node in nodes if node.op in ("QuantizeLinear", "DequantizeLinear") for name in node.inputs[1:]}
    return {w.name: w.numel for w in graph.weights if w.name not in grids}


def _cost(graph: Graph, node: Node, weights: Mapping[str, int]) -> OperatorCost:
    macs, element_ops, read_bytes, written_bytes = _count(graph, node)
    parameters = sum(weights.get(name, 0) for name in set(node.inputs))
    return OperatorCost(macs, element_ops, parameters, read_bytes, written_bytes)


def _count(graph: Graph, node: Node) -> tuple[int, int, int, int]:
    """MACs, element operations, bytes read and bytes written."""
    rule = RULES.get(_key(node))
    if rule is None:
        raise UnknownOperatorError(
            f"the cost of {_title(node)} is unknown: there is no rule for it in hwprof.cost.RULES"
        )
    operator = _Operator(graph, node)
    return *rule.work(operator), *rule.traffic(operator)


def _key(node: Node) -> str:
    """The operator's name in `RULES`, with its domain unless that is ONNX's own, without the overload if it is
    PyTorch's."""
    if node.domain in ("", "ai.onnx"):
        return node.op
    op = node.op.partition(".")[0].removesuffix("_") if node.domain == "aten" else node.op
    return f"{node.domain}.{op}"


def _title(node: Node) -> str:
    return f"operator {_key(node)} {node.name!r}" if node.name else f"operator {_key(node)}"


@dataclass(slots=True)
class _Operator:
    """A node in its graph. Types are looked up when a rule asks for them: one that no rule needs may be unknown."""

    graph: Graph
    node: Node

    def has_input(self, index: int) -> bool:
        return index < len(self.node.inputs) and self.node.inputs[index] != ""

    def input(self, index: int = 0) -> Tensor:
        """Raises InputError when the input is omitted."""
        if not self.has_input(index):
            raise InputError(f"{_title(self.node)} needs input {index}, which the graph omits")
        return self.graph.type_of(self.node.inputs[index])

    def output(self) -> Tensor:
        """The first output that is not omitted. Raises InputError when all are."""
        for name in self.node.outputs:
            if name:
                return self.graph.type_of(name)
        raise InputError(f"{_title(self.node)} does not have an output")

    def bytes_of(self, names: Sequence[str]) -> int:
        return sum(self.graph.type_of(name).size_bytes for name in names if name)


_Work: TypeAlias = Callable[[_Operator], tuple[int, int]]  # returns MACs, element operations
_Traffic: TypeAlias = Callable[[_Operator], tuple[int, int]]  # returns bytes read, bytes written


# -- traffic -----------------------------------------------------------------------------------------


def _everything(op: _Operator) -> tuple[int, int]:
    """All inputs are read and all outputs written."""
    return op.bytes_of(op.node.inputs), op.bytes_of(op.node.outputs)


def _nothing(_op: _Operator) -> tuple[int, int]:
    """Nothing moves: it is a view of its input, or a value that the model file already holds."""
    return 0, 0


def _selection(op: _Operator) -> tuple[int, int]:
    """The data (input 0) is read as far as it is written; indices and limits are read completely."""
    written = op.bytes_of(op.node.outputs)
    return written + op.bytes_of(op.node.inputs[1:]), written


def _metadata(op: _Operator) -> tuple[int, int]:
    """Only the input's shape is read, not its elements."""
    return 0, op.bytes_of(op.node.outputs)


# -- work: element-wise, reductions, copies ----------------------------------------------------------

_SOFTMAX = 5  # per element: maximum, subtract, exponential, sum, divide
_LAYER_NORM = 7  # per element: sum, centre, square, sum, divide by the deviation, scale, shift


def _copy(_op: _Operator) -> tuple[int, int]:
    return 0, 0


def _per_output(count: int) -> _Work:
    """`count` operations per element of the output."""
    return lambda op: (0, count * op.output().numel)


def _per_input(count: int) -> _Work:
    """`count` operations per element of the first input, as reductions and normalizations do."""
    return lambda op: (0, count * op.input().numel)


def _variadic(last: int = 0) -> _Work:
    """For n tensors: n - 1 operations per output element, plus `last` (the division of a mean)."""
    return lambda op: (0, (len(op.node.inputs) - 1 + last) * op.output().numel)


def _pool(op: _Operator) -> tuple[int, int]:
    """One addition or comparison per element of each window."""
    return 0, op.output().numel * math.prod(op.node.attribute("kernel_shape"))


def _local_response_normalization(op: _Operator) -> tuple[int, int]:
    """Per element: a square, size - 1 additions, multiply, add, power, divide."""
    return 0, (op.node.attribute("size") + 4) * op.input().numel


def _top_k(op: _Operator) -> tuple[int, int]:
    """Each element passes a heap of k: about log2 k comparisons, at least one."""
    k = op.output().shape[op.node.attribute("axis", -1)]
    return 0, op.input().numel * max(1, (k - 1).bit_length())


_TAPS = {"linear": 2, "cubic": 4}  # elements read per output element and resized axis


def _resize(op: _Operator) -> tuple[int, int]:
    mode = op.node.attribute("mode", "nearest")
    if mode == "nearest":
        return _copy(op)
    axes = sum(a != b for a, b in zip(op.input().shape, op.output().shape, strict=True))
    return 0, op.output().numel * _TAPS[mode] ** axes


# -- work: matrix-like -------------------------------------------------------------------------------


def _additions(op: _Operator, bias: int | None, requantize: bool) -> int:
    """Per output element one for the bias, where input `bias` exists, and one for requantizing to int8."""
    return op.output().numel * ((bias is not None and op.has_input(bias)) + requantize)


def _conv(weight: int = 1, bias: int | None = None, requantize: bool = False) -> _Work:
    """Each output element uses one filter; the weight is [out, in / groups, *kernel]."""

    def work(op: _Operator) -> tuple[int, int]:
        macs = op.output().numel * math.prod(op.input(weight).shape[1:])
        return macs, _additions(op, bias, requantize)

    return work


def _conv_transpose(op: _Operator) -> tuple[int, int]:
    """Each input element uses one filter; the weight is [in, out / groups, *kernel]."""
    macs = op.input(0).numel * math.prod(op.input(1).shape[1:])
    return macs, _additions(op, bias=2, requantize=False)


def _product(bias: int | None = None, requantize: bool = False) -> _Work:
    """Matrices A [.., n, depth] and B. alpha and beta are assumed to be folded into the weights, as in runtimes."""

    def work(op: _Operator) -> tuple[int, int]:
        depth = op.input().shape[-2 if op.node.attribute("transA", 0) else -1]
        return op.output().numel * depth, _additions(op, bias, requantize)

    return work


def _einsum(op: _Operator) -> tuple[int, int]:
    """One multiply-add per output element and step of the summed labels; only additions for one operand.

    Raises for three and more operands, whose work depends on the runtime's order of contraction.
    """
    if len(op.node.inputs) > 2:
        raise UnknownOperatorError(f"the cost of {_title(op.node)} of {len(op.node.inputs)} operands is unknown")
    terms, arrow, result = op.node.attribute("equation").replace(" ", "").partition("->")
    sizes: dict[str, int] = {}
    for i, term in enumerate(terms.split(",")):
        sizes |= _label_sizes(term, op.input(i).shape)
    if not arrow:  # then the result has the labels that occur once
        result = "".join(label for label in sizes if terms.count(label) == 1)
    depth = math.prod(size for label, size in sizes.items() if label not in result)
    work = op.output().numel * depth
    return (work, 0) if len(op.node.inputs) == 2 and depth > 1 else (0, work)


def _label_sizes(term: str, shape: tuple[int, ...]) -> dict[str, int]:
    """The length of each axis that an Einsum term names; those after an ellipsis count from the end."""
    before, _, after = term.partition("...")
    return dict(zip(before, shape, strict=False)) | dict(zip(reversed(after), reversed(shape), strict=False))


def _recurrence(bias_additions: int, per_unit: int) -> _Work:
    """LSTM, GRU, RNN: X [time, batch, in], W [directions, gates * hidden, in], R [directions, gates * hidden, hidden].

    `bias_additions` and `per_unit` are element operations per hidden unit and step; the two biases are added up
    beforehand. Every sequence counts with its full length.
    """

    def work(op: _Operator) -> tuple[int, int]:
        steps = math.prod(op.input(0).shape[:2])
        directions, *matrix = op.input(2).shape
        hidden = min(matrix)  # ONNX Runtime's quantized LSTM keeps R transposed
        additions = bias_additions if op.has_input(3) else 0
        macs = steps * (op.input(1).numel + op.input(2).numel)
        return macs, steps * directions * hidden * (per_unit + additions)

    return work


def _attention(op: _Operator) -> tuple[int, int]:
    """Q times K and scores times V of every head; the scores are scaled, masked where input 3 exists, softmaxed.

    Q [batch, heads, queries, depth] or [batch, queries, heads * depth], K and V alike; input 4 is the past K.
    """
    query, key, value = op.input(0).shape, op.input(1).shape, op.input(2).shape
    heads = query[1] if len(query) == 4 else op.node.attribute("q_num_heads")
    key_heads = key[1] if len(key) == 4 else op.node.attribute("kv_num_heads")
    depth = query[-1] if len(query) == 4 else query[-1] // heads
    value_depth = value[-1] if len(value) == 4 else value[-1] // key_heads
    keys = key[-2] + (op.input(4).shape[-2] if op.has_input(4) else 0)
    scores = query[0] * heads * query[-2] * keys
    return scores * (depth + value_depth), scores * (1 + op.has_input(3) + _SOFTMAX)


def _traced_pool(op: _Operator) -> tuple[int, int]:
    """PyTorch's pooling, whose second argument is the window: a number per side, or one for all sides."""
    window = op.node.attribute("arg1")
    sides = window if isinstance(window, tuple) else (window,)
    repeated = sides if len(sides) > 1 else sides * int(op.node.op.partition("d.")[0][-1])
    return 0, op.output().numel * math.prod(repeated)


def _traced_recurrence(per_unit: int) -> _Work:
    """PyTorch's lstm and gru: inputs are x [time, batch, in] (or batch first), initial states, then the weights."""

    def work(op: _Operator) -> tuple[int, int]:
        weights = [t for name in op.node.inputs[1:] if len((t := op.graph.type_of(name)).shape) == 2]
        steps = math.prod(op.input(0).shape[:-1])
        return steps * sum(w.numel for w in weights), steps * per_unit * sum(w.shape[1] for w in weights[1::2])

    return work


def _product_and_addition(op: _Operator) -> tuple[int, int]:
    """PyTorch's addmm and baddbmm, in which the summand comes before the factors."""
    return op.output().numel * op.input(1).shape[-1], op.output().numel


# -- the table ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Rule:
    """How the cost of an operator is counted."""

    work: _Work
    traffic: _Traffic = _everything


_ELEMENT_WISE = Rule(_per_output(1))
_REDUCTION = Rule(_per_input(1))
_TWO_STEP_REDUCTION = Rule(_per_input(2))  # a square or an exponential, then the sum
_COPY = Rule(_copy)
_SELECTION = Rule(_copy, _selection)
_VIEW = Rule(_copy, _nothing)
_METADATA = Rule(_copy, _metadata)
_POOL = Rule(_pool)

RULES: dict[str, Rule] = {
    # matrix-like
    "Conv": Rule(_conv(bias=2)),
    "ConvInteger": Rule(_conv()),
    "QLinearConv": Rule(_conv(weight=3, bias=8, requantize=True)),
    "ConvTranspose": Rule(_conv_transpose),
    "Gemm": Rule(_product(bias=2)),
    "MatMul": Rule(_product()),
    "MatMulInteger": Rule(_product()),
    "QLinearMatMul": Rule(_product(requantize=True)),
    "Einsum": Rule(_einsum),
    "LSTM": Rule(_recurrence(bias_additions=4, per_unit=9)),  # 3 sigmoids, 2 tanh, f*c + i*g, o*tanh(c)
    "GRU": Rule(_recurrence(bias_additions=3, per_unit=8)),  # 2 sigmoids, tanh, r*h, (1-z)*n + z*h
    "RNN": Rule(_recurrence(bias_additions=1, per_unit=1)),
    "Attention": Rule(_attention),
    # normalization, softmax, pooling
    "BatchNormalization": Rule(_per_input(2)),  # scale, shift: the statistics are folded into them
    "InstanceNormalization": Rule(_per_input(_LAYER_NORM)),
    "GroupNormalization": Rule(_per_input(_LAYER_NORM)),
    "LayerNormalization": Rule(_per_input(_LAYER_NORM)),
    "RMSNormalization": Rule(_per_input(4)),  # square, sum, divide, scale
    "MeanVarianceNormalization": Rule(_per_input(5)),  # a layer normalization without scale and shift
    "LpNormalization": Rule(_per_input(3)),  # power, sum, divide
    "LRN": Rule(_local_response_normalization),
    "Softmax": Rule(_per_input(_SOFTMAX)),
    "LogSoftmax": Rule(_per_input(_SOFTMAX)),
    "Hardmax": Rule(_per_input(2)),
    "MaxPool": _POOL,
    "AveragePool": _POOL,
    "GlobalAveragePool": _REDUCTION,
    "GlobalMaxPool": _REDUCTION,
    "GlobalLpPool": _TWO_STEP_REDUCTION,
    # reductions and searches
    **dict.fromkeys(
        ("ReduceMax", "ReduceMean", "ReduceMin", "ReduceProd", "ReduceSum", "ReduceL1", "ReduceLogSum",
         "ArgMax", "ArgMin", "CumSum"),
        _REDUCTION,
    ),
    **dict.fromkeys(("ReduceL2", "ReduceSumSquare", "ReduceLogSumExp"), _TWO_STEP_REDUCTION),
    "TopK": Rule(_top_k),
    # element-wise
    **dict.fromkeys(
        ("Abs", "Acos", "Acosh", "Add", "And", "Asin", "Asinh", "Atan", "Atanh", "BitShift", "BitwiseAnd",
         "BitwiseNot", "BitwiseOr", "BitwiseXor", "Cast", "CastLike", "Ceil", "Celu", "Clip", "Cos", "Cosh", "Div",
         "Elu", "Equal", "Erf", "Exp", "Floor", "Gelu", "Greater", "GreaterOrEqual", "HardSigmoid", "HardSwish",
         "IsInf", "IsNaN", "LeakyRelu", "Less", "LessOrEqual", "Log", "Mish", "Mod", "Mul", "Neg", "Not", "Or",
         "PRelu", "Pow", "Reciprocal", "Relu", "Round", "Selu", "Shrink", "Sigmoid", "Sign", "Sin", "Sinh",
         "Softplus", "Softsign", "Sqrt", "Sub", "Swish", "Tan", "Tanh", "ThresholdedRelu", "Where", "Xor",
         "QuantizeLinear", "DequantizeLinear"),
        _ELEMENT_WISE,
    ),
    **dict.fromkeys(("Max", "Min", "Sum"), Rule(_variadic())),
    "Mean": Rule(_variadic(last=1)),
    "DynamicQuantizeLinear": Rule(_per_input(3)),  # minimum, maximum, quantize
    "RotaryEmbedding": Rule(_per_input(3)),  # two multiplications, one addition
    # copies
    **dict.fromkeys(
        ("Concat", "ConstantOfShape", "DepthToSpace", "Expand", "EyeLike", "OneHot", "Pad", "Range",
         "ReverseSequence", "ScatterElements", "ScatterND", "SpaceToDepth", "Split", "Tile", "Transpose", "Trilu"),
        _COPY,
    ),
    **dict.fromkeys(("Gather", "GatherElements", "GatherND", "Slice"), _SELECTION),
    "Resize": Rule(_resize),
    "Upsample": Rule(_resize),
    # views; a Constant is in the model file, and Dropout does nothing in inference
    **dict.fromkeys(("Constant", "Dropout", "Flatten", "Identity", "Reshape", "Squeeze", "Unsqueeze"), _VIEW),
    **dict.fromkeys(("Shape", "Size"), _METADATA),
    # written by ONNX Runtime's optimizer and quantizer
    "com.microsoft.FusedMatMul": Rule(_product()),
    "com.microsoft.DynamicQuantizeMatMul": Rule(_product(bias=4)),
    "com.microsoft.MatMulIntegerToFloat": Rule(_product(bias=6)),
    "com.microsoft.QGemm": Rule(_product(bias=6, requantize=True)),
    "com.microsoft.DynamicQuantizeLSTM": Rule(_recurrence(bias_additions=4, per_unit=9)),
    "com.microsoft.SkipLayerNormalization": Rule(_per_input(_LAYER_NORM + 1)),  # the residual addition
    "com.microsoft.BiasGelu": Rule(_per_output(2)),
    "com.microsoft.QLinearSoftmax": Rule(_per_input(_SOFTMAX)),
    "com.microsoft.QLinearGlobalAveragePool": _REDUCTION,
    "com.microsoft.QLinearAveragePool": _POOL,
    "com.microsoft.QLinearConcat": _COPY,
    **dict.fromkeys(
        (f"com.microsoft.{name}" for name in (
            "DequantizeLinear", "FastGelu", "Gelu", "QLinearAdd", "QLinearLeakyRelu", "QLinearMul",
            "QLinearSigmoid", "QuantizeLinear", "QuickGelu")),
        _ELEMENT_WISE,
    ),
    # PyTorch's own, in programs that torch.export traced; an in-place operator costs as much as the other one
    **dict.fromkeys(("aten.conv1d", "aten.conv2d", "aten.conv3d"), Rule(_conv(bias=2))),
    **dict.fromkeys(("aten.conv_transpose1d", "aten.conv_transpose2d"), Rule(_conv_transpose)),
    "aten.linear": Rule(_product(bias=2)),
    **dict.fromkeys(("aten.matmul", "aten.mm", "aten.bmm"), Rule(_product())),
    **dict.fromkeys(("aten.addmm", "aten.baddbmm"), Rule(_product_and_addition)),
    "aten.lstm": Rule(_traced_recurrence(13)),
    "aten.gru": Rule(_traced_recurrence(11)),
    "aten.scaled_dot_product_attention": Rule(_attention),
    "aten.batch_norm": Rule(_per_input(2)),
    **dict.fromkeys(
        ("aten.layer_norm", "aten.group_norm", "aten.instance_norm"), Rule(_per_input(_LAYER_NORM))
    ),
    "aten.rms_norm": Rule(_per_input(4)),
    **dict.fromkeys(("aten.softmax", "aten.log_softmax"), Rule(_per_input(_SOFTMAX))),
    **dict.fromkeys((f"aten.{kind}_pool{n}d" for kind in ("max", "avg") for n in (1, 2, 3)), Rule(_traced_pool)),
    **dict.fromkeys(
        (f"aten.{name}" for name in (
            "adaptive_avg_pool1d", "adaptive_avg_pool2d", "adaptive_max_pool2d", "all", "amax", "amin", "any", "argmax",
            "argmin", "cumsum", "max", "mean", "min", "sum")),
        _REDUCTION,
    ),
    **dict.fromkeys(
        (f"aten.{name}" for name in (
            "_to_copy", "abs", "add", "bitwise_not", "celu", "clamp", "clamp_max", "clamp_min", "cos", "div", "elu",
            "eq", "erf", "exp", "floor", "floor_divide", "ge", "gelu", "gt", "hardsigmoid", "hardswish", "hardtanh",
            "le", "leaky_relu", "log", "logical_and", "logical_not", "logical_or", "lt", "masked_fill", "maximum",
            "minimum", "mish", "mul", "ne", "neg", "pow", "prelu", "reciprocal", "relu", "relu6", "remainder", "round",
            "rsqrt", "rsub", "selu", "sigmoid", "sign", "silu", "sin", "softplus", "sqrt", "sub", "tan", "tanh", "to",
            "type_as", "where")),
        _ELEMENT_WISE,
    ),
    **dict.fromkeys(
        (f"aten.{name}" for name in (
            "arange", "cat", "channel_shuffle", "clone", "constant_pad_nd", "contiguous", "full", "full_like",
            "lift_fresh_copy", "ones", "ones_like", "pad", "pixel_shuffle", "repeat", "roll", "scalar_tensor", "stack",
            "tril", "triu", "upsample_nearest2d", "zeros", "zeros_like")),
        _COPY,
    ),
    **dict.fromkeys(("aten.embedding", "aten.gather", "aten.index", "aten.index_select"), _SELECTION),
    **dict.fromkeys(
        (f"aten.{name}" for name in (
            "alias", "chunk", "detach", "dropout", "expand", "expand_as", "flatten", "getitem", "movedim", "narrow",
            "permute", "reshape", "select", "slice", "split", "split_with_sizes", "squeeze", "t", "transpose", "unbind",
            "unflatten", "unsqueeze", "view")),
        _VIEW,
    ),
}  # fmt: skip
