"""Where the result of a float operator goes: what every rule that lowers one is given."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from hwprof.graph import Node
from hwprof.integer.lowering.symbol_table import Held, Scope, refuse
from hwprof.integer.numerics.grid import Grid
from hwprof.integer.program.program import Rescale


@dataclass(frozen=True, slots=True)
class Target:
    """Where a result goes: its tensor, its grid, the bounds of a fused Relu or Clip, and the nodes that it covers."""

    name: str
    grid: Grid
    low: int
    high: int
    members: tuple[str, ...]

    def covering(self, node: Node) -> Target:
        return replace(self, members=(node.label, *self.members))

    def rescale(self, multiplier: np.ndarray, shift: np.ndarray) -> Rescale:
        return Rescale(multiplier, shift, self.grid.zero, self.low, self.high)

    @property
    def is_bounded(self) -> bool:
        return (self.low, self.high) != (self.grid.low, self.grid.high)

    def require_bytes(self, node: Node) -> None:
        """Raises InputError where the result is of 16 bits, which this operator cannot make."""
        if self.grid.dtype != "uint8":
            raise refuse(
                node, "its result is of 16 bits; only sums and products of elements, functions, normalizations and "
                "what moves values can have such"
            )  # fmt: skip


Rule = Callable[[Scope, Node, Target], Held]
