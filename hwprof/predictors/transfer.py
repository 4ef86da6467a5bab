"""A prior from other devices and a few measurements here: the latency as a mixture of theirs.

Devices resemble each other: the latency here is a sum of the latencies that predictors of other devices
foresee, with costs >= 0 per ms there, and of analytic quantities, whose share a prior holds down, as what the
others do not explain (`hwprof.predictors.shares`; one such sum for each execution hypothesis).

2026-11-20, one sum, not the other devices beside the physical models, weighed by evidence: a device unlike all
others (an accelerator, a Raspberry Pi) needs something of both. Each of 12 nasbench201 and 6 fbnet devices left
out in turn, on 4 seeds not used for the choice: 5 measurements chosen by `informative` 6.2 and 7.3 %, 10 random
ones without other devices 5.5 and 7.2 %. With 5 random ones it is worse than what it replaced: 9.4 and 7.9 %
against 8.2 and 7.3 %. Intervals from 5 errors are rough: 90 % ones held 99 and 87 %.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Self

import numpy as np

from hwprof import sampling
from hwprof.encoders.execution import HYPOTHESES
from hwprof.encoders.physical import QUANTITIES, by_hypothesis
from hwprof.errors import InputError
from hwprof.interfaces import SearchSpace
from hwprof.predictors import files, shares
from hwprof.predictors.base import LatencyPredictor, State, checked_latencies, checked_rows, fold_numbers, is_encoded
from hwprof.predictors.physical import PhysicalPredictor, candidates

MIN_SAMPLES = 3
_PHYSICAL = len(HYPOTHESES) * len(QUANTITIES)


class TransferPredictor(LatencyPredictor):
    """sources: fitted predictors of other devices for the same sort of networks. X: as for `PhysicalPredictor`,
    but rows are those of `encode`."""

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
        known = self._candidates(self.encode(X))
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
        return np.asarray(np.exp(shares.log_average(self.terms_, self._candidates(self.encode(X)), self.least_ms_)))

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

    def encode(self, X: Sequence[Any]) -> np.ndarray:
        """[n, n_features + n_sources]: the rows of `PhysicalPredictor.encode`, then the sources' ms."""
        if is_encoded(X):
            return checked_rows(np.asarray(X), _PHYSICAL + len(self.sources))
        encoded = PhysicalPredictor(self.space).encode(X)
        rows: Any = encoded  # spares physical sources to build the graphs again
        elsewhere_ms = [s.predict(rows if isinstance(s, PhysicalPredictor) else X) for s in self.sources]
        return np.column_stack([encoded, *elsewhere_ms])

    def informative(self, X: Sequence[Any], n: int) -> np.ndarray:
        """[n] row numbers: the networks to measure here first, D-optimal for errors relative to the latency,
        which the geometric mean of the sources stands for. Needs no `fit`. Raises InputError for n > len(X)."""
        encoded = self.encode(X)
        quantities = by_hypothesis(encoded[:, :_PHYSICAL])[:, HYPOTHESES.index("every")]
        shares_of = quantities / np.maximum(quantities.max(axis=0), 1)
        expected_ms = np.exp(np.log(encoded[:, _PHYSICAL:]).mean(axis=1, keepdims=True))
        expected = expected_ms / expected_ms.mean()
        rows = np.hstack([np.ones_like(expected), shares_of]) / expected
        return sampling.d_optimal(rows, n, np.random.default_rng(self.seed))

    def _candidates(self, encoded: np.ndarray) -> dict[str, shares.Candidate]:
        """Of each hypothesis: the sources' ms, free, and all quantities, held down."""
        elsewhere_ms = encoded[:, _PHYSICAL:]
        free = np.ones(elsewhere_ms.shape[1], bool)
        return {
            name: shares.Candidate(
                np.hstack([elsewhere_ms, physical.quantities]),
                np.append(free, np.zeros_like(physical.free)),
                physical.probability,
            )
            for name, physical in candidates(encoded[:, :_PHYSICAL], HYPOTHESES).items()
        }


def _rows(known: dict[str, shares.Candidate], rows: np.ndarray) -> dict[str, shares.Candidate]:
    return {name: replace(candidate, quantities=candidate.quantities[rows]) for name, candidate in known.items()}
