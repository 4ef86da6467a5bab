"""Operators that are several integer operations with 16-bit results in between."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from hwprof.graph import Node
from hwprof.integer.lowering import attention_rule, pair_rule, pooling, product_rule, tables
from hwprof.integer.lowering.symbol_table import Held, SymbolTable, refuse
from hwprof.integer.lowering.target import Target
from hwprof.integer.numerics import piecewise_fit
from hwprof.integer.numerics.grid import LIMITS, Grid
from hwprof.integer.program.program import Table

_WIDE = LIMITS["int16"][1]
_ONE_AXIS_OPSET = 13
Function = Callable[[np.ndarray], np.ndarray]


def sum_of_squares(symbols: SymbolTable, node: Node, target: Target) -> Held:
    """A ReduceSumSquare over any axes: the product of each row with itself. Raises InputError where the operation does
    not support the node, as all rules do."""
    x = symbols.view(node, node.inputs[0])
    rows, count = _rows(symbols, node, x, target.name)
    lying, upright = (symbols.reshaped(rows, shape, target.name) for shape in ((count, 1, -1), (count, -1, 1)))
    return attention_rule.product_of(symbols, node, target, lying, upright)


def root_of_squares(symbols: SymbolTable, node: Node, target: Target) -> Held:
    """A ReduceL2 over any axes."""
    return _function_of_sum(symbols, node, target, np.square, np.sqrt, _largest(target) ** 2)


def log_of_sum(symbols: SymbolTable, node: Node, target: Target) -> Held:
    """A ReduceLogSum over any axes."""
    most = math.exp(min((target.grid.high - target.grid.zero) * target.grid.scale, 80.0))
    return _function_of_sum(symbols, node, target, lambda x: x, np.log, most)


def log_softmax(symbols: SymbolTable, node: Node, target: Target) -> Held:
    """A LogSoftmax over one axis: the distance from the largest element, minus the logarithm of the sum of powers."""
    x = symbols.view(node, node.inputs[0])
    rank, opset = len(x.shape), dict(symbols.graph.opsets).get("", 0)
    axis = node.attribute("axis", -1 if opset >= _ONE_AXIS_OPSET else 1) % rank
    if opset < _ONE_AXIS_OPSET and axis < rank - 1:
        raise refuse(node, "before opset 13, only the last axis is supported")
    order = (*(i for i in range(rank) if i != axis), axis)
    turned = symbols.transposed(x, order, f"{target.name} turned")
    top = pooling.largest_along_last(symbols, node, turned, f"{target.name} largest")
    below = Grid(x.grid.scale, LIMITS["uint8"][1])
    distance = pair_rule.summed(
        symbols, node, turned, top, Target(f"{target.name} distance", below, 0, 255, ()), (1, -1)
    )
    powers = _tabulated_wide(symbols, distance, np.exp, 1.0, f"{target.name} powers")
    count = turned.shape[-1]
    total = _total(symbols, node, powers, float(count), f"{target.name} total")
    reach = math.log(count) or 1.0
    logs = _drawn(symbols, node, total, np.log, Grid(reach / _WIDE, 0, dtype="int16"), f"{target.name} logarithm")
    logs = symbols.reshaped(logs, top.shape, logs.value)
    y = pair_rule.summed(symbols, node, *pair_rule.paired(symbols, node, distance, logs, turned.shape), target, (1, -1))
    return symbols.transposed(y, [int(i) for i in np.argsort(order)], target.name)


def _function_of_sum(
    symbols: SymbolTable, node: Node, target: Target, inner: Function, outer: Function, most: float
) -> Held:
    """outer(sum of inner(x)) along the axes of the node, where sums above `most` saturate the result."""
    x = symbols.view(node, node.inputs[0])
    rows, count = _rows(symbols, node, x, target.name)
    flat = symbols.reshaped(rows, (count, -1), f"{target.name} rows")
    reals = inner(x.grid.reals().astype(np.float64))
    wide = _tabulated_wide(symbols, flat, inner, float(np.abs(reals).max()) or 1.0, f"{target.name} parts")
    total = _total(symbols, node, wide, min(most, float(np.abs(reals).max()) * flat.shape[1]), f"{target.name} total")
    y = _drawn(symbols, node, total, outer, target.grid, target.name)
    y = symbols.with_shape(y, symbols.graph.shape(node.outputs[0]), target.name)
    return tables.bounded(symbols, y, target) if target.is_bounded else y


def _largest(target: Target) -> float:
    return (target.grid.high - target.grid.zero) * target.grid.scale


def _rows(symbols: SymbolTable, node: Node, x: Held, name: str) -> tuple[Held, int]:
    """The tensor with the axes of the reduction at the end, and the number of rows."""
    axes = pooling.axes_of(symbols, node, len(x.shape))
    if not axes:
        raise refuse(node, "it reduces no axis")
    kept = [axis for axis in range(len(x.shape)) if axis not in axes]
    return symbols.transposed(x, (*kept, *axes), f"{name} turned"), math.prod(x.shape[axis] for axis in kept)


def _tabulated_wide(symbols: SymbolTable, x: Held, function: Function, most: float, name: str) -> Held:
    """A function of an 8-bit tensor in 16 bits, up to `most`."""
    grid = Grid(most / _WIDE, 0, dtype="int16")
    reals = np.clip(function(x.grid.reals().astype(np.float64)) / grid.scale, -_WIDE, _WIDE)
    value = symbols.new_value(name, symbols.values[x.value].shape, "int16")
    source, of_x = symbols.function(x.value)
    symbols.operations.append(Table(name, (), source, value, np.rint(reals).astype(np.int16)[of_x]))
    return Held(value, grid, x.shape, x.is_image)


def _total(symbols: SymbolTable, node: Node, x: Held, most: float, name: str) -> Held:
    """The sums of the rows of 16-bit x [..., n], as [m, 1], in 16 bits up to `most`."""
    n = x.shape[-1]
    grid = Grid(most / _WIDE, 0, dtype="int16")
    rows = symbols.reshaped(symbols.plain(x), (-1, n), f"{name} rows")
    target = Target(name, grid, grid.low, grid.high, ())
    return product_rule.summed_rows(symbols, node, rows, target)


def _drawn(symbols: SymbolTable, node: Node, x: Held, function: Function, grid: Grid, name: str) -> Held:
    """A function of a 16-bit tensor, as lines."""
    reals = x.grid.reals().astype(np.float64)
    with np.errstate(all="ignore"):
        values = function(np.maximum(reals, x.grid.scale / 4))  # below 0 there is no sum
    lines = piecewise_fit.of_function(values.astype(np.float32), x.grid, grid)
    if lines is None:
        raise refuse(node, "line segments cannot follow the function of its sums")
    return tables.drawn(symbols, x, lines, Target(name, grid, grid.low, grid.high, ()))
