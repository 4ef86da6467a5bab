"""Splits operators on integers, which carry their scales, into Q/DQ nodes around the float operator.

They are ONNX's QLinearConv and QLinearMatMul, and those of ONNX Runtime's domain com.microsoft in files of its format
QOperator.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from hwprof.graph import Node
from hwprof.integer.lowering.symbol_table import SymbolTable, refuse
from hwprof.integer.numerics.grid import Stored
from hwprof.onnx_io import contrib_types

MICROSOFT = "com.microsoft"


@dataclass(frozen=True, slots=True)
class _Layout:
    """The places of a node's inputs: operands, each followed by its scale and zero point; the result's scale and zero
    point; a bias of 32 bits; the axis of the second operand's scales; inputs that are passed on before the operands."""

    op: str
    operands: tuple[int, ...]
    result: int
    bias: int | None = None
    axis: int | None = None
    plain: tuple[int, ...] = ()


def _of_microsoft(op: str, result: int, bias: int | None = None, axis: int | None = None) -> _Layout:
    """The layout of an operator whose operands `contrib_types` knows."""
    name, places = contrib_types.COUNTERPARTS[op]
    return _Layout(name, places, result, bias, axis, plain=(0,) if name == "Where" else ())


OPERATORS = {
    "QLinearConv": _Layout("Conv", (0, 3), 6, bias=8, axis=0),
    "QLinearMatMul": _Layout("MatMul", (0, 3), 6, axis=-1),
    "QGemm": _of_microsoft("QGemm", 7, bias=6, axis=-1),
    **{op: _of_microsoft(op, 6) for op in ("QLinearAdd", "QLinearMul")},
    **{
        op: _of_microsoft(op, 3)
        for op in (
            "QLinearAveragePool", "QLinearGlobalAveragePool", "QLinearLeakyRelu", "QLinearReduceMean", "QLinearSigmoid",
            "QLinearSoftmax",
        )
    },
    "QLinearWhere": _of_microsoft("QLinearWhere", 7),
    "QLinearConcat": _of_microsoft("QLinearConcat", 0),
}  # fmt: skip
_ONE_AXIS_OPSET = 13


def parts(node: Node, opset: int) -> list[Node]:
    """The DequantizeLinears of the operands, the float operator, and the QuantizeLinear after it.

    All have the label of the node; the float operator's result has the name of the node's result. opset: of the
    network. Raises InputError for an attribute that the float operator has no counterpart of.
    """
    layout = _layout(node)
    _require_counterpart(node, opset)
    own = replace(node, name=node.label, attributes=(), domain="")
    names = [f"{node.label} operand {i}" for i in range(len(layout.operands))]
    dequantize = [
        replace(own, op="DequantizeLinear", inputs=node.inputs[at : at + 3], outputs=(name,), attributes=_axis(node, i))
        for i, (at, name) in enumerate(zip(layout.operands, names, strict=True))
    ]
    inputs = (*(node.inputs[at] for at in layout.plain), *names, *([bias_name(node)] if _has_bias(node) else []))
    return [
        *dequantize,
        replace(own, op=layout.op, inputs=inputs, attributes=contrib_types.float_attributes(node)),
        replace(
            own, op="QuantizeLinear", inputs=(node.outputs[0], *node.inputs[layout.result : layout.result + 2])
        ),
    ]  # fmt: skip


def bias_name(node: Node) -> str:
    """The name under which `store_bias` stores the bias."""
    return f"{node.label} bias"


def store_bias(symbols: SymbolTable, node: Node, inner: Node) -> None:
    """Stores the bias: int32, scaled by the input's scale times the weight's, without a DequantizeLinear of its own."""
    if not _has_bias(node):
        return
    name = node.inputs[_layout(node).bias or 0]
    if name not in symbols.weights:
        raise refuse(node, f"its bias {name!r} is not stored")
    if inner.inputs[1] not in symbols.stored:
        raise refuse(node, "its weight is not stored")
    values = np.asarray(symbols.weights[name], np.int32)
    alpha = float(node.attribute("alpha", 1.0))
    scale = alpha * symbols.any_view(node, inner.inputs[0]).grid.scale * symbols.stored[inner.inputs[1]].scale
    axis = values.ndim - 1 if scale.size > 1 else None
    symbols.stored[bias_name(node)] = Stored(values, scale, np.zeros(scale.shape, np.int64), axis, 32)


def _layout(node: Node) -> _Layout:
    layout = OPERATORS[node.op]
    if node.op == "QLinearConcat":
        return replace(layout, operands=contrib_types.operands(node))
    return layout


def _axis(node: Node, operand: int) -> tuple[tuple[str, int], ...]:
    """The attribute that says along which axis the scales of an operand are, if it has several."""
    axis = _layout(node).axis
    if axis is None or operand != 1:
        return ()
    return (("axis", 0 if node.op == "QGemm" and node.attribute("transB", 0) else axis),)


def _require_counterpart(node: Node, opset: int) -> None:
    if node.attribute("channels_last", 0):
        raise refuse(node, "its attribute 'channels_last' is not supported; write the file with the channels second")
    if node.op == "QLinearSoftmax" and (node.attribute("opset", opset) < _ONE_AXIS_OPSET) != (opset < _ONE_AXIS_OPSET):
        raise refuse(node, f"its softmax is that of opset {node.attribute('opset')}, the network has opset {opset}")
    if node.op == "QGemm" and not node.inputs[_layout(node).result : _layout(node).result + 1]:
        raise refuse(node, "its result is not quantized")


def _has_bias(node: Node) -> bool:
    bias = _layout(node).bias
    return bias is not None and len(node.inputs) > bias and bool(node.inputs[bias])
