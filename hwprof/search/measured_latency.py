"""Latencies that a search measures itself, and after a while predicts from its own measurements where that is certain.

2026-11-29, which networks are not measured. After the first `FEWEST`, a network whose whole interval is on one side of
the limit is taken at the end of the interval that is nearer to the limit; all others are measured, and join what is
learned from. So a search pays for the networks near its limit alone. The intervals are valid for networks like those
that were measured, and a search moves on: this is sound because a prediction decides only whether a network is scored,
while the finalists are measured in any case. The alternative, to measure every candidate, costs a minute for each.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

import numpy as np

from hwprof.errors import InputError
from hwprof.graph import Graph
from hwprof.interfaces import Arch, Predictor, SearchSpace

Measure: TypeAlias = Callable[[Sequence[Graph]], np.ndarray]  # [n] graphs to ms, [n]
FEWEST = 24  # measurements to learn from; a 95 % quantile needs 19
_GROWTH = 1.25  # of the measurements, before they are learned from again


class MeasuredLatency:
    """Maps archs [n, n_positions] to ms [n]: measured, or the end of a predicted interval that is clear of the limit.

    limit_ms: the latency that matters. confidence: with which a predicted latency is above or below it. make: a new
    predictor of graphs; None measures everything. `n_measured` and `n_predicted` count architectures.
    """

    def __init__(
        self,
        measure: Measure,
        space: SearchSpace,
        limit_ms: float,
        confidence: float = 0.95,
        make: Callable[[], Predictor] | None = None,
    ) -> None:
        self._measure, self._space, self._make = measure, space, make
        self._limit_ms, self._coverage = limit_ms, 2 * confidence - 1
        self._known: dict[Arch, float] = {}
        self._graphs: list[Graph] = []
        self._measured_ms: list[float] = []
        self._predictor: Predictor | None = None
        self._learned_from = 0

    @property
    def n_measured(self) -> int:
        """How many architectures were measured."""
        return len(self._measured_ms)

    @property
    def n_predicted(self) -> int:
        """How many architectures were clearly on one side of the limit, so that they were not measured."""
        return len(self._known) - self.n_measured

    def __call__(self, archs: np.ndarray) -> np.ndarray:
        """archs: [n, n_positions]. Returns ms, [n]. Raises what the measurement raises."""
        keys = [tuple(int(choice) for choice in arch) for arch in archs]
        new = {key: self._space.graph(key) for key in dict.fromkeys(keys) if key not in self._known}
        self._known |= self._clear(new)
        unclear = {key: graph for key, graph in new.items() if key not in self._known}
        if unclear:
            self._learn(unclear)
        return np.array([self._known[key] for key in keys])

    def _clear(self, graphs: dict[Arch, Graph]) -> dict[Arch, float]:
        """The predicted latencies of those that are certainly within the limit, or certainly above it."""
        if self._predictor is None or not graphs:
            return {}
        ends = self._predictor.predict_interval(list(graphs.values()), coverage=self._coverage)
        low, high = (np.asarray(end, float) for end in ends)
        nearer = np.where(high <= self._limit_ms, high, np.where(low > self._limit_ms, low, np.nan))
        return {key: float(ms) for key, ms in zip(graphs, nearer, strict=True) if np.isfinite(ms)}

    def _learn(self, graphs: dict[Arch, Graph]) -> None:
        measured = np.asarray(self._measure(list(graphs.values())), float)
        self._known.update(zip(graphs, measured.tolist(), strict=True))
        self._graphs += graphs.values()
        self._measured_ms += measured.tolist()
        if self._make is None or self.n_measured < max(FEWEST, _GROWTH * self._learned_from):
            return
        self._learned_from = self.n_measured
        try:
            fitted = self._make().fit(self._graphs, np.array(self._measured_ms))
            fitted.predict_interval(self._graphs[:1], coverage=self._coverage)
        except InputError:  # too few for this confidence, or nothing that can be learned from: it measures on
            return
        self._predictor = fitted
