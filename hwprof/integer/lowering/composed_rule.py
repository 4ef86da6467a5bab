"""Operators that are several integer operations with 16-bit results in between."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from hwprof.graph import Node
from hwprof.integer.lowering import attention_rule, images, pair_rule, pooling, product_rule, tables
from hwprof.integer.lowering.symbol_table import Held, SymbolTable, refuse
from hwprof.integer.lowering.target import Target
from hwprof.integer.numerics import piecewise_fit
from hwprof.integer.numerics.grid import LIMITS, Grid
from hwprof.integer.program.program import Table

_WIDE = LIMITS["int16"][1]
_ONE_AXIS_OPSET = 13
_LARGEST_NORM = 2  # the p of an LpPool
_ZERO = 128  # the mark of an element that is 0; a negative one has the mark 1, so that their sum counts both
Function = Callable[[np.ndarray], np.ndarray]


def sum_of_squares(symbols: SymbolTable, node: Node, target: Target) -> Held:
    """A ReduceSumSquare over any axes: the product of each row with itself. Raises InputError where the operation does
    not support the node, as all rules do."""
    x = symbols.view(node, node.inputs[0])
    rows, count = _rows(symbols, node, x, target.name)
    row, column = (symbols.reshaped(rows, shape, target.name) for shape in ((count, 1, -1), (count, -1, 1)))
    return attention_rule.product_of(symbols, node, target, row, column)


def root_of_squares(symbols: SymbolTable, node: Node, target: Target) -> Held:
    """A ReduceL2 over any axes."""
    return _function_of_sum(symbols, node, target, np.square, np.sqrt, _largest_result(target) ** 2)


def log_of_sum(symbols: SymbolTable, node: Node, target: Target) -> Held:
    """A ReduceLogSum over any axes."""
    limit = math.exp(min((target.grid.high - target.grid.zero) * target.grid.scale, 80.0))
    return _function_of_sum(symbols, node, target, lambda x: x, np.log, limit)


def norm_of_windows(symbols: SymbolTable, node: Node, target: Target) -> Held:
    """An LpPool: the p-norm of the elements in each window."""
    x = symbols.view(node, node.inputs[0])
    images.require_image(node, x)
    p, taps = int(node.attribute("p", 2)), math.prod(node.attribute("kernel_shape"))
    if p > _LARGEST_NORM:
        raise refuse(node, f"its p is {p}; sums of powers above {_LARGEST_NORM} need more than 16 bits")

    def power(reals: np.ndarray) -> np.ndarray:
        return np.asarray(np.abs(reals) ** p)

    wide = _tabulated_wide(symbols, x, power, _largest_magnitude(power, x), f"{target.name} powers")
    grid = Grid(min(_largest_result(target) ** p, _largest_magnitude(power, x) * taps) / _WIDE, 0, dtype="int16")
    sums = Target(f"{target.name} sums", grid, grid.low, grid.high, ())
    total = product_rule.summed_windows(symbols, node, wide, sums)
    root = _of_sum(lambda sums: np.asarray(sums ** (1 / p)), grid)
    y = _drawn(symbols, node, total, root, target.grid, target.name)
    return tables.bounded(symbols, y, target) if target.is_bounded else y


def local_response(symbols: SymbolTable, node: Node, target: Target) -> Held:
    """An LRN: each element times a power of the sum of squares in the channels around it."""
    x = symbols.view(node, node.inputs[0])
    rank, channels, size = len(x.shape), x.shape[1], int(node.attribute("size"))
    alpha, beta, bias = (float(node.attribute(*each)) for each in (("alpha", 1e-4), ("beta", 0.75), ("bias", 1.0)))
    if bias <= 0 or alpha < 0:
        raise refuse(node, "its bias is not above 0, or its alpha is below 0")
    last = symbols.transposed(x, (0, *range(2, rank), 1), f"{target.name} channels last")
    squares = _tabulated_wide(symbols, last, np.square, _largest_magnitude(np.square, x), f"{target.name} squares")
    to, of = np.indices((channels, channels))
    is_near = (of >= to - (size - 1) // 2) & (of <= to + size // 2)
    grid = Grid(_largest_magnitude(np.square, x) * min(size, channels) / _WIDE, 0, dtype="int16")
    sums = product_rule.with_rows(
        symbols, node, squares, is_near.astype(np.int8), np.ones(channels), np.zeros(channels),
        Target(f"{target.name} sums", grid, grid.low, grid.high, ()),
    )  # fmt: skip
    gains = Grid(bias**-beta / _WIDE, 0, dtype="int16")

    def gain(total: np.ndarray) -> np.ndarray:
        return np.asarray((bias + alpha / size * np.maximum(total, 0)) ** -beta)

    factor = _drawn(symbols, node, sums, gain, gains, f"{target.name} gain")
    y = pair_rule.product(symbols, node, last, factor, target)
    return symbols.transposed(y, (0, rank - 1, *range(1, rank - 1)), target.name)


def product_of_rows(symbols: SymbolTable, node: Node, target: Target) -> Held:
    """A ReduceProd over any axes: the power of the sum of logarithms, times the sign."""
    x = symbols.view(node, node.inputs[0])
    rows, count = _rows(symbols, node, x, target.name)
    flat = symbols.reshaped(rows, (count, -1), f"{target.name} rows")
    reach = math.log(pair_rule.reach(target.grid))
    limit = max(abs(reach), abs(math.log(target.grid.scale / 4)))  # a product below it is 0 on the grid

    def logarithm(reals: np.ndarray) -> np.ndarray:
        return np.log(np.where(reals == 0, 1.0, np.abs(reals)))

    logs = _tabulated_wide(symbols, flat, logarithm, _largest_magnitude(logarithm, x), f"{target.name} logarithms")
    total = _total(symbols, node, logs, limit, f"{target.name} total")
    grid = Grid(math.exp(reach) / _WIDE, 0, dtype="int16")
    size = _drawn(symbols, node, total, np.exp, grid, f"{target.name} magnitude")
    y = pair_rule.product(symbols, node, size, _signs(symbols, node, flat, target.name), target)
    return symbols.with_shape(y, symbols.graph.shape(node.outputs[0]), target.name)


def _signs(symbols: SymbolTable, node: Node, rows: Held, name: str) -> Held:
    """The sign of the product of each row [m, n], [m, 1]: -1, 0 or 1."""
    if rows.shape[1] >= _ZERO:
        raise refuse(node, f"it multiplies {rows.shape[1]} elements; at most {_ZERO - 1} are supported")
    held = np.arange(256) - rows.grid.zero
    marks, counts = np.where(held == 0, _ZERO, held < 0).astype(np.uint8), Grid(1.0, 0)
    marked = tables.tabulated(symbols, rows, marks, counts, f"{name} marks", ())
    counted = Target(f"{name} marked", counts, 0, 255, ())
    count = pooling.reduced(symbols, node, counted, marked, (1,), keeps_axes=True, is_sum=True)
    signs = np.where(np.arange(256) >= _ZERO, 0, 1 - 2 * (np.arange(256) % 2))
    return tables.tabulated(symbols, count, (signs + 1).astype(np.uint8), Grid(1.0, 1), f"{name} sign", ())


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
    grid = Grid(reach / _WIDE, 0, dtype="int16")
    logs = _drawn(symbols, node, total, _of_sum(np.log, total.grid), grid, f"{target.name} logarithm")
    logs = symbols.reshaped(logs, top.shape, logs.value)
    y = pair_rule.summed(symbols, node, *pair_rule.paired(symbols, node, distance, logs, turned.shape), target, (1, -1))
    return symbols.transposed(y, [int(i) for i in np.argsort(order)], target.name)


def _function_of_sum(
    symbols: SymbolTable, node: Node, target: Target, inner: Function, outer: Function, limit: float
) -> Held:
    """outer(sum of inner(x)) along the axes of the node, where sums above `limit` saturate the result."""
    x = symbols.view(node, node.inputs[0])
    rows, count = _rows(symbols, node, x, target.name)
    flat = symbols.reshaped(rows, (count, -1), f"{target.name} rows")
    wide = _tabulated_wide(symbols, flat, inner, _largest_magnitude(inner, x), f"{target.name} parts")
    total = _total(
        symbols, node, wide, min(limit, _largest_magnitude(inner, x) * flat.shape[1]), f"{target.name} total"
    )
    y = _drawn(symbols, node, total, _of_sum(outer, total.grid), target.grid, target.name)
    y = symbols.with_shape(y, symbols.graph.shape(node.outputs[0]), target.name)
    return tables.bounded(symbols, y, target) if target.is_bounded else y


def _largest_magnitude(function: Function, x: Held) -> float:
    """The largest magnitude of the function on the grid of x; 1 where it is 0 everywhere."""
    return float(np.abs(function(x.grid.reals().astype(np.float64))).max()) or 1.0


def _largest_result(target: Target) -> float:
    """The highest real number on the grid of the result."""
    return (target.grid.high - target.grid.zero) * target.grid.scale


def _rows(symbols: SymbolTable, node: Node, x: Held, name: str) -> tuple[Held, int]:
    """The tensor with the axes of the reduction at the end, and the number of rows."""
    axes = pooling.axes_of(symbols, node, len(x.shape))
    if not axes:
        raise refuse(node, "it reduces no axis")
    kept = [axis for axis in range(len(x.shape)) if axis not in axes]
    return symbols.transposed(x, (*kept, *axes), f"{name} turned"), math.prod(x.shape[axis] for axis in kept)


def _tabulated_wide(symbols: SymbolTable, x: Held, function: Function, limit: float, name: str) -> Held:
    """A function of an 8-bit tensor in 16 bits, up to `limit`."""
    grid = Grid(limit / _WIDE, 0, dtype="int16")
    reals = np.clip(function(x.grid.reals().astype(np.float64)) / grid.scale, -_WIDE, _WIDE)
    value = symbols.new_value(name, symbols.values[x.value].shape, "int16")
    source, of_x = symbols.function(x.value)
    symbols.operations.append(Table(name, (), source, value, np.rint(reals).astype(np.int16)[of_x]))
    return Held(value, grid, x.shape, x.is_image)


def _total(symbols: SymbolTable, node: Node, x: Held, limit: float, name: str) -> Held:
    """The sums of the rows of 16-bit x [..., n], as [m, 1], in 16 bits up to `limit`."""
    n = x.shape[-1]
    grid = Grid(limit / _WIDE, 0, dtype="int16")
    rows = symbols.reshaped(symbols.plain(x), (-1, n), f"{name} rows")
    target = Target(name, grid, grid.low, grid.high, ())
    return product_rule.summed_rows(symbols, node, rows, target)


def _drawn(symbols: SymbolTable, node: Node, x: Held, function: Function, grid: Grid, name: str) -> Held:
    """A function of a 16-bit tensor, as lines."""
    with np.errstate(all="ignore"):
        values = function(x.grid.reals().astype(np.float64))
    lines = piecewise_fit.of_function(values.astype(np.float32), x.grid, grid)
    if lines is None:
        raise refuse(node, "line segments cannot follow the function of its sums")
    return tables.drawn(symbols, x, lines, Target(name, grid, grid.low, grid.high, ()))


def _of_sum(function: Function, sums: Grid) -> Function:
    """The function of sums that are not negative, continued below 0, where there is none."""
    return lambda x: function(np.maximum(x, sums.scale / 4))
