"""An LSTM between Q/DQ pairs as one integer operation. The grid of its output is also the grid of the state h."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from hwprof.graph import Node
from hwprof.integer.lowering.symbol_table import Held, SymbolTable, refuse
from hwprof.integer.numerics import fixed_point
from hwprof.integer.numerics.grid import Grid
from hwprof.integer.numerics.recurrent import GATE_BITS, GATES, VALUE_BITS
from hwprof.integer.program.program import Gates, Lstm, Slice

_LARGEST_SUM = 2**27 - 1  # the kernels raise it by four bits
_SMALLEST_SHIFT, _LARGEST_SHIFT = 28, 50
_LARGEST_PLACES = 22
_FACTOR_BITS = 15
RecurrentRule = Callable[[SymbolTable, Node, Grid, str, tuple[str, ...]], Held]
_FIRST_STATES = slice(4, 8)  # inputs: lengths of the sequences, initial states, peepholes


def lower(symbols: SymbolTable, node: Node, grid: Grid, name: str, members: tuple[str, ...]) -> Held:
    """The first output, `name`, of the node on the grid. Raises InputError where the operation does not support the
    node."""
    require_plain(symbols, node)
    x = symbols.plain(symbols.view(node, node.inputs[0]))
    steps, batch, _ = x.shape
    from_x = gates(symbols, node, node.inputs[1], x.grid, biases(symbols, node, GATES).sum(axis=0).ravel())
    from_h = gates(symbols, node, node.inputs[2], grid, np.zeros(len(from_x.bias)))
    units = len(from_x.bias) // GATES
    factor, offset, places = state_on(grid, node)
    value = symbols.new_value(f"{name} states", (steps, batch, units))
    symbols.operations.append(
        Lstm(node.label, members, x.value, value, from_x, from_h, x.grid.zero, grid.zero, factor, offset, places)
    )
    flat = Held(value, grid, (steps, batch, units))
    # With one direction, an axis of size 1, ONNX's order has the same bytes.
    shape = (steps, 1, batch, units)
    return symbols.reshaped(flat, shape, name)


def last(symbols: SymbolTable, node: Node, states: Held, name: str) -> Held:
    """The last of the states [steps, 1, batch, units] as `name` [1, batch, units]."""
    size = (1, *states.shape[1:])
    value = symbols.new_value(name, size)
    starts = (states.shape[0] - 1, 0, 0, 0)
    symbols.operations.append(Slice(f"{node.label} last", (), states.value, value, starts, (1, 1, 1, 1)))
    return symbols.reshaped(Held(value, states.grid, size), size[1:], name)


def state_on(grid: Grid, node: Node) -> tuple[int, int, int]:
    """Factor, offset and places that put a state, with VALUE_BITS fractional bits, on the grid."""
    real = 2.0**-VALUE_BITS / grid.scale
    places = min(_FACTOR_BITS - math.frexp(real)[1], _LARGEST_PLACES)
    if places < 1:
        raise refuse(node, f"the scale of its result, {grid.scale}, does not fit values in [-1, 1]")
    factor = min(round(real * 2**places), 2**_FACTOR_BITS - 1)
    return factor, (grid.zero << places) + (1 << (places - 1)), places


def require_plain(symbols: SymbolTable, node: Node) -> None:
    """Raises InputError unless the LSTM or GRU runs forward, on sequences of equal length, and only its states are
    read."""
    if node.attribute("direction", "forward") != "forward":
        raise refuse(node, "only the forward direction is supported")
    for attribute, plain in (("layout", 0), ("input_forget", 0), ("clip", None), ("activations", None)):
        if node.attribute(attribute, plain) != plain:
            raise refuse(node, f"its attribute {attribute!r} is not supported")
    for extra in node.inputs[_FIRST_STATES]:
        if extra and np.any(symbols.weights.get(extra, 1)):
            raise refuse(
                node,
                f"its input {extra!r} is not supported: sequences must have one length and start from a zero state",
            )
    read = {n for reader in symbols.graph.nodes for n in reader.inputs} | set(symbols.graph.outputs)
    for cell in node.outputs[2:]:
        if cell in read:
            raise refuse(node, f"its output {cell!r}, the cell state, is read; only the hidden states are supported")


def biases(symbols: SymbolTable, node: Node, count: int) -> np.ndarray:
    """float64 [2, count, units]: the biases of the input and of the state, for each gate."""
    name = node.inputs[3] if len(node.inputs) > 3 else ""
    if not name:
        return np.zeros((2, count, int(node.attribute("hidden_size"))))
    reals = symbols.reals(name)
    if reals is None:
        raise refuse(node, f"its bias {name!r} is not stored")
    return reals.reshape(2, count, -1)


def gates(symbols: SymbolTable, node: Node, name: str, grid: Grid, bias: np.ndarray) -> Gates:
    """The contribution of an operand on the grid to the gates, by the stored weight `name` [1, n * units, depth].

    bias: float64 [n, units], for the n gates.
    """
    stored = symbols.stored.get(name)
    if stored is None or stored.values.dtype != np.int8 or stored.zero.any() or stored.axis not in (None, 1):
        raise refuse(node, f"its weight {name!r} is not stored as symmetric int8, with one scale or one per row")
    weight = stored.values[0]
    if weight.min(initial=0) < -127:
        raise refuse(node, f"its weight {name!r} holds -128; quantize to [-127, 127]")
    step = np.broadcast_to(stored.scale, (len(weight),)) * grid.scale
    multiplier, shift = fixed_point.multipliers_and_shifts(step * 2.0**GATE_BITS)
    sums = np.abs(weight.astype(np.int64)).sum(axis=1) * 255
    folded = np.rint(bias / step) - grid.zero * weight.sum(axis=1, dtype=np.int64)
    if shift.min() < _SMALLEST_SHIFT or not (np.abs(folded) + sums <= _LARGEST_SUM).all():
        raise refuse(node, "its gates do not fit into 16 bits or their sums do not fit into 28 bits")
    if shift.max() > _LARGEST_SHIFT:
        raise refuse(node, f"its weight {name!r} has a scale so small that all products are 0")
    return Gates(np.ascontiguousarray(weight), folded.astype(np.int32), multiplier, shift)
