"""An LSTM between Q/DQ pairs as one integer operation. The grid of its output is also the grid of the state h."""

from __future__ import annotations

import math

import numpy as np

from hwprof.graph import Node
from hwprof.integer.lowering.symbol_table import WANTED, Held, SymbolTable, refuse
from hwprof.integer.numerics import fixed_point
from hwprof.integer.numerics.grid import Grid
from hwprof.integer.numerics.recurrent import GATE_BITS, GATES, VALUE_BITS
from hwprof.integer.program.program import Gates, Lstm

_LARGEST_SUM = 2**27 - 1  # the kernels raise it by four bits
_SMALLEST_SHIFT, _LARGEST_SHIFT = 28, 50
_LARGEST_PLACES = 22
_FACTOR_BITS = 15


def lower(
    symbols: SymbolTable, node: Node, x: Held, grid: Grid, name: str, members: tuple[str, ...], direction: int
) -> Held:
    """The states of one direction, [steps, batch, units], on the grid. x: [steps, batch, depth], in the order in which
    it is read. Raises InputError where the operation does not support the node."""
    steps, batch, _ = x.shape
    joined = biases(symbols, node, GATES)[direction].sum(axis=0).ravel()
    from_x = gates(symbols, node, node.inputs[1], x.grid, joined, direction)
    from_h = gates(symbols, node, node.inputs[2], grid, np.zeros(len(from_x.bias)), direction)
    units = len(from_x.bias) // GATES
    factor, offset, places = state_on(grid, node)
    value = symbols.new_value(f"{name} states", (steps, batch, units))
    symbols.operations.append(
        Lstm(node.label, members, x.value, value, from_x, from_h, x.grid.zero, grid.zero, factor, offset, places)
    )
    return Held(value, grid, (steps, batch, units))


def state_on(grid: Grid, node: Node) -> tuple[int, int, int]:
    """Factor, offset and places that put a state, with VALUE_BITS fractional bits, on the grid."""
    real = 2.0**-VALUE_BITS / grid.scale
    places = min(_FACTOR_BITS - math.frexp(real)[1], _LARGEST_PLACES)
    if places < 1:
        raise refuse(node, f"the scale of its result, {grid.scale}, does not fit values in [-1, 1]")
    factor = min(round(real * 2**places), 2**_FACTOR_BITS - 1)
    return factor, (grid.zero << places) + (1 << (places - 1)), places


def biases(symbols: SymbolTable, node: Node, count: int) -> np.ndarray:
    """float64 [directions, 2, count, units]: the biases of the input and of the state, for each gate."""
    name = node.inputs[3] if len(node.inputs) > 3 else ""
    if not name:
        directions = symbols.graph.shape(node.inputs[1])[0]
        return np.zeros((directions, 2, count, int(node.attribute("hidden_size"))))
    reals = symbols.reals(name)
    if reals is None:
        raise refuse(node, f"its bias {name!r} is not stored")
    return reals.reshape(len(reals), 2, count, -1)


def gates(symbols: SymbolTable, node: Node, name: str, grid: Grid, bias: np.ndarray, direction: int) -> Gates:
    """The contribution of an operand on the grid to the gates, by the stored weight `name` [directions, n * units,
    depth].

    bias: float64 [n, units], for the n gates.
    """
    weight, scale = rows_of(symbols, node, name, direction)
    if weight.min(initial=0) < -127:
        raise refuse(node, f"its weight {name!r} holds -128; quantize to [-127, 127]")
    is_zero = ~weight.any(axis=1)
    step = np.where(is_zero, 2.0 ** -(GATE_BITS + 1), scale * grid.scale)  # any would do for a row of zeros
    multiplier, shift = fixed_point.multipliers_and_shifts(step * 2.0**GATE_BITS)
    sums = np.abs(weight).sum(axis=1, dtype=np.int64) * 255
    folded = np.rint(bias / step) - grid.zero * weight.sum(axis=1, dtype=np.int64)
    if shift.min() < _SMALLEST_SHIFT or not (np.abs(folded) + sums <= _LARGEST_SUM).all():
        raise refuse(node, "its gates do not fit into 16 bits or their sums do not fit into 28 bits")
    if shift.max() > _LARGEST_SHIFT:
        raise refuse(node, f"its weight {name!r} has a scale so small that all products are 0")
    return Gates(np.ascontiguousarray(weight), folded.astype(np.int32), multiplier, shift)


def rows_of(symbols: SymbolTable, node: Node, name: str, direction: int) -> tuple[np.ndarray, np.ndarray]:
    """A direction of the stored weight, int8 [n * units, depth], and the scale of each row, float64."""
    stored = symbols.stored.get(name)
    if stored is None:
        raise refuse(node, f"the quantizer left it in float: its weight {name!r} is not stored as integers; {WANTED}")
    if stored.values.dtype != np.int8 or stored.zero.any() or stored.axis not in (None, 0, 1):
        raise refuse(node, f"its weight {name!r} is not stored as symmetric int8, with one scale or one per row")
    weight = stored.values[direction]
    scale = stored.scale[direction] if stored.axis == 0 else stored.scale
    return weight, np.broadcast_to(scale, (len(weight),))
