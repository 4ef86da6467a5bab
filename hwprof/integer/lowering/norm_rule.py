"""Normalizations as integer operations on rows."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from hwprof.graph import Node
from hwprof.integer.lowering import product_rule
from hwprof.integer.lowering.symbol_table import Held, SymbolTable, refuse
from hwprof.integer.lowering.target import Target
from hwprof.integer.numerics.grid import LIMITS, Grid
from hwprof.integer.numerics.normalize import LONGEST_ROW, RESULT_BITS, WIDE_RESULT_BITS, gain_bits
from hwprof.integer.program.program import Concatenate, Normalization, Slice

_LARGEST_EPSILON = {"uint8": 2.0**44, "int16": 2.0**58}  # by the type of x
_RESULT_BITS = {"uint8": RESULT_BITS, "int16": WIDE_RESULT_BITS}
_LARGEST_GAIN, _LARGEST_BIAS = 2.0**31, 2.0**28  # as the operation holds them
_SHORTEST_ROW = 16  # elements; a single step of one of them is then small against epsilon, or large
_EPSILON = 1e-5  # ONNX's


def layer_norm(symbols: SymbolTable, node: Node, target: Target) -> Held:
    """A LayerNormalization over the last axes. Raises InputError where the operation does not support the node."""
    return _normalization(symbols, node, target, is_centred=True)


def rms_norm(symbols: SymbolTable, node: Node, target: Target) -> Held:
    """An RMSNormalization over the last axes. Raises InputError where the operation does not support the node."""
    return _normalization(symbols, node, target, is_centred=False)


def group_norm(symbols: SymbolTable, node: Node, target: Target) -> Held:
    """A GroupNormalization or InstanceNormalization: rows are normalized to 16 bits, then each channel is scaled."""
    x = symbols.any_view(node, node.inputs[0])
    channels = x.shape[1]
    groups = int(node.attribute("num_groups", channels))
    rows = symbols.reshaped(
        symbols.plain(x), (x.shape[0] * groups, math.prod(x.shape[1:]) // groups), f"{target.name} rows"
    )
    grid = Grid(math.sqrt(rows.shape[1]) / LIMITS["int16"][1], 0, dtype="int16")
    inner = Target(f"{target.name} normalized", grid, grid.low, grid.high, ())
    ones = np.ones(rows.shape[1])
    normal = symbols.reshaped(_of_rows(symbols, node, inner, rows, ones, 0 * ones, True), x.shape, inner.name)
    gain, bias = (
        np.repeat(reals, channels // len(reals))
        for reals in (_of_channels(symbols, node, index, groups) for index in (1, 2))
    )
    along = (-1, *(1,) * (len(x.shape) - 2))
    return product_rule.by_element(symbols, node, target, normal, gain.reshape(along), bias.reshape(along))


def _of_channels(symbols: SymbolTable, node: Node, index: int, groups: int) -> np.ndarray:
    """float64 [n]: a stored number for each group or each channel."""
    channels = symbols.graph.shape(node.inputs[0])[1]
    reals = symbols.reals(node.inputs[index])
    if reals is None or reals.size not in (groups, channels):
        raise refuse(node, f"its input {node.inputs[index]!r} is not a stored number for each channel")
    return reals.ravel()


def unit_norm(symbols: SymbolTable, node: Node, target: Target) -> Held:
    """An LpNormalization by the square root of the sum of squares, along one axis."""
    if node.attribute("p", 2) != 2:
        raise refuse(node, "only p = 2 is supported")
    x = symbols.any_view(node, node.inputs[0])
    axis = node.attribute("axis", -1) % len(x.shape)
    order = (*(i for i in range(len(x.shape)) if i != axis), axis)
    rows = symbols.transposed(x, order, f"{target.name} turned")
    n = rows.shape[-1]
    plain = replace(node, attributes=(("epsilon", 0.0),))
    y = _of_rows(symbols, plain, target, rows, np.full(n, 1 / math.sqrt(n)), np.zeros(n), is_centred=False)
    return symbols.transposed(y, [int(i) for i in np.argsort(order)], target.name)


def _normalization(symbols: SymbolTable, node: Node, target: Target, is_centred: bool) -> Held:
    x = symbols.plain(symbols.any_view(node, node.inputs[0]))
    axis = node.attribute("axis", -1) % len(x.shape)
    n = math.prod(x.shape[axis:])
    read = {name for reader in symbols.graph.nodes for name in reader.inputs} | set(symbols.graph.outputs)
    if any(name in read for name in node.outputs[1:]):
        raise refuse(node, "its mean or deviation is read; only the normalized values are supported")
    gain, bias = _of_elements(symbols, node, 1, n, 1.0), _of_elements(symbols, node, 2, n, 0.0)
    rows = symbols.with_shape(x, (*x.shape[:axis], n), f"{target.name} rows") if axis < len(x.shape) - 1 else x
    y = _of_rows(symbols, node, target, rows, gain, bias, is_centred)
    return symbols.with_shape(y, x.shape, target.name)


def _of_rows(
    symbols: SymbolTable, node: Node, target: Target, x: Held, gain: np.ndarray, bias: np.ndarray, is_centred: bool
) -> Held:
    """Normalized over the last axis of x. gain, bias: float64 [n].

    Short rows are repeated: mean and deviation stay the same, and epsilon has more steps.
    """
    n = x.shape[-1]
    copies = -(-_SHORTEST_ROW // n) if n < _SHORTEST_ROW else 1
    if copies == 1:
        return _of_long_rows(symbols, node, target, x, gain, bias, is_centred)
    plain = symbols.plain(x)
    shape = (*x.shape[:-1], n * copies)
    value = symbols.new_value(f"{x.value} {copies} times", shape, x.grid.dtype)
    symbols.operations.append(Concatenate(value, (), (plain.value,) * copies, value, len(shape) - 1))
    longer, whole = Held(value, x.grid, shape), replace(target, name=f"{target.name} of longer rows")
    y = _of_long_rows(symbols, node, whole, longer, np.tile(gain, copies), np.tile(bias, copies), is_centred)
    part = symbols.new_value(target.name, x.shape, target.grid.dtype)
    symbols.operations.append(Slice(part, (), y.value, part, (0,) * len(shape), (1,) * len(shape)))
    return Held(part, target.grid, x.shape)


def _of_long_rows(
    symbols: SymbolTable, node: Node, target: Target, x: Held, gains: np.ndarray, biases: np.ndarray, is_centred: bool
) -> Held:
    n = x.shape[-1]
    if n > LONGEST_ROW:
        raise refuse(node, f"rows of more than {LONGEST_ROW} elements are not supported")
    epsilon = float(node.attribute("epsilon", _EPSILON)) * n * n / x.grid.scale**2
    if not 0 <= epsilon <= _LARGEST_EPSILON[x.grid.dtype]:
        raise refuse(node, f"its epsilon is too large for the scale of its input, {x.grid.scale}")
    result_bits = _RESULT_BITS[target.grid.dtype]
    gain = gains / target.grid.scale * 2.0 ** gain_bits(result_bits)
    bias = (biases / target.grid.scale + target.grid.zero) * 2.0**result_bits
    if not (np.abs(gain).max() < _LARGEST_GAIN and np.abs(bias).max() < _LARGEST_BIAS):
        raise refuse(node, "its gain or bias does not fit the scale of its result")
    value = symbols.new_value(target.name, x.shape, target.grid.dtype)
    operation = Normalization(
        node.label, target.members, x.value, value,
        multiplier=np.minimum(np.rint(gain), 2.0**31 - 1).astype(np.int32),
        bias=np.rint(bias).astype(np.int32),
        epsilon=round(epsilon), zero_x=x.grid.zero, is_centred=is_centred,
        low=target.low, high=target.high, result_bits=result_bits,
    )  # fmt: skip
    symbols.operations.append(operation)
    return Held(value, target.grid, x.shape)


def _of_elements(symbols: SymbolTable, node: Node, index: int, n: int, default: float) -> np.ndarray:
    """float64 [n]: the stored input, or the default where the node does not have it."""
    if len(node.inputs) <= index or not node.inputs[index]:
        return np.full(n, default)
    reals = symbols.reals(node.inputs[index])
    if reals is None:
        raise refuse(node, f"its input {node.inputs[index]!r} is not stored")
    if not np.isfinite(reals).all() or reals.size not in (1, n):
        raise refuse(node, f"its input {node.inputs[index]!r} is not a finite number for each element of a row")
    return np.broadcast_to(reals.ravel(), (n,))
