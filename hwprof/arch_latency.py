"""Any source of latencies (a table, a predictor, a function of graphs) as a function of architectures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal, TypeAlias

import numpy as np

from hwprof.errors import InputError
from hwprof.interfaces import Arch, LatencyFunction, Predictor, SearchSpace

Source: TypeAlias = Predictor | LatencyFunction  # a LatencyTable is the latter
Inputs: TypeAlias = Literal["auto", "graph", "arch"]


def of_archs(source: Source, space: SearchSpace, inputs: Inputs = "auto") -> Callable[[np.ndarray], np.ndarray]:
    """A function of archs [n, n_positions] that returns ms [n], and asks nothing of the source twice.

    `inputs`: what the source takes. "auto" asks a predictor with a graph, and takes it for one of
    architectures when it refuses; a plain function takes graphs.
    """
    known: dict[Arch, float] = {}
    predict = getattr(source, "predict", None)
    latency_ms: Callable[[Sequence[Any]], np.ndarray] = source if predict is None else predict  # type: ignore[assignment]  # what has no `predict` is callable
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
