"""A Where that masks elements of a computed tensor with a stored number, as a saturating sum.

Before a softmax the number is so low that it is at the end of the result's grid. A masked element is then its sum with
a large negative number, any other element its sum with 0.
"""

from __future__ import annotations

import numpy as np

from hwprof.graph import Node
from hwprof.integer.lowering import code_rule
from hwprof.integer.lowering.symbol_table import Held, SymbolTable, refuse
from hwprof.integer.lowering.target import Target
from hwprof.integer.numerics.grid import Grid


def masks(symbols: SymbolTable, node: Node) -> bool:
    """Whether one of the branches is a stored number."""
    return any(code_rule.number(symbols, name) is not None for name in node.inputs[1:])


def summands(symbols: SymbolTable, node: Node, target: Target) -> tuple[Held, Held]:
    """The computed tensor, and the tensor that is added to it. Raises InputError for another kind of Where."""
    condition, *branches = node.inputs
    numbers = [code_rule.number(symbols, name) for name in branches]
    kept = 1 if numbers[1] is None else 0
    number = numbers[1 - kept]
    if number is None or numbers[kept] is not None:
        raise refuse(node, "it must select between a computed tensor and one stored number")
    end = target.grid.nearest(float(number))
    if end not in (0, 255):
        raise refuse(node, f"its number {float(number):g} is inside the range of its result, not at an end")
    x = symbols.view(node, branches[kept])
    # 255 steps of this grid exceed the ranges of x and of the result: they lead beyond the end from any value.
    grid = Grid(x.grid.scale + target.grid.scale, 255 - end)
    return x, _hidden(symbols, node, condition, bool(kept), grid)


def _hidden(symbols: SymbolTable, node: Node, condition: str, hides_if: bool, grid: Grid) -> Held:
    """The end of the grid farther from its zero where the condition is `hides_if`, 0 elsewhere."""

    def held(hides: np.ndarray) -> np.ndarray:
        return np.where(hides.astype(bool) == hides_if, 255 - grid.zero, grid.zero).astype(np.uint8)

    if condition in symbols.weights:
        return symbols.keep(condition, held(symbols.weights[condition]), grid)
    code = code_rule.of(symbols, condition)
    if code is None:
        raise refuse(node, f"its condition {condition!r} is neither stored nor a function of an input of integers")
    return code_rule.looked_up(symbols, node, code, held(code.values), condition, grid)
