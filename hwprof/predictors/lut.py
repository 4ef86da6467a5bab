"""A fitted look-up table: the latency as a sum of one cost per position and choice.

The sum is multilinear, so its expected latency under independent probabilities is exact. It is hard to beat on devices
whose operators add up; compare any neural predictor with it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

import numpy as np

from hwprof.encoders.one_hot import OneHotEncoder
from hwprof.interfaces import Arch, SearchSpace, Takes
from hwprof.predictors.base import LatencyPredictor, State, architectures, checked_latencies

RIDGES = np.geomspace(1e-6, 1.0, 13)


class LutPredictor(LatencyPredictor):
    """X: [n] architectures. Ridge regression on relative error; exact leave-one-out chooses the ridge.

    After `fit`, `base_ms_` is the latency of an average network, and each choice adds `costs_ms_`
    [n_positions][n_choices] to it.
    """

    takes: Takes = "arch"

    def __init__(self, space: SearchSpace | None = None) -> None:
        self.space = space

    def fit(self, X: Sequence[Arch], y: Sequence[float] | np.ndarray) -> LutPredictor:
        """X: [n]; y, ms: [n]. Raises InputError for data that cannot be learned from, and for fewer networks than the
        table has free entries."""
        archs = architectures(X)
        encoder = OneHotEncoder(self.space.choices if self.space is not None else None)
        latencies_ms = checked_latencies(X, y)
        codes = encoder.fit(archs).transform(archs)
        checked_latencies(X, y, at_least=sum(options - 1 for options in encoder.choices_) + 1)
        self.choices_ = encoder.choices_
        self.centre_ = codes.mean(axis=0)
        self.base_ms_, self.flat_costs_ms_, left_out = _ridge(codes - self.centre_, latencies_ms)
        self.least_ms_ = float(latencies_ms.min()) / 10
        self.errors_ = np.log(latencies_ms / np.maximum(left_out, self.least_ms_))
        return self

    def predict(self, X: Sequence[Arch]) -> np.ndarray:
        """X: [n]. Returns [n], ms."""
        self.require_fitted()
        codes = OneHotEncoder(self.choices_).fit(X).transform(architectures(X))
        return np.asarray(np.maximum(self.base_ms_ + (codes - self.centre_) @ self.flat_costs_ms_, self.least_ms_))

    @property
    def costs_ms_(self) -> list[np.ndarray]:
        """Returns [n_positions] arrays of [n_choices], ms: the cost that each choice adds to the mean over the training
        networks."""
        self.require_fitted()
        centred = np.split(self.flat_costs_ms_, np.cumsum(self.choices_)[:-1])
        means = np.split(self.centre_, np.cumsum(self.choices_)[:-1])
        return [costs - costs @ mean for costs, mean in zip(centred, means, strict=True)]

    def state(self) -> State:
        self.require_fitted()
        settings = {"choices": list(self.choices_), "base_ms": self.base_ms_, "least_ms": self.least_ms_}
        arrays = {"centre": self.centre_, "flat_costs_ms": self.flat_costs_ms_, "errors": self.errors_}
        return State(settings, arrays)

    def restore(self, state: State) -> Self:
        settings = state.settings
        self.choices_ = tuple(settings["choices"])
        self.base_ms_ = float(settings["base_ms"])
        self.least_ms_ = float(settings["least_ms"])
        self.centre_, self.flat_costs_ms_ = state.arrays["centre"], state.arrays["flat_costs_ms"]
        self.errors_ = state.arrays["errors"]
        return self


def _ridge(codes: np.ndarray, latencies_ms: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
    """codes: [n, k]; latencies_ms: [n].

    Returns, in ms, the intercept, the costs [k], and the prediction of each network by a fit without it, [n].
    """
    relative = np.column_stack([np.ones(len(codes)), codes]) / latencies_ms[:, None]
    scale = float(relative[:, 0].mean())
    penalized = np.append(0.0, np.full(codes.shape[1], scale))
    best: tuple[float, np.ndarray, np.ndarray] | None = None
    for ridge in RIDGES:
        gram = relative.T @ relative + np.diag(ridge * len(codes) * penalized**2)
        solver = np.linalg.solve(gram, relative.T)
        leverage = np.minimum(np.einsum("nk,kn->n", relative, solver), 0.999)
        coefficients = solver @ np.ones(len(codes))
        left_out = 1 + (relative @ coefficients - 1) / (1 - leverage)
        error = float(np.abs(left_out - 1).mean())
        if best is None or error < best[0]:
            best = error, coefficients, left_out
    assert best is not None  # RIDGES is not empty
    return float(best[1][0]), best[1][1:], best[2] * latencies_ms
