"""Any source of latencies (a table, a predictor, a function of graphs) as a function of architectures (floor 4)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal, TypeAlias

import numpy as np

from hwprof.errors import InputError
from hwprof.interfaces import Arch, LatencyFunction, Predictor, SearchSpace
from hwprof.latency_table import LatencyTable

Source: TypeAlias = LatencyTable | Predictor | LatencyFunction
Inputs: TypeAlias = Literal["auto", "graph", "arch"]
ArchLatency: TypeAlias = Callable[[np.ndarray], np.ndarray]  # archs [n, n_positions] -> ms [n]


def of_archs(source: Source, space: SearchSpace, inputs: Inputs = "auto") -> ArchLatency:
    """A function of archs [n, n_positions] that returns ms [n], and asks nothing of the source twice.

    `inputs`: what the source takes. "auto" asks a predictor with a graph, and takes it for one of
    architectures when it refuses; a plain function takes graphs.
    """
    known: dict[Arch, float] = {}
    latency_ms: Callable[[Sequence[Any]], np.ndarray] = getattr(source, "predict", None) or source  # type: ignore[assignment]  # a table and a function are callable
    takes_archs = _takes_archs(source, space) if inputs == "auto" else inputs == "arch"

    def of(archs: np.ndarray) -> np.ndarray:
        keys = [tuple(int(c) for c in arch) for arch in archs]
        new = [key for key in dict.fromkeys(keys) if key not in known]
        if new:
            networks = new if takes_archs else [space.graph(arch) for arch in new]
            known.update(zip(new, map(float, latency_ms(networks)), strict=True))
        return np.array([known[key] for key in keys])

    return of


def _takes_archs(source: Source, space: SearchSpace) -> bool:
    if isinstance(source, LatencyTable):
        return source.holds_choices
    predict = getattr(source, "predict", None)
    if predict is None:
        return False
    try:
        predict([space.graph((0,) * len(space.choices))])
    except InputError:
        return True
    return False
