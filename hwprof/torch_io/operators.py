"""The table of operators: the PyTorch call that each ONNX operator becomes. An operator without a rule is an error."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, fx
from torch.nn import functional

from hwprof.errors import UnknownOperatorError
from hwprof.graph import Constant, Graph, Node
from hwprof.torch_io import functions

# onnx.TensorProto.DataType
TYPE_CODES = {
    1: "float32", 2: "uint8", 3: "int8", 5: "int16", 6: "int32", 7: "int64", 9: "bool", 10: "float16", 11: "float64",
    16: "bfloat16",
}  # fmt: skip
TORCH_TYPES = {name: getattr(torch, name) for name in TYPE_CODES.values()} | {"int4": torch.int8, "uint4": torch.uint8}
INTEGER_RANGES = {"int8": (-128, 127), "uint8": (0, 255), "int4": (-8, 7), "uint4": (0, 15)}

Value = Tensor | fx.Node


class TorchCall(NamedTuple):
    """A function with its arguments: tensors (or the nodes that stand for them) and plain values."""

    function: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any] = {}


@dataclass(frozen=True, slots=True)
class Call:
    """One operator of a graph, its inputs, and the type of floats in the module that it becomes a part of.

    `values` are the inputs, None where one is left out. `floats` replaces float32.
    """

    node: Node
    graph: Graph
    values: Sequence[Value | None]
    floats: torch.dtype

    @property
    def tensors(self) -> tuple[Value, ...]:
        """The inputs that are given."""
        return tuple(v for v in self.values if v is not None)

    def tensor(self, place: int) -> Value:
        value = self.optional(place)
        if value is None:
            raise self.error(f"needs its input {place}")
        return value

    def optional(self, place: int) -> Value | None:
        return self.values[place] if place < len(self.values) else None

    def scalar(self, place: int) -> Value | float | None:
        """A number where the input is a constant of rank 0, else the tensor, or None."""
        name = self.node.inputs[place] if place < len(self.node.inputs) else ""
        constant = self.graph.type_of(name) if self.graph.has_type(name) else None
        if isinstance(constant, Constant) and constant.shape == ():
            return constant.values[0]
        return self.optional(place)

    def shape(self, place: int = 0) -> tuple[int, ...]:
        return self.graph.shape(self.node.inputs[place])

    def rank(self, place: int = 0) -> int:
        return len(self.shape(place))

    @property
    def opset(self) -> int:
        return dict(self.graph.opsets).get("", 1)

    def attribute(self, name: str, default: Any = None) -> Any:
        return self.node.attribute(name, default)

    def numbers(self, attribute: str, place: int | None = None) -> tuple[Any, ...] | None:
        """The values of an attribute or, in newer operator sets, of the constant input at the place; None without."""
        value = self.attribute(attribute)
        if value is not None:
            return tuple(value)
        if place is None or place >= len(self.node.inputs) or not self.node.inputs[place]:
            return None
        constant = self.graph.type_of(self.node.inputs[place])
        if not isinstance(constant, Constant):
            raise self.error(f"needs {attribute} that are known ahead, not computed")
        return constant.values

    def dtype(self, code: int) -> torch.dtype:
        """PyTorch's type for ONNX's code. Raises UnknownOperatorError."""
        if code not in TYPE_CODES:
            raise self.error(f"with element type {code} has no counterpart in PyTorch")
        return self.floats if code == 1 else TORCH_TYPES[TYPE_CODES[code]]

    def error(self, reason: str) -> UnknownOperatorError:
        return UnknownOperatorError(f"operator {title(self.node)} {reason}")


Rule = Callable[[Call], TorchCall]


def title(node: Node) -> str:
    """The operator's type and label, for messages."""
    domain = f"{node.domain}." if node.domain else ""
    return f"{domain}{node.op} {node.label!r}"


def translate(call: Call, rules: Mapping[str, Rule]) -> TorchCall:
    """Raises UnknownOperatorError, naming the operator, where the table has no rule for it or for this form of it."""
    rule = rules.get(call.node.op) if call.node.domain in ("", "ai.onnx") else None
    if rule is None:
        raise call.error("has no counterpart in PyTorch here (hwprof.torch_io.operators.RULES)")
    return rule(call)


# -- elementwise -------------------------------------------------------------------------------------


def _plain(function: Callable[..., Any], **attributes: float) -> Rule:
    """All inputs in their order; attributes with their defaults, in the order in which the function wants them."""

    def rule(call: Call) -> TorchCall:
        return TorchCall(function, (*call.tensors, *(call.attribute(k, v) for k, v in attributes.items())))

    return rule


def _binary(function: Callable[..., Any]) -> Rule:
    """Constants of rank 0 go in as numbers, as they would in a module written by hand."""

    def rule(call: Call) -> TorchCall:
        left, right = call.scalar(0), call.scalar(1)
        if not isinstance(left, Tensor | fx.Node) and not isinstance(right, Tensor | fx.Node):
            left = call.tensor(0)
        return TorchCall(function, (left, right))

    return rule


def _clip(call: Call) -> TorchCall:
    low, high = call.attribute("min", call.scalar(1)), call.attribute("max", call.scalar(2))
    return TorchCall(functions.clip, (call.tensor(0), low, high))


def _gelu(call: Call) -> TorchCall:
    return TorchCall(functional.gelu, (call.tensor(0),), {"approximate": call.attribute("approximate", "none")})


def _cast(call: Call) -> TorchCall:
    return TorchCall(Tensor.to, (call.tensor(0), call.dtype(call.attribute("to"))))


def _division(call: Call) -> TorchCall:
    kind = call.graph.type_of(call.node.inputs[0]).dtype
    mode = {} if kind.startswith(("float", "bfloat")) else {"rounding_mode": "trunc"}
    function, args, _ = _binary(torch.div)(call)
    return TorchCall(function, args, mode)


def _remainder(call: Call) -> TorchCall:
    """With the sign of the divisor, or with `fmod` that of the dividend."""
    return _binary(torch.fmod if call.attribute("fmod", 0) else torch.remainder)(call)


# -- windows -----------------------------------------------------------------------------------------


def _window(call: Call, kernel: Sequence[int]) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
    """Strides, pads and dilations along the axes of space."""
    rank = len(kernel)
    strides = tuple(call.attribute("strides", (1,) * rank))
    dilations = tuple(call.attribute("dilations", (1,) * rank))
    auto = call.attribute("auto_pad", "NOTSET")
    if auto in ("NOTSET", ""):
        return strides, tuple(call.attribute("pads", (0,) * 2 * rank)), dilations
    if auto == "VALID":
        return strides, (0,) * 2 * rank, dilations
    starts, ends = [], []
    for size, k, stride, dilation in zip(call.shape()[2:], kernel, strides, dilations, strict=True):
        total = max(0, (-(-size // stride) - 1) * stride + dilation * (k - 1) + 1 - size)
        less, more = total // 2, total - total // 2
        starts.append(less if auto == "SAME_UPPER" else more)
        ends.append(more if auto == "SAME_UPPER" else less)
    return strides, (*starts, *ends), dilations


def _convolution(call: Call) -> TorchCall:
    strides, pads, dilations = _window(call, call.shape(1)[2:])
    args = call.tensor(0), call.tensor(1), call.optional(2), strides, pads, dilations, call.attribute("group", 1)
    return TorchCall(functions.convolution, args)


def _transposed_convolution(call: Call) -> TorchCall:
    strides, pads, dilations = _window(call, call.shape(1)[2:])
    if call.attribute("output_shape") or call.attribute("auto_pad", "NOTSET") != "NOTSET":
        raise call.error("with output_shape or auto_pad has no counterpart in PyTorch here")
    if not functions.is_symmetric(pads):
        raise call.error(f"with unequal pads {pads} has no counterpart in PyTorch")
    extra = tuple(call.attribute("output_padding", (0,) * len(strides)))
    tensors = call.tensor(0), call.tensor(1), call.optional(2)
    return TorchCall(
        functions.transposed_convolution, (*tensors, strides, pads, extra, dilations, call.attribute("group", 1))
    )


def _max_pool(call: Call) -> TorchCall:
    kernel = tuple(call.attribute("kernel_shape"))
    strides, pads, dilations = _window(call, kernel)
    if len(call.node.outputs) > 1 and call.node.outputs[1]:
        raise call.error("with indices has no counterpart in PyTorch here")
    ceil = bool(call.attribute("ceil_mode", 0))
    return TorchCall(functions.max_pool, (call.tensor(0), kernel, strides, pads, dilations, ceil))


def _average_pool(call: Call) -> TorchCall:
    kernel = tuple(call.attribute("kernel_shape"))
    strides, pads, dilations = _window(call, kernel)
    if any(d != 1 for d in dilations):
        raise call.error("with dilations has no counterpart in PyTorch")
    ceil, with_padding = bool(call.attribute("ceil_mode", 0)), bool(call.attribute("count_include_pad", 0))
    counted = None
    if not functions.pads_inside(pads, kernel) and not with_padding:
        ones = torch.ones(1, 1, *call.shape()[2:], dtype=call.floats)
        counted = functions.average_pool(ones, None, kernel, strides, pads, ceil, True)
    return TorchCall(functions.average_pool, (call.tensor(0), counted, kernel, strides, pads, ceil, with_padding))


def _resize(call: Call) -> TorchCall:
    """Enlarges images by whole factors, in the two ways that PyTorch supports."""
    mode = call.attribute("mode", "nearest")
    how = call.attribute("coordinate_transformation_mode", "half_pixel")
    old, new = call.shape()[2:], call.graph.shape(call.node.outputs[0])[2:]
    is_usual = all(n % o == 0 for n, o in zip(new, old, strict=True)) and not call.attribute("antialias", 0)
    floors = call.node.op == "Upsample" or (how, call.attribute("nearest_mode")) == ("asymmetric", "floor")
    if is_usual and mode == "nearest" and floors:
        return TorchCall(functional.interpolate, (call.tensor(0), new), {"mode": "nearest"})
    if is_usual and mode == "linear" and len(new) == 2 and how in ("half_pixel", "pytorch_half_pixel", "align_corners"):
        extra = {"mode": "bilinear", "align_corners": how == "align_corners"}
        return TorchCall(functional.interpolate, (call.tensor(0), new), extra)
    raise call.error(f"of mode {mode!r}, {how!r}, from {list(old)} to {list(new)} has no counterpart in PyTorch here")


# -- products ----------------------------------------------------------------------------------------


def _gemm(call: Call) -> TorchCall:
    alpha, beta = call.attribute("alpha", 1.0), call.attribute("beta", 1.0)
    left, right = bool(call.attribute("transA", 0)), bool(call.attribute("transB", 0))
    a, b, c = call.tensor(0), call.tensor(1), call.optional(2)
    if c is not None and call.rank(2) == 1 and right and not left and alpha == beta == 1:
        return TorchCall(functional.linear, (a, b, c))
    return TorchCall(functions.affine, (a, b, c, alpha, beta, left, right))


# -- normalization -----------------------------------------------------------------------------------


def _batch_norm(call: Call) -> TorchCall:
    x, scale, shift, mean, variance = (call.tensor(i) for i in range(5))
    epsilon = call.attribute("epsilon", 1e-5)
    return TorchCall(functional.batch_norm, (x, mean, variance, scale, shift, False, 0.0, epsilon))


def _layer_norm(call: Call) -> TorchCall:
    require_first_output(call)
    axis = call.attribute("axis", -1) % call.rank()
    epsilon = call.attribute("epsilon", 1e-5)
    return TorchCall(
        functional.layer_norm, (call.tensor(0), call.shape()[axis:], call.tensor(1), call.optional(2), epsilon)
    )


def _instance_norm(call: Call) -> TorchCall:
    x, scale, shift = (call.tensor(i) for i in range(3))
    extra = {"weight": scale, "bias": shift, "eps": call.attribute("epsilon", 1e-5)}
    return TorchCall(functional.instance_norm, (x,), extra)


def _softmax(call: Call, log: bool = False) -> TorchCall:
    axis = call.attribute("axis", -1 if call.opset >= 13 else 1)
    if call.opset < 13 and axis % call.rank() != call.rank() - 1:
        return TorchCall(functions.flat_softmax, (call.tensor(0), axis % call.rank(), log))
    return TorchCall(torch.log_softmax if log else torch.softmax, (call.tensor(0), axis))


def _local_response_norm(call: Call) -> TorchCall:
    alpha, beta = call.attribute("alpha", 1e-4), call.attribute("beta", 0.75)
    args = call.tensor(0), call.attribute("size"), alpha, beta, call.attribute("bias", 1.0)
    return TorchCall(functional.local_response_norm, args)


def _reduction(call: Call, how: str) -> TorchCall:
    axes = call.numbers("axes", 1)
    if not axes and call.attribute("noop_with_empty_axes", 0):
        return TorchCall(_same, (call.tensor(0),))
    return TorchCall(
        functions.reduced,
        (call.tensor(0), axes or tuple(range(call.rank())), bool(call.attribute("keepdims", 1)), how),
    )


def _arg_extreme(call: Call, function: Callable[..., Tensor]) -> TorchCall:
    if call.attribute("select_last_index", 0):
        raise call.error("with select_last_index has no counterpart in PyTorch")
    return TorchCall(function, (call.tensor(0), call.attribute("axis", 0), bool(call.attribute("keepdims", 1))))


# -- shapes ------------------------------------------------------------------------------------------


def _same(x: Any) -> Any:
    """x, untouched."""
    return x


def _dropout(call: Call) -> TorchCall:
    if call.scalar(2) not in (None, False):
        raise call.error("is in training mode; export the network in evaluation mode")
    return TorchCall(_same, (call.tensor(0),))


def _to_output_shape(function: Callable[..., Any]) -> Rule:
    """The rule of an operator whose second argument is the shape of its result."""

    def rule(call: Call) -> TorchCall:
        return TorchCall(function, (call.tensor(0), call.graph.shape(call.node.outputs[0])))

    return rule


def _transpose(call: Call) -> TorchCall:
    order = call.attribute("perm", tuple(reversed(range(call.rank()))))
    return TorchCall(torch.permute, (call.tensor(0), tuple(order)))


def _concat(call: Call) -> TorchCall:
    return TorchCall(torch.cat, (list(call.tensors), call.attribute("axis")))


def _split(call: Call) -> TorchCall:
    axis = call.attribute("axis", 0)
    sizes = [call.graph.shape(name)[axis] for name in call.node.outputs]
    return TorchCall(torch.split, (call.tensor(0), sizes, axis))


def _slice(call: Call) -> TorchCall:
    starts, stops = call.numbers("starts", 1), call.numbers("ends", 2)
    if starts is None or stops is None:
        raise call.error("needs starts and ends")
    axes = call.numbers("axes", 3) or tuple(range(len(starts)))
    steps = call.numbers("steps", 4) or (1,) * len(starts)
    return TorchCall(functions.sliced, (call.tensor(0), axes, starts, stops, steps))


def _squeeze(call: Call) -> TorchCall:
    return TorchCall(functions.squeezed, (call.tensor(0), call.numbers("axes", 1) or ()))


def _unsqueeze(call: Call) -> TorchCall:
    return TorchCall(functions.unsqueezed, (call.tensor(0), call.numbers("axes", 1) or ()))


def _gather(call: Call) -> TorchCall:
    axis, is_input = call.attribute("axis", 0) % call.rank(), call.node.inputs[1] in {t.name for t in call.graph.inputs}
    return TorchCall(functions.gathered, (call.tensor(0), call.tensor(1), axis, is_input))


def _gather_elements(call: Call) -> TorchCall:
    return TorchCall(functions.gathered_elements, (call.tensor(0), call.attribute("axis", 0), call.tensor(1)))


def _pad(call: Call) -> TorchCall:
    pads = call.numbers("pads", 1)
    mode = call.attribute("mode", "constant")
    if pads is None or mode != "constant" or len(pads) != 2 * call.rank() or len(call.node.inputs) > 3:
        raise call.error(f"of mode {mode!r} or with axes has no counterpart in PyTorch here")
    value = call.attribute("value", call.scalar(2))
    return TorchCall(functions.pad_space, (call.tensor(0), pads, 0.0 if value is None else value))


def _depth_to_space(call: Call) -> TorchCall:
    columns_first = call.attribute("mode", "DCR") == "CRD"
    return TorchCall(functions.depth_to_space, (call.tensor(0), call.attribute("blocksize"), columns_first))


def _tile(call: Call) -> TorchCall:
    repeats = call.numbers("repeats", 1)
    return TorchCall(torch.tile, (call.tensor(0), repeats))


# -- recurrence --------------------------------------------------------------------------------------


def _lstm(call: Call) -> TorchCall:
    """The weights are put into PyTorch's order of gates here, once."""
    require_usual_lstm(call)
    weight, recurrent, bias = call.tensor(1), call.tensor(2), call.optional(3)
    if not isinstance(weight, Tensor) or not isinstance(recurrent, Tensor) or isinstance(bias, fx.Node):
        raise call.error("needs weights that are stored")
    module = functions.Lstm(functions.lstm_weights(weight, recurrent, bias), call.attribute("hidden_size"))
    if call.optional(5) is None or call.optional(6) is None:
        return TorchCall(module, (call.tensor(0),))
    return TorchCall(module, (call.tensor(0), call.tensor(5), call.tensor(6)))


def require_usual_lstm(call: Call) -> None:
    """Raises UnknownOperatorError for a form that PyTorch's LSTM cannot take."""
    unusual = [call.attribute(name) for name in ("activations", "clip", "input_forget", "layout")]
    lengths = call.node.inputs[4] if len(call.node.inputs) > 4 else ""
    is_reverse = call.attribute("direction", "forward") == "reverse"
    if is_reverse or any(unusual) or lengths or call.optional(7) is not None:
        raise call.error("backwards only, with peepholes, lengths or activations of its own has no counterpart here")


# -- quantization ------------------------------------------------------------------------------------


def _quantize(call: Call) -> TorchCall:
    low, high = integer_range(call, call.node.outputs[0])
    kind = call.graph.type_of(call.node.outputs[0]).dtype
    args = call.tensor(0), call.tensor(1), call.optional(2), call.attribute("axis", 1)
    return TorchCall(functions.quantize, (*args, low, high, TORCH_TYPES[kind]))


def integer_range(call: Call, name: str) -> tuple[int, int]:
    """The least and the largest value of a quantized tensor. Raises UnknownOperatorError for other types, in blocks."""
    kind = call.graph.type_of(name).dtype
    if kind not in INTEGER_RANGES or call.attribute("block_size", 0):
        raise call.error(f"to {kind} or in blocks has no counterpart in PyTorch here")
    return INTEGER_RANGES[kind]


def _dequantize(call: Call) -> TorchCall:
    if call.attribute("block_size", 0):
        raise call.error("in blocks has no counterpart in PyTorch here")
    return TorchCall(
        functions.dequantize, (*(call.tensor(i) for i in range(2)), call.optional(2), call.attribute("axis", 1))
    )


def require_first_output(call: Call) -> None:
    """Raises UnknownOperatorError where one of the operator's optional further outputs is read."""
    further = set(call.node.outputs[1:]) - {""}
    if further and not further.isdisjoint((*call.graph.consumers(), *call.graph.outputs)):
        raise call.error("with more than one output has no counterpart in PyTorch here")


def _first_of(rule: Rule) -> Rule:
    """The rule, with an error where an optional further output is read."""

    def checked(call: Call) -> TorchCall:
        require_first_output(call)
        return rule(call)

    return checked


_REDUCTIONS = {
    "ReduceSum": "sum", "ReduceMean": "mean", "ReduceMax": "max", "ReduceMin": "min", "ReduceL1": "l1",
    "ReduceL2": "l2", "ReduceSumSquare": "square",
}  # fmt: skip
UNARY: Mapping[str, Callable[..., Any]] = {
    "Abs": torch.abs, "Ceil": torch.ceil, "Cos": torch.cos, "Erf": torch.erf, "Exp": torch.exp, "Floor": torch.floor,
    "HardSwish": functional.hardswish, "Identity": _same, "IsNaN": torch.isnan, "Log": torch.log,
    "Mish": functional.mish, "Neg": torch.neg, "Not": torch.logical_not, "Reciprocal": torch.reciprocal,
    "Relu": torch.relu, "Round": torch.round, "Sigmoid": torch.sigmoid, "Sign": torch.sign, "Sin": torch.sin,
    "Softplus": functional.softplus, "Softsign": functional.softsign, "Sqrt": torch.sqrt, "Swish": functional.silu,
    "Tan": torch.tan, "Tanh": torch.tanh,
}  # fmt: skip
_BINARY: dict[str, Callable[..., Any]] = {
    "Add": operator.add, "And": torch.logical_and, "Equal": torch.eq, "Greater": torch.gt,
    "GreaterOrEqual": torch.ge, "Less": torch.lt, "LessOrEqual": torch.le, "Mul": operator.mul, "Or": torch.logical_or,
    "Pow": torch.pow, "Sub": operator.sub, "Xor": torch.logical_xor,
}  # fmt: skip

RULES: Mapping[str, Rule] = {
    **{op: _plain(function) for op, function in UNARY.items()},
    **{op: _binary(function) for op, function in _BINARY.items()},
    **{op: partial(_reduction, how=how) for op, how in _REDUCTIONS.items()},
    "ArgMax": partial(_arg_extreme, function=torch.argmax),
    "ArgMin": partial(_arg_extreme, function=torch.argmin),
    "AveragePool": _average_pool,
    "BatchNormalization": _first_of(_batch_norm),
    "Cast": _cast,
    "Celu": _plain(functional.celu, alpha=1.0),
    "Clip": _clip,
    "Concat": _concat,
    "Conv": _convolution,
    "ConvTranspose": _transposed_convolution,
    "DepthToSpace": _depth_to_space,
    "DequantizeLinear": _dequantize,
    "Div": _division,
    "Dropout": _first_of(_dropout),
    "Elu": _plain(functional.elu, alpha=1.0),
    "Expand": _to_output_shape(torch.broadcast_to),
    "Flatten": _to_output_shape(torch.reshape),
    "Gather": _gather,
    "GatherElements": _gather_elements,
    "Gelu": _gelu,
    "Gemm": _gemm,
    "GlobalAveragePool": _plain(functions.global_average_pool),
    "GlobalMaxPool": _plain(functions.global_max_pool),
    "HardSigmoid": _plain(functions.hard_sigmoid, alpha=0.2, beta=0.5),
    "InstanceNormalization": _instance_norm,
    "LRN": _local_response_norm,
    "LSTM": _lstm,
    "LayerNormalization": _layer_norm,
    "LeakyRelu": _plain(functional.leaky_relu, alpha=0.01),
    "LogSoftmax": partial(_softmax, log=True),
    "MatMul": _plain(torch.matmul),
    "Max": lambda call: TorchCall(functions.extreme, call.tensors, {"largest": True}),
    "MaxPool": _max_pool,
    "Mean": _plain(functions.mean_of),
    "Min": lambda call: TorchCall(functions.extreme, call.tensors, {"largest": False}),
    "Mod": _remainder,
    "PRelu": _plain(functions.prelu),
    "Pad": _pad,
    "QuantizeLinear": _quantize,
    "Reshape": _to_output_shape(torch.reshape),
    "Resize": _resize,
    "Selu": _plain(functions.selu, alpha=1.6732632, gamma=1.0507010),
    "Slice": _slice,
    "Softmax": _softmax,
    "Split": _split,
    "Squeeze": _squeeze,
    "Sum": _plain(functions.variadic_sum),
    "Tile": _tile,
    "Transpose": _transpose,
    "Unsqueeze": _unsqueeze,
    "Upsample": _resize,
    "Where": _plain(torch.where),
}  # fmt: skip
