"""A Where that hides elements: one of a computed tensor and a number, as a sum that saturates.

In front of a softmax the number is so low that it lies at the end of its result's grid. What is hidden is then what a
sum with a large negative number is, and what is not hidden is a sum with 0.
"""

from __future__ import annotations

import numpy as np

from hwprof.graph import Node
from hwprof.integer.lowering import code_rule
from hwprof.integer.lowering.symbol_table import Held, Scope, refuse
from hwprof.integer.lowering.target import Target
from hwprof.integer.numerics.grid import Grid


def summands(scope: Scope, node: Node, target: Target) -> tuple[Held, Held]:
    """The computed tensor, and what is added to it. Raises InputError for what is no such Where."""
    condition, *branches = node.inputs
    numbers = [code_rule.number(scope, name) for name in branches]
    kept = 1 if numbers[1] is None else 0
    number = numbers[1 - kept]
    if number is None or numbers[kept] is not None:
        raise refuse(node, "only one of a computed tensor and a stored number is supported")
    end = target.grid.nearest(float(number))
    if end not in (0, 255):
        raise refuse(node, f"its number {float(number):g} lies within the range of its result, not at an end of it")
    x = scope.view(node, branches[kept])
    # 255 steps of this grid are more than the ranges of x and of the result: they lead beyond the end from anywhere.
    grid = Grid(x.grid.scale + target.grid.scale, 255 - end)
    return x, _hidden(scope, node, condition, bool(kept), grid)


def _hidden(scope: Scope, node: Node, condition: str, hides_if: bool, grid: Grid) -> Held:
    """At the other end of the grid from its zero where the condition is `hides_if`, 0 elsewhere."""

    def held(hides: np.ndarray) -> np.ndarray:
        return np.where(hides.astype(bool) == hides_if, 255 - grid.zero, grid.zero).astype(np.uint8)

    if condition in scope.weights:
        return scope.keep(condition, held(scope.weights[condition]), grid)
    code = code_rule.of(scope, condition)
    if code is None:
        raise refuse(node, f"its condition {condition!r} is neither stored nor a function of an input of integers")
    return code_rule.looked_up(scope, node, code, held(code.values), condition, grid)
