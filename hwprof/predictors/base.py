"""What every predictor shares: checks of the data, and intervals from errors on networks left out."""

from __future__ import annotations

import math
import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self, TypeAlias

import numpy as np
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.exceptions import NotFittedError

from hwprof.encoders.one_hot import OneHotEncoder
from hwprof.encoders.physical import PhysicalEncoder
from hwprof.errors import InputError
from hwprof.graph import Graph
from hwprof.interfaces import Arch, SearchSpace

MIN_SAMPLES = 5
FOLDS = 10

Settings: TypeAlias = Mapping[str, Any]  # numbers, strings, lists and tables, as JSON has them


@dataclass(frozen=True, slots=True)
class State:
    """What a fitted predictor has learned, ready for a file: `hwprof.predictors.files` reads and writes it.

    `files` are in the portable formats of the libraries (XGBoost JSON, safetensors), by file name.
    """

    settings: Settings
    arrays: Mapping[str, np.ndarray]
    files: Mapping[str, bytes] = field(default_factory=dict)


class LatencyPredictor(RegressorMixin, BaseEstimator):
    """A regressor of latency, ms, with conformal intervals.

    A subclass sets `errors_` in `fit`: log(measured / predicted) of each training network, predicted
    without it.
    """

    errors_: np.ndarray

    def predict(self, X: Sequence[Any]) -> np.ndarray:
        """X: [n]. Returns [n], ms. Raises NotFittedError before `fit`."""
        raise NotImplementedError

    def predict_interval(self, X: Sequence[Any], coverage: float = 0.9) -> tuple[np.ndarray, np.ndarray]:
        """Lower and upper bounds, ms, each [n]: the prediction times and divided by the quantile of the
        errors on left-out networks. Raises InputError when `coverage` is not inside (0, 1)."""
        predicted_ms = self.predict(X)
        factor = math.exp(conformal_quantile(np.abs(self.errors_), coverage))
        return predicted_ms / factor, predicted_ms * factor

    def state(self) -> State:
        """All that `restore` needs, but for the parameters of the constructor."""
        raise NotImplementedError

    def restore(self, state: State) -> Self:
        """Takes over what `state` of an equal predictor gave. Raises KeyError or ValueError on a foreign one."""
        raise NotImplementedError

    def saved_parameters(self) -> dict[str, Any]:
        """The parameters of the constructor that go into a file as they are."""
        parameters: dict[str, Any] = self.get_params(deep=False)
        return parameters

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
        return [tuple(operator.index(choice) for choice in arch) for arch in X]
    except TypeError:
        raise InputError(f"architectures are sequences of ints; the first row given is {X[0]!r:.80}") from None


class FeatureEncoder:
    """Whatever networks are given as, to rows of features: graphs by `PhysicalEncoder`, architectures as
    one-hot codes, arrays of floats as they are. `choices` is None but for architectures."""

    def __init__(self, choices: Sequence[int] | None = None) -> None:
        self.choices = choices

    @classmethod
    def learned(cls, X: Sequence[Any], space: SearchSpace | None = None) -> FeatureEncoder:
        """The encoder for networks given like X."""
        if is_encoded(X) or (len(X) and isinstance(X[0], Graph)):
            return cls()
        return cls(space.choices if space is not None else OneHotEncoder().fit(architectures(X)).choices_)

    def __call__(self, X: Sequence[Any]) -> np.ndarray:
        """[n, n_features]. Raises InputError when X is of another sort than what was learned from."""
        if is_encoded(X):
            return np.asarray(X)
        if len(X) and isinstance(X[0], Graph):
            if self.choices is not None:
                raise InputError("this predictor learned from architectures; graphs were given")
            return PhysicalEncoder().transform(X)
        if self.choices is None:
            raise InputError("this predictor learned from graphs; architectures were given")
        return OneHotEncoder(self.choices).fit(X).transform(architectures(X))
