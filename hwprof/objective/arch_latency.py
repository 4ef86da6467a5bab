"""Any source of latencies (a table, a predictor, a function of graphs) as a function of architectures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal, TypeAlias

import numpy as np

from hwprof.errors import InputError
from hwprof.interfaces import Arch, LatencyFunction, Predictor, SearchSpace

Source: TypeAlias = Predictor | LatencyFunction  # a LatencyTable is the latter
Inputs: TypeAlias = Literal["auto", "graph", "arch"]
OnProgress: TypeAlias = Callable[[int, int], None]
_GRAPHS_AT_ONCE = 50  # a thousand of DARTS's fill gigabytes, and slow down the collection of garbage


class ArchLatency:
    """Called with archs [n, n_positions] it returns ms [n], and asks nothing of the source twice.

    `takes_archs`: the source is asked with architectures, which is quick; else with their graphs.
    """

    def __init__(
        self, source: Source, space: SearchSpace, inputs: Inputs = "auto", on_progress: OnProgress | None = None
    ) -> None:  # fmt: skip
        """`inputs`: what the source takes. "auto" asks a predictor with a graph, and takes it for one of
        architectures when it refuses; a plain function takes graphs. `on_progress(done, wanted)`: after each part
        of the architectures that are asked for at once."""
        predict = getattr(source, "predict", None)
        self._latency_ms: Callable[[Sequence[Any]], np.ndarray] = source if predict is None else predict  # type: ignore[assignment]  # what has no `predict` is callable
        self._space = space
        self._on_progress = on_progress
        self._known: dict[Arch, float] = {}
        self.takes_archs = _takes_archs(source, space) if inputs == "auto" else inputs == "arch"

    def __call__(self, archs: np.ndarray) -> np.ndarray:
        keys = [tuple(int(c) for c in arch) for arch in archs]
        new = [key for key in dict.fromkeys(keys) if key not in self._known]
        at_once = len(new) if self.takes_archs else _GRAPHS_AT_ONCE
        for start in range(0, len(new), max(1, at_once)):
            some = new[start : start + at_once]
            networks = some if self.takes_archs else [self._space.graph(arch) for arch in some]
            self._known.update(zip(some, map(float, self._latency_ms(networks)), strict=True))
            if self._on_progress:
                self._on_progress(start + len(some), len(new))
        return np.array([self._known[key] for key in keys])


def _takes_archs(source: Source, space: SearchSpace) -> bool:
    holds_choices: bool | None = getattr(source, "holds_choices", None)
    if holds_choices is not None:  # a table
        return holds_choices
    predict = getattr(source, "predict", None)
    if predict is None:
        return False
    try:
        predict([space.graph((0,) * len(space.choices))])
    except InputError:
        return True
    return False
