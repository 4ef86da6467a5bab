"""The destination of a float operator's result, which every lowering rule is given."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from hwprof.graph import Node
from hwprof.integer.lowering.symbol_table import Held, SymbolTable, refuse
from hwprof.integer.numerics.grid import Grid
from hwprof.integer.program.program import Rescale


@dataclass(frozen=True, slots=True)
class Target:
    """The tensor, the grid, the bounds of a fused Relu or Clip, and the nodes that the operation covers."""

    name: str
    grid: Grid
    low: int
    high: int
    members: tuple[str, ...]

    def covering(self, node: Node) -> Target:
        return replace(self, members=(node.label, *self.members))

    def rescale(self, multiplier: np.ndarray, shift: np.ndarray) -> Rescale:
        """multiplier, shift: int32 [channels] or [1]."""
        return Rescale(multiplier, shift, self.grid.zero, self.low, self.high)

    @property
    def is_bounded(self) -> bool:
        return (self.low, self.high) != (self.grid.low, self.grid.high)

    def require_bytes(self, node: Node) -> None:
        """Raises InputError where the result has 16 bits, which this operator does not support."""
        if self.grid.dtype != "uint8":
            raise refuse(
                node,
                "its result has 16 bits; only element-wise Add and Mul, activation functions, normalization and data "
                "movement support 16-bit results",
            )  # fmt: skip


Rule = Callable[[SymbolTable, Node, Target], Held]
