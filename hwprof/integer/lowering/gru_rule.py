"""A GRU between Q/DQ pairs as one integer operation. The grid of its output is also the grid of the state h."""

from __future__ import annotations

import numpy as np

from hwprof.graph import Node
from hwprof.integer.lowering import lstm_rule
from hwprof.integer.lowering.symbol_table import Held, SymbolTable
from hwprof.integer.numerics.gated import GATES
from hwprof.integer.numerics.grid import Grid
from hwprof.integer.program.program import Gru


def lower(
    symbols: SymbolTable, node: Node, x: Held, grid: Grid, name: str, members: tuple[str, ...], direction: int
) -> Held:
    """The states of one direction, [steps, batch, units], on the grid. x: [steps, batch, depth], in the order in which
    it is read. Raises InputError where the operation does not support the node."""
    steps, batch, _ = x.shape
    resets_behind = bool(node.attribute("linear_before_reset", 0))
    of_x, of_h = lstm_rule.biases(symbols, node, GATES)[direction]
    joined = of_x + of_h
    own = np.zeros_like(of_h)
    if resets_behind:  # then this bias is added before the reset gate is applied
        joined[GATES - 1], own[GATES - 1] = of_x[GATES - 1], of_h[GATES - 1]
    from_x = lstm_rule.gates(symbols, node, node.inputs[1], x.grid, joined.ravel(), direction)
    from_h = lstm_rule.gates(symbols, node, node.inputs[2], grid, own.ravel(), direction)
    factor, offset, places = lstm_rule.state_on(grid, node)
    shape = (steps, batch, len(from_x.bias) // GATES)
    value = symbols.new_value(f"{name} states", shape)
    grids = x.grid.zero, grid.zero
    operation = Gru(node.label, members, x.value, value, from_x, from_h, *grids, factor, offset, places, resets_behind)
    symbols.operations.append(operation)
    return Held(value, grid, shape)
