"""How each float operator before a QuantizeLinear becomes one integer operation."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from hwprof.graph import Node
from hwprof.integer.lowering import (
    attention_rule,
    code_rule,
    composed_rule,
    norm_rule,
    numbers_rule,
    overlap_rule,
    pair_rule,
    picking,
    pooling,
    product_rule,
    recurrent_rule,
    resizing,
    tables,
)
from hwprof.integer.lowering.symbol_table import Held, SymbolTable, image_axes, refuse, unforeseen_is_refused
from hwprof.integer.lowering.target import Rule, Target
from hwprof.integer.numerics.grid import Grid
from hwprof.integer.program.program import Concatenate

_WITH_16_BITS = {
    "Add", "AveragePool", "BatchNormalization", "Concat", "Conv", "ConvTranspose", "Div", "Gemm", "GRU",
    "GroupNormalization", "InstanceNormalization", "LayerNormalization", "LpNormalization", "LSTM", "MatMul", "Mean",
    "Mul", "RMSNormalization", "Resize", "RNN", "Scatter", "ScatterElements", "ScatterND", "Sub", "Sum",
    "TensorScatter", "Upsample", "Where",
}  # fmt: skip


def quantized(symbols: SymbolTable, name: str, grid: Grid, node: Node) -> Held:
    """The float tensor `name` on the grid that the QuantizeLinear `node` gives it. Raises InputError."""
    if name in symbols.views and symbols.views[name].grid == grid:
        return symbols.views[name]
    if name in symbols.weights:
        return symbols.keep(name, grid.quantized(symbols.weights[name]), grid)
    target = Target(name, grid, grid.low, grid.high, (node.label,))
    if name in symbols.codes:
        target.require_bytes(node)
        return code_rule.quantized(symbols, node, symbols.codes[name], name, grid)
    inner, bounded = _without_bounds(symbols, name, target)
    rule = _RULES.get(inner.op) if inner else None
    if inner and rule and not (inner.op in _OF_ONE and _is_function(symbols, inner, name)):
        if inner.op not in _WITH_16_BITS:
            target.require_bytes(inner)
        with unforeseen_is_refused(inner):  # not the QuantizeLinear that asks for it
            return rule(symbols, inner, bounded.covering(inner))
    return tables.lookup(symbols, name, grid, target.members, node)


def _is_function(symbols: SymbolTable, node: Node, name: str) -> bool:
    """Whether a table or lines stand for the operator: not for one of two 16-bit tensors, which it computes exactly."""
    source = tables.source(symbols, name)
    if source is None or source.grid.dtype == "uint8":
        return source is not None
    return node.op not in ("Add", "Mul") or any(operand not in symbols.views for operand in node.inputs)


def _without_bounds(symbols: SymbolTable, name: str, target: Target) -> tuple[Node | None, Target]:
    """The operator before any Relu and Clip, and the target that includes their bounds."""
    node = symbols.pending.get(name)
    while node and node.op in ("Relu", "Clip"):
        low, high = bounds(symbols, node)
        target = replace(
            target.covering(node),
            low=max(target.low, target.grid.nearest(low)),
            high=min(target.high, target.grid.nearest(high)),
        )
        node = symbols.pending.get(node.inputs[0])
    return node, target


def bounds(symbols: SymbolTable, node: Node) -> tuple[float, float]:
    """The lower and upper bound of a Relu or Clip."""
    if node.op == "Relu":
        return 0.0, math.inf
    low, high = node.attribute("min", -math.inf), node.attribute("max", math.inf)
    if len(node.inputs) > 1 and node.inputs[1]:
        low = _stored_scalar(symbols, node, node.inputs[1])
    if len(node.inputs) > 2 and node.inputs[2]:
        high = _stored_scalar(symbols, node, node.inputs[2])
    return float(low), float(high)


def _stored_scalar(symbols: SymbolTable, node: Node, name: str) -> float:
    array = symbols.reals(name)
    if array is None or array.size != 1:
        raise refuse(node, f"its bound {name!r} is not a stored number")
    return float(array.ravel()[0])


# -- others -------------------------------------------------------------------------------------------


def concatenation(
    symbols: SymbolTable, node: Node, operands: Sequence[Held], grid: Grid, members: tuple[str, ...]
) -> Held:
    """The operands, which are on the grid, concatenated."""
    size = symbols.graph.shape(node.outputs[0])
    axis = node.attribute("axis") % len(size)
    is_image = any(held.is_image for held in operands)
    turned = [symbols.image(held) if is_image else held for held in operands]
    order = image_axes(len(size)) if is_image else tuple(range(len(size)))
    value = symbols.new_value(node.outputs[0], tuple(size[a] for a in order), grid.dtype)
    at = order.index(axis)
    names = tuple(held.value for held in turned)
    symbols.operations.append(Concatenate(node.label, members, names, value, at))
    return Held(value, grid, size, is_image)


def _concatenate(symbols: SymbolTable, node: Node, target: Target) -> Held:
    moved = [
        tables.requantized(symbols, symbols.any_view(node, name), target.grid, f"{name} for {target.name}")
        for name in node.inputs
    ]
    joined = concatenation(symbols, node, moved, target.grid, target.members)
    return tables.bounded(symbols, joined, target) if target.is_bounded else joined


_OF_ONE = {
    "Add",
    "Sub",
    "Mul",
    "Div",
    "Max",
    "Min",
    "Mean",
    "Mod",
    "Pow",
    "Sum",
}  # a table where they read one tensor alone
_RULES: dict[str, Rule] = {
    "Conv": product_rule.convolution,
    "ConvTranspose": product_rule.transposed_convolution,
    "MatMul": product_rule.matrix_product,
    "Gemm": product_rule.gemm,
    "Add": pair_rule.add,
    "Sub": pair_rule.subtract,
    "Mul": pair_rule.multiply,
    "Div": pair_rule.divide,
    "Sum": pair_rule.total(is_mean=False),
    "Mean": pair_rule.total(is_mean=True),
    "Max": pair_rule.extreme(is_largest=True),
    "Min": pair_rule.extreme(is_largest=False),
    "PRelu": pair_rule.p_relu,
    "Where": pair_rule.where,
    "Mod": numbers_rule.rule,
    "Pow": numbers_rule.rule,
    "Col2Im": overlap_rule.image_of_columns,
    "Scatter": picking.merged,
    "ScatterElements": overlap_rule.scattered,
    "ScatterND": overlap_rule.scattered,
    "TensorScatter": picking.merged,
    **dict.fromkeys(("LSTM", "GRU", "RNN"), recurrent_rule.rule),
    "Softmax": attention_rule.softmax_of_rows,
    "LayerNormalization": norm_rule.layer_norm,
    "RMSNormalization": norm_rule.rms_norm,
    "Concat": _concatenate,
    "BatchNormalization": product_rule.batch_norm,
    "AveragePool": pooling.average_pool,
    "GlobalAveragePool": pooling.global_average,
    "GroupNormalization": norm_rule.group_norm,
    "InstanceNormalization": norm_rule.group_norm,
    "LpNormalization": norm_rule.unit_norm,
    "LogSoftmax": composed_rule.log_softmax,
    "LpPool": composed_rule.norm_of_windows,
    "LRN": composed_rule.local_response,
    "ReduceProd": composed_rule.product_of_rows,
    "ReduceL2": composed_rule.root_of_squares,
    "ReduceLogSum": composed_rule.log_of_sum,
    "ReduceSumSquare": composed_rule.sum_of_squares,
    "ReduceMean": pooling.mean,
    "ReduceSum": pooling.total,
    "ReduceL1": pooling.absolute_total,
    "ReduceMax": pooling.extreme(is_largest=True),
    "ReduceMin": pooling.extreme(is_largest=False),
    "Resize": resizing.interpolated,
    "Upsample": resizing.interpolated,
}
