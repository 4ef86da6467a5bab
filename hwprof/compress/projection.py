"""Choices that reach a latency with little harm: a knapsack over the table, solved greedily, or exactly where there are
few choices.

As in NetAdapt (Yang et al., ECCV 2018) the layers shrink one after the other, each time the one that saves the most
for its harm. Its latency is that of the whole network with the choice, so that a number of channels that a device does
not reward is never taken.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import TypeAlias

import numpy as np

from hwprof.compress.choice import AS_BEFORE, Choice, Choices, Options

LatencyOfChoices: TypeAlias = Callable[[Sequence[Choices]], np.ndarray]  # [n] choices to ms, [n]
Harm: TypeAlias = Callable[[str, Choice], float]
_LEAST_HARM = 1e-9
_FEW = 81  # networks of which all that are less harmful are priced


def project(
    options: Options, harm: Harm, latency_ms: LatencyOfChoices, target_ms: float, start: Choices
) -> tuple[dict[str, Choice], float]:
    """Choices at or below the target and their latency, ms; the fastest that were found, if none are.

    start: choices of the method, from which layers only become smaller; each is first taken to the option at or above
    it.
    """
    places = {layer: _place(options[layer], start.get(layer, AS_BEFORE)) for layer in options}
    ms = float(latency_ms([_at(options, places)])[0])
    first = dict(places)
    while ms > target_ms:
        step = _best_step(options, harm, latency_ms, places, ms) or _smallest(options, latency_ms, ms)
        if step is None:
            return _at(options, places), ms
        places, ms = step
    while step := _relaxed(options, harm, latency_ms, places, first, target_ms):
        places, ms = step
    places, ms = _least_harmful(options, harm, latency_ms, places, first, target_ms) or (places, ms)
    return _at(options, places), ms


_Places: TypeAlias = dict[str, int]  # by layer the place of its option


def _best_step(
    options: Options, harm: Harm, latency_ms: LatencyOfChoices, places: _Places, ms: float
) -> tuple[_Places, float] | None:
    """The smaller choice at one layer that saves the most for its harm, and the latency with it."""
    steps = [{**places, layer: i} for layer, place in places.items() for i in range(place + 1, len(options[layer]))]
    now = _harm(options, harm, places)
    best: tuple[float, _Places, float] | None = None
    for step, after_ms in _priced(options, latency_ms, steps):
        worth = (ms - after_ms) / max(_harm(options, harm, step) - now, _LEAST_HARM)
        if after_ms < ms and (best is None or worth > best[0]):
            best = worth, step, after_ms
    return None if best is None else best[1:]


def _smallest(options: Options, latency_ms: LatencyOfChoices, ms: float) -> tuple[_Places, float] | None:
    """The smallest choice at all layers, which single steps may not reach, and its latency; None where it is not below
    `ms`."""
    places = {layer: len(some) - 1 for layer, some in options.items()}
    ((_, least_ms),) = _priced(options, latency_ms, [places])
    return (places, least_ms) if least_ms < ms else None


def _relaxed(
    options: Options, harm: Harm, latency_ms: LatencyOfChoices, places: _Places, first: _Places, target_ms: float
) -> tuple[_Places, float] | None:
    """The larger choice at one layer that spares the most harm and stays within the target, and the latency with it."""
    steps = [{**places, layer: i} for layer, place in places.items() for i in range(first[layer], place)]
    found = [(step, ms) for step, ms in _priced(options, latency_ms, steps) if ms <= target_ms]
    least = min(found, key=lambda pair: _harm(options, harm, pair[0]), default=None)
    if least is None or _harm(options, harm, least[0]) >= _harm(options, harm, places):
        return None
    return least


def _least_harmful(
    options: Options, harm: Harm, latency_ms: LatencyOfChoices, places: _Places, first: _Places, target_ms: float
) -> tuple[_Places, float] | None:
    """The least harmful network within the target, where there are few and it is less harmful than the one that single
    steps found: these do not give one layer back for another."""
    ranges = [range(first[layer], len(options[layer])) for layer in options]
    if math.prod(map(len, ranges)) > _FEW:
        return None
    every = (dict(zip(options, some, strict=True)) for some in itertools.product(*ranges))
    now = _harm(options, harm, places)
    better = [step for step in every if _harm(options, harm, step) < now]
    found = [(step, ms) for step, ms in _priced(options, latency_ms, better) if ms <= target_ms]
    return min(found, key=lambda pair: _harm(options, harm, pair[0]), default=None)


def _priced(
    options: Options, latency_ms: LatencyOfChoices, steps: Sequence[_Places]
) -> Iterator[tuple[_Places, float]]:  # fmt: skip
    if steps:
        yield from zip(steps, latency_ms([_at(options, step) for step in steps]).tolist(), strict=True)


def _harm(options: Options, harm: Harm, places: _Places) -> float:
    return math.fsum(harm(layer, options[layer][place]) for layer, place in places.items() if place)


def _at(options: Options, places: _Places) -> dict[str, Choice]:
    return {layer: options[layer][place] for layer, place in places.items() if place}


def _place(options: Sequence[Choice], choice: Choice) -> int:
    """The place of the smallest option that is at least as large as the choice."""
    return max(i for i, option in enumerate(options) if _size(option) >= _size(choice))


def _size(choice: Choice) -> tuple[float, ...]:
    groups = None if choice.groups is None else -choice.groups
    sizes = choice.kept, choice.rank, choice.spatial_rank, choice.bits, choice.levels, groups
    return tuple(math.inf if n is None else n for n in sizes)
