"""A prior from other devices and a few measurements here: the latency as a mixture of theirs.

Devices resemble each other: the latency here is a sum of the latencies that predictors of other devices
foresee, with costs >= 0 per ms there, fitted like analytic quantities (`hwprof.predictors.shares`). That
model stands beside the physical ones of the same measurements, and the evidence weighs them: with five
measurements the other devices decide, with fifty hardly.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Self

import numpy as np

from hwprof.encoders.execution import HYPOTHESES
from hwprof.errors import InputError
from hwprof.interfaces import SearchSpace
from hwprof.predictors import files, shares
from hwprof.predictors.base import LatencyPredictor, State, checked_latencies, fold_numbers
from hwprof.predictors.physical import PhysicalPredictor, candidates

MIN_SAMPLES = 3
# Before any measurement: how much the other devices are believed against the physical models.
_PRIOR = 0.5


class TransferPredictor(LatencyPredictor):
    """sources: fitted predictors of other devices for the same sort of networks. X: as for `PhysicalPredictor`."""

    def __init__(
        self, sources: Sequence[LatencyPredictor] = (), space: SearchSpace | None = None, seed: int = 0
    ) -> None:  # fmt: skip
        self.sources = sources
        self.space = space
        self.seed = seed

    def __sklearn_clone__(self) -> TransferPredictor:
        """The sources stay fitted: they are this predictor's prior knowledge, not its parts."""
        return TransferPredictor(self.sources, self.space, self.seed)

    def fit(self, X: Sequence[Any], y: Sequence[float] | np.ndarray) -> TransferPredictor:
        """X: [n], y, ms: [n], n >= 3. Raises InputError for data that cannot be learned from, or without sources."""
        if not self.sources:
            raise InputError("transfer needs predictors of other devices as its sources; none was given")
        latencies_ms = checked_latencies(X, y, MIN_SAMPLES)
        known = self._candidates(X)
        self.least_ms_ = float(latencies_ms.min()) / 10
        folds = fold_numbers(len(latencies_ms), self.seed)
        errors = np.empty(len(latencies_ms))
        for fold in range(folds.max() + 1):
            out = folds == fold
            terms = shares.mixture(_rows(known, ~out), latencies_ms[~out])
            errors[out] = np.log(latencies_ms[out]) - shares.log_average(terms, _rows(known, out), self.least_ms_)
        self.terms_ = shares.mixture(known, latencies_ms)
        self.errors_ = errors
        return self

    def predict(self, X: Sequence[Any]) -> np.ndarray:
        """X: [n]. Returns [n], ms."""
        self.require_fitted()
        return np.asarray(np.exp(shares.log_average(self.terms_, self._candidates(X), self.least_ms_)))

    def state(self) -> State:
        self.require_fitted()
        settings = {
            "least_ms": self.least_ms_,
            "terms": shares.terms_to_record(self.terms_),
            "sources": len(self.sources),
        }
        sources = {f"source{i}.hwp": files.to_bytes(source) for i, source in enumerate(self.sources)}
        return State(settings, shares.terms_to_arrays(self.terms_) | {"errors": self.errors_}, sources)

    def restore(self, state: State) -> Self:
        names = [f"source{i}.hwp" for i in range(int(state.settings["sources"]))]
        self.sources = [files.from_bytes(state.files[name], name) for name in names]
        self.least_ms_ = float(state.settings["least_ms"])
        self.terms_ = shares.terms_from(state.settings["terms"], state.arrays)
        self.errors_ = state.arrays["errors"]
        return self

    def saved_parameters(self) -> dict[str, Any]:
        return {"space": self.space, "seed": self.seed}

    def _candidates(self, X: Sequence[Any]) -> dict[str, shares.Candidate]:
        encoded = PhysicalPredictor(self.space).encode(X)
        physical = candidates(encoded, HYPOTHESES)
        believed = {h: replace(c, probability=c.probability * (1 - _PRIOR)) for h, c in physical.items()}
        elsewhere_ms = np.column_stack([source.predict(X) for source in self.sources])
        share = _PRIOR / (len(self.sources) + 1)
        single = {
            f"source {i}": shares.Candidate(column[:, None], np.array([True]), share)
            for i, column in enumerate(elsewhere_ms.T)
        }
        mixed = shares.Candidate(elsewhere_ms, np.zeros(len(self.sources), bool), share)
        return {**believed, **single, "sources": mixed}


def _rows(known: dict[str, shares.Candidate], rows: np.ndarray) -> dict[str, shares.Candidate]:
    return {name: replace(candidate, quantities=candidate.quantities[rows]) for name, candidate in known.items()}
