"""Where the result of a float operator goes: what every rule that lowers one is given."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from hwprof.backends.integer.grid import Grid
from hwprof.backends.integer.program import Rescale
from hwprof.backends.integer.scope import Held, Scope
from hwprof.graph import Node


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


Rule = Callable[[Scope, Node, Target], Held]
