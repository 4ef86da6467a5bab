"""Splits ONNX's operators on integers, which carry their scales, into Q/DQ nodes around the float operator."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from hwprof.graph import Node
from hwprof.integer.lowering.symbol_table import SymbolTable, refuse
from hwprof.integer.numerics.grid import Stored

OPERATORS = {"QLinearConv": "Conv", "QLinearMatMul": "MatMul"}
_OUTPUTS_AXIS = {"QLinearConv": 0, "QLinearMatMul": -1}  # output axis of the weight
_BIAS = 8  # its place among the inputs of QLinearConv


def parts(node: Node) -> list[Node]:
    """The DequantizeLinears of the input and the weight, the float operator, and the QuantizeLinear after it.

    All have the label of the node; the float operator's result has the name of the node's result.
    """
    own = replace(node, name=node.label, attributes=())
    x, weight = (f"{node.label} {part}" for part in ("input", "weight"))
    inputs = (x, weight, f"{node.label} bias") if _has_bias(node) else (x, weight)
    axis = (("axis", _OUTPUTS_AXIS[node.op]),)
    return [
        replace(own, op="DequantizeLinear", inputs=node.inputs[:3], outputs=(x,)),
        replace(own, op="DequantizeLinear", inputs=node.inputs[3:6], outputs=(weight,), attributes=axis),
        replace(own, op=OPERATORS[node.op], inputs=inputs, attributes=node.attributes),
        replace(own, op="QuantizeLinear", inputs=(node.outputs[0], *node.inputs[6:8])),
    ]


def store_bias(symbols: SymbolTable, node: Node, inner: Node) -> None:
    """Stores the bias: int32, scaled by the input's scale times the weight's, without a DequantizeLinear of its own."""
    if not _has_bias(node):
        return
    name = node.inputs[_BIAS]
    if name not in symbols.weights:
        raise refuse(node, f"its bias {name!r} is not stored")
    if inner.inputs[1] not in symbols.stored:
        raise refuse(node, "its weight is not stored")
    values = np.asarray(symbols.weights[name], np.int32)
    scale = symbols.view(node, inner.inputs[0]).grid.scale * symbols.stored[inner.inputs[1]].scale
    axis = 0 if scale.size > 1 else None
    symbols.stored[inner.inputs[2]] = Stored(values, scale, np.zeros(scale.shape, np.int64), axis, 32)


def _has_bias(node: Node) -> bool:
    return len(node.inputs) > _BIAS and bool(node.inputs[_BIAS])
