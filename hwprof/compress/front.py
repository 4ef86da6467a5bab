"""The front of harm against latency: which choices of layers are best at each latency.

A knapsack whose sums need not be separate: the latency is that of the whole network with the choices, so that borders
between layers of different types count. It is solved by Lagrange multipliers (Everett, Operations Research 11, 1963;
for bits as in Shoham and Gersho, IEEE TASSP 36, 1988): at each price of harm, layers and runs of neighbouring layers
take the option of the least sum until none changes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from hwprof.compress.choice import AS_BEFORE, Choice, Choices, Options

Harm: TypeAlias = Callable[[str, Choice], float]  # of a layer with a choice; adds up over layers
LatencyOf: TypeAlias = Callable[[Choices], float]  # of the whole network, ms
_PRICES = 24
_SPAN = 4.0  # decades of the prices to each side of that at which all harm costs as much as all time
_RUNS = (2, 4, 8, 16, 32)  # lengths of the runs of layers that change together
_MOST_PASSES = 8


@dataclass(frozen=True, slots=True)
class Point:
    """Choices, with the sum of their harm and their latency."""

    choices: Choices
    harm: float
    ms: float


def front(options: Options, harm: Harm, latency_ms: LatencyOf) -> list[Point]:
    """The points that no other found one beats in both harm and latency, the fastest first; the network as before is
    one of the candidates. options: layers in the order of the network."""
    walk = _Walk(options, harm, latency_ms)
    smallest = {layer: some[-1] for layer, some in options.items()}
    for start in ({}, smallest):
        prices = walk.prices(smallest)
        choices: Choices = start
        for price in prices if start else prices[::-1]:  # from all changed with harm for free, or from none
            choices = walk.settled(choices, price)
    return _best(walk.seen)


def _best(points: Sequence[Point]) -> list[Point]:
    best: list[Point] = []
    for point in sorted(points, key=lambda p: (p.ms, p.harm)):
        if not best or point.harm < best[-1].harm:
            best.append(point)
    return best


class _Walk:
    """Keeps every point at which it came to rest or which bettered one."""

    def __init__(self, options: Options, harm: Harm, latency_ms: LatencyOf) -> None:
        self._options, self._harm, self._latency_ms = options, harm, latency_ms
        self._layers = list(options)
        self.seen: list[Point] = [self._point({})]

    def prices(self, smallest: Choices) -> np.ndarray:
        """Prices of one unit of harm, ms, ascending."""
        least, whole = self._point(smallest), self.seen[0]
        middle = max(whole.ms, least.ms) / least.harm if least.harm > 0 else 1.0
        return middle * np.logspace(-_SPAN, _SPAN, _PRICES)

    def settled(self, choices: Choices, price: float) -> Choices:
        """The choices after steps that each lower latency + price x harm, until there is none."""
        now = self._point(choices)
        for _ in range(_MOST_PASSES):
            before = now
            for step in self._steps():
                changed = {layer: choice for layer, choice in {**now.choices, **step}.items() if choice != AS_BEFORE}
                if changed == now.choices:
                    continue
                other = self._point(changed)
                if other.ms + price * other.harm < now.ms + price * now.harm:
                    now = other
                    self.seen.append(now)
            if now is before:
                break
        return now.choices

    def _steps(self) -> Iterator[Choices]:
        """Changes of one layer, and of runs of layers to their first or their second option."""
        for layer, some in self._options.items():
            yield from ({layer: choice} for choice in some)
        for length in _RUNS:
            for start in range(0, len(self._layers) - length + 1, max(length // 2, 1)):
                run = self._layers[start : start + length]
                yield dict.fromkeys(run, AS_BEFORE)
                yield {layer: self._options[layer][1] for layer in run}

    def _point(self, choices: Choices) -> Point:
        harm = sum(self._harm(layer, choice) for layer, choice in choices.items())
        return Point(dict(choices), float(harm), self._latency_ms(choices))
