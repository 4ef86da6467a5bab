"""An element-wise operator of one tensor and stored numbers that differ between elements, such as a Pow by a row of
exponents: a table for each different number, from which every element takes its own."""

from __future__ import annotations

import numpy as np

from hwprof.graph import Node
from hwprof.integer.lowering import folding, pair_rule, picking, tables
from hwprof.integer.lowering.symbol_table import Held, SymbolTable, refuse
from hwprof.integer.lowering.target import Target

_MOST_NUMBERS = 256


def rule(symbols: SymbolTable, node: Node, target: Target) -> Held:
    """Raises InputError where both operands are computed, or the stored one has too many different numbers."""
    stored = [name for name in node.inputs if name not in symbols.views and symbols.reals(name) is not None]
    if len(stored) != 1:
        raise refuse(node, "both of its operands are computed; one must be stored")
    (other,), (name,) = stored, [name for name in node.inputs if name != stored[0]]
    x, size = symbols.view(node, name), symbols.graph.shape(node.outputs[0])
    x = x if x.shape == size else pair_rule.expanded(symbols, x, size)
    array = symbols.weights[other] if other in symbols.weights else symbols.stored[other].real().astype(np.float32)
    numbers, places = np.unique(array, return_inverse=True)
    if len(numbers) > _MOST_NUMBERS:
        raise refuse(node, f"its operand {other!r} has {len(numbers)} different numbers; at most {_MOST_NUMBERS} may")
    results = [_tabulated(symbols, node, x, {name: x.grid.reals(), other: number}, target) for number in numbers]
    own = np.broadcast_to(places.reshape(array.shape), size)  # the table of each element
    at = picking.numbered(size) + own * own.size
    return picking.picked_of(symbols, node, results, at, target)


def _tabulated(symbols: SymbolTable, node: Node, x: Held, arrays: dict[str, np.ndarray], target: Target) -> Held:
    """The operator with one number for all elements."""
    with np.errstate(all="ignore"):
        (values,) = folding.folded(symbols.graph, node, arrays).values()
    reals = tables.beside_the_domain(values.astype(np.float32))
    if np.isnan(reals).any():
        raise refuse(node, f"{target.name!r} is not a number for some of the {len(reals)} values of its input")
    return tables.tabulated(
        symbols, x, target.grid.quantized(reals), target.grid, f"{target.name} by one number", target.members
    )
