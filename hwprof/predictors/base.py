"""What every predictor shares: checks of the data, and intervals from errors on networks left out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.exceptions import NotFittedError

from hwprof.errors import InputError
from hwprof.interfaces import Arch, SearchSpace

MIN_SAMPLES = 5
FOLDS = 10


class LatencyPredictor(RegressorMixin, BaseEstimator):
    """A regressor of latency, ms, with conformal intervals.

    A subclass sets `errors_` in `fit`: log(measured / predicted) of each training network, predicted
    without it.
    """

    errors_: np.ndarray

    def predict(self, X: Sequence[Any]) -> np.ndarray:
        """X: [n]. Returns [n], ms. Raises InputError before `fit`."""
        raise NotImplementedError

    def predict_interval(self, X: Sequence[Any], coverage: float = 0.9) -> tuple[np.ndarray, np.ndarray]:
        """Lower and upper bounds, ms, each [n]: the prediction times and divided by the quantile of the
        errors on left-out networks. Raises InputError when `coverage` is not inside (0, 1)."""
        predicted_ms = self.predict(X)
        factor = math.exp(conformal_quantile(np.abs(self.errors_), coverage))
        return predicted_ms / factor, predicted_ms * factor

    def require_fitted(self) -> None:
        if not hasattr(self, "errors_"):
            raise NotFittedError(f"this {type(self).__name__} has learned nothing yet; call fit first")


def conformal_quantile(errors: np.ndarray, coverage: float) -> float:
    """errors: [n], absolute. Returns the value that a new one stays below with probability `coverage`.

    Split-conformal, with interpolation between order statistics; above the largest of them the tail is
    taken as exponential, or 90 % intervals would need nine samples and 99 % intervals a hundred.
    """
    if not 0 < coverage < 1:
        raise InputError(f"coverage is a share between 0 and 1, not {coverage}")
    n = len(errors)
    level = coverage * (n + 1) / n
    if level <= 1:
        return float(np.quantile(errors, level, method="inverted_cdf"))
    median = float(np.median(errors))
    tail = math.log((1 - coverage) * (n + 1))  # negative: how far beyond the largest of n
    return float(errors.max() - tail * max(errors.max() - median, median) / math.log(n))


def checked_latencies(X: Sequence[Any], y: Sequence[float] | np.ndarray, at_least: int = MIN_SAMPLES) -> np.ndarray:
    """y, ms: [n] as floats.

    Raises InputError when lengths differ, there are fewer than `at_least`, one is not a positive finite
    number (its row is named), or all are the same.
    """
    latencies_ms = np.asarray(y, float)
    if latencies_ms.ndim != 1 or len(latencies_ms) != len(X):
        raise InputError(f"{len(X)} networks need as many latencies; an array of {latencies_ms.shape} was given")
    if not len(latencies_ms):
        raise InputError("there is nothing to learn from: no network and no latency was given")
    bad = np.flatnonzero(~(np.isfinite(latencies_ms) & (latencies_ms > 0)))
    if len(bad):
        raise InputError(f"latency {latencies_ms[bad[0]]} of row {bad[0]} is no positive number of ms; leave it out")
    if len(latencies_ms) < at_least:
        raise InputError(f"{len(latencies_ms)} samples are too few for this predictor; it needs at least {at_least}")
    if np.ptp(latencies_ms) == 0:
        raise InputError(f"all {len(latencies_ms)} latencies are {latencies_ms[0]} ms; there is nothing to learn")
    return latencies_ms


def fold_numbers(n: int, seed: int, folds: int = FOLDS) -> np.ndarray:
    """[n]: the fold of each sample, at random, in sizes that differ by at most one."""
    return np.random.default_rng(seed).permutation(n) % min(folds, n)


def is_encoded(X: Sequence[Any]) -> bool:
    """X is an array of floats [n, n_features], not a sequence of graphs or architectures."""
    return isinstance(X, np.ndarray) and X.ndim == 2 and X.dtype.kind == "f"


def checked_rows(X: np.ndarray, n_features: int) -> np.ndarray:
    """X unchanged. Raises InputError for another number of columns or a value that is not finite."""
    if X.shape[1] != n_features:
        raise InputError(f"encoded networks have {n_features} columns here; {X.shape[1]} were given")
    if not np.isfinite(X).all():
        raise InputError(f"row {int(np.argmin(np.isfinite(X).all(axis=1)))} of the encoded networks is not finite")
    return X


def architectures(X: Sequence[Any]) -> list[Arch]:
    """Each row as a tuple of ints. Raises InputError for a row that is none."""
    try:
        return [tuple(int(choice) for choice in arch) for arch in X]
    except (TypeError, ValueError):
        raise InputError(f"architectures are sequences of ints; the first row given is {X[0]!r:.80}") from None


def choices_of(space: SearchSpace | None, archs: Sequence[Arch]) -> tuple[int, ...]:
    """The number of options at each position: the space's, else what the architectures use."""
    if space is not None:
        return tuple(space.choices)
    if len({len(arch) for arch in archs}) != 1:
        raise InputError("architectures of one space have the same number of positions; these differ")
    return tuple(int(most) + 1 for most in np.max(np.asarray(archs), axis=0))
