"""Any source of latencies (a table, a predictor, a function of graphs) as a function of architectures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal, TypeAlias

import numpy as np

from hwprof.interfaces import Arch, LatencyFunction, Predictor, SearchSpace, Takes

Source: TypeAlias = Predictor | LatencyFunction  # a LatencyTable is the latter
Inputs: TypeAlias = Literal["auto", "graph", "arch"]
OnProgress: TypeAlias = Callable[[int, int], None]
_GRAPHS_AT_ONCE = 50  # a thousand graphs of DARTS fill gigabytes and slow the garbage collector down


class ArchLatency:
    """Maps archs [n, n_positions] to ms [n], and asks the source for each architecture only once.

    `source_takes`: the source gets architectures, which is fast, or their graphs.
    """

    def __init__(
        self, source: Source, space: SearchSpace, inputs: Inputs = "auto", on_progress: OnProgress | None = None
    ) -> None:  # fmt: skip
        """`inputs`: what the source takes, if it does not say so itself (see `takes_of`). `on_progress(done, wanted)`:
        called after each part of the architectures of one call."""
        predict = getattr(source, "predict", None)
        self._latency_ms: Callable[[Sequence[Any]], np.ndarray] = source if predict is None else predict  # type: ignore[assignment]  # what has no `predict` is callable
        self._space = space
        self._on_progress = on_progress
        self._known: dict[Arch, float] = {}
        self.source_takes = takes_of(source) if inputs == "auto" else inputs

    def __call__(self, archs: np.ndarray) -> np.ndarray:
        """archs: [n, n_positions]. Returns ms, [n]. Raises InputError for one that the source cannot take."""
        keys = [tuple(int(c) for c in arch) for arch in archs]
        new = [key for key in dict.fromkeys(keys) if key not in self._known]
        takes_archs = self.source_takes == "arch"
        at_once = len(new) if takes_archs else _GRAPHS_AT_ONCE
        for start in range(0, len(new), max(1, at_once)):
            some = new[start : start + at_once]
            networks = some if takes_archs else [self._space.graph(arch) for arch in some]
            self._known.update(zip(some, map(float, self._latency_ms(networks)), strict=True))
            if self._on_progress:
                self._on_progress(start + len(some), len(new))
        return np.array([self._known[key] for key in keys])


def takes_of(source: Source) -> Takes:
    """Returns the `takes` of a predictor or table. A source without that attribute, such as a plain function, takes
    graphs."""
    takes: Takes = getattr(source, "takes", "graph")
    return takes
