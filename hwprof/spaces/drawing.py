"""Random sizes for networks that are drawn from a seed: the same ones in every version of Python and NumPy."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")


class Drawing:
    """Draws from one seed. Only `random.Random.random` is used, whose sequence never changes."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def unit(self) -> float:
        """At least 0, below 1."""
        return self._random.random()

    def chance(self, probability: float) -> bool:
        return self.unit() < probability

    def of(self, options: Sequence[T]) -> T:
        return options[int(self.unit() * len(options))]

    def log(self, low: float, high: float) -> float:
        """Log-uniform between the bounds."""
        return float(low * (high / low) ** self.unit())

    def size(self, low: int, high: int) -> int:
        """Log-uniform between the bounds, a multiple of 8 three times out of four where it is above 8, as the sizes of
        real networks are."""
        found = round(self.log(low, high))
        if found > 8 and self.chance(0.75):
            found = 8 * round(found / 8)
        return max(low, min(high, found))


def solved(amount: float, low: int, high: int) -> int:
    """The amount as a size between the bounds."""
    return max(low, min(high, round(amount)))


def side(pixels: float, low: int = 1, high: int = 512) -> int:
    """The side of a square image with this many pixels."""
    return solved(math.sqrt(max(pixels, 1.0)), low, high)
