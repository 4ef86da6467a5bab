"""The base classes of all predictors, checks of training data, and intervals from errors on networks left out.

A `Regressor` learns a number per network: an accuracy, or any other score. A `LatencyPredictor` is a regressor whose
numbers are latencies in ms, which are positive and whose errors are relative. A model that can learn both is written
once, as a `Regressor`; its latency predictor is `class XPredictor(LatencyPredictor, XRegressor)`.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self, TypeAlias

import numpy as np
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.exceptions import NotFittedError

from hwprof.encoders.one_hot import OneHotEncoder
from hwprof.encoders.physical import PhysicalEncoder
from hwprof.errors import InputError
from hwprof.graph import Graph
from hwprof.interfaces import Arch, Execute, SearchSpace, Takes

MIN_SAMPLES = 5
FOLDS = 10

Settings: TypeAlias = Mapping[str, Any]  # numbers, strings, lists and tables, as JSON has them


@dataclass(frozen=True, slots=True)
class State:
    """Everything that a fitted predictor has learned, ready for a file: `hwprof.predictors.files` reads and writes it.

    `files` are in the portable formats of the libraries (XGBoost JSON, safetensors), by file name.
    """

    settings: Settings
    arrays: Mapping[str, np.ndarray]
    files: Mapping[str, bytes] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Target:
    """The kind of number that a regressor learns. Models are fitted, and errors taken, on the scale that `to_scale`
    maps to and `from_scale` maps back from, both elementwise: [n] to [n]."""

    name: str
    plural: str
    unit: str
    positive: bool
    to_scale: Callable[[np.ndarray], np.ndarray]
    from_scale: Callable[[np.ndarray], np.ndarray]


LATENCY = Target("latency", "latencies", " ms", True, np.log, np.exp)
SCORE = Target("score", "scores", "", False, np.asarray, np.asarray)


class Regressor(RegressorMixin, BaseEstimator):
    """A number per network, with conformal intervals. Scores of any sign, unless a subclass sets `target`.

    A subclass states in `takes` whether it wants networks as graphs or as architectures, and sets `errors_` in `fit`:
    measured minus predicted value of each training network, [n], on the target's scale, predicted without that
    network.
    """

    target: Target = SCORE
    errors_: np.ndarray

    @property
    def takes(self) -> Takes:
        """How `fit` and `predict` want networks: "graph" or "arch". Raises InputError where a class does not say."""
        raise InputError(
            f"{type(self).__name__} does not say what it takes; give the class an attribute takes = 'graph' or 'arch'"
        )

    def fit(self, X: Sequence[Any], y: Sequence[float] | np.ndarray) -> Self:
        """X: [n] networks, as `takes` says, or what `encode` returns; y: [n]. Raises InputError for data that cannot
        be learned from."""
        raise NotImplementedError

    def predict(self, X: Sequence[Any]) -> np.ndarray:
        """X: [n] networks, or what `encode` returns. Returns [n]. Raises NotFittedError before `fit`."""
        raise NotImplementedError

    def predict_interval(self, X: Sequence[Any], coverage: float = 0.9) -> tuple[np.ndarray, np.ndarray]:
        """X: [n]. Returns lower and upper bounds, each [n]: the prediction, on the target's scale, minus and plus the
        quantile of the errors on networks left out. Raises InputError when `coverage` is not inside (0, 1)."""
        predicted = self.target.to_scale(self.predict(X))
        margin = conformal_quantile(np.abs(self.errors_), coverage)
        return self.target.from_scale(predicted - margin), self.target.from_scale(predicted + margin)

    def encode(self, X: Sequence[Any]) -> Any:
        """X: [n] networks. Returns [n] of anything that `fit` and `predict` take as well: where encoding costs time or
        memory, rows of an array that are computed once for many calls; here X itself."""
        return X

    def state(self) -> State:
        """Everything that `restore` needs, except the parameters of the constructor."""
        raise NotImplementedError

    def restore(self, state: State) -> Self:
        """Takes over the `state` of a predictor with the same parameters. Raises KeyError or ValueError when the state
        does not fit."""
        raise NotImplementedError

    def saved_parameters(self) -> dict[str, Any]:
        """The parameters of the constructor that go into a file unchanged."""
        parameters: dict[str, Any] = self.get_params(deep=False)
        return parameters

    def require_fitted(self) -> None:
        """Raises NotFittedError before `fit`."""
        if not hasattr(self, "errors_"):
            raise NotFittedError(f"this {type(self).__name__} has not learned anything yet; call fit first")


@dataclass(frozen=True, slots=True)
class Doubt:
    """Why a network's latency is not known. `is_lower_bound`: what is predicted is that of a part of the network."""

    reason: str
    is_lower_bound: bool = False


class LatencyPredictor(Regressor):
    """A regressor of latency, ms. `errors_` are log(measured / predicted).

    knows_its_domain: `doubts` tells which networks are unlike those that it learned from. most_learned: networks that
    it learns from unless asked for more. encoding: the name of what `encode` returns of graphs, if those are rows of
    numbers that depend on the graph alone: then they are kept in the folders of data sets. A subclass with another
    `encode` has another name, or none. sums_kernels: it adds up kernels, and `calibrate` is there.
    calibration_errors_: what `errors_` would be after `calibrate`, of the networks that it took, [n].
    """

    target = LATENCY
    knows_its_domain = False
    most_learned = 1000  # a Gaussian process takes their third power
    encoding = ""
    sums_kernels = False
    calibration_errors_: np.ndarray

    @property
    def asks_runtime(self) -> bool:
        """Whether `encode_with` asks the runtime which kernels it executes, because that predicts better."""
        return False

    @property
    def reported_errors(self) -> np.ndarray:
        """Returns the `errors_` of the part that predicts where the runtime is installed, [n]."""
        return self.errors_

    def calibrate(self, X: Sequence[Any], y: Sequence[float] | np.ndarray) -> Self:
        """Fits what was learned on one machine to networks, [n], that were measured on another, y: [n], ms. Raises
        InputError for latencies that cannot be learned from."""
        raise NotImplementedError

    def encode_with(self, graph: Graph, execute: Execute) -> Any:  # noqa: ARG002 -- most predictors need no runtime
        """Returns [1]: the encoded graph, with what the runtime executes of it if the predictor learns from that. A
        network that the runtime refuses is doubted."""
        return self.encode([graph])

    def doubts(self, X: Sequence[Any]) -> list[Doubt | None]:
        """X: [n]. Returns, for each network, why what `predict` says of it cannot be relied on; None where it can, or
        where the predictor does not know."""
        return [None] * len(X)


def conformal_quantile(errors: np.ndarray, coverage: float) -> float:
    """errors: [n], absolute. Returns the value that the error of a new network stays below with probability
    `coverage`. Raises InputError when `coverage` is not inside (0, 1).

    Split-conformal, interpolated between order statistics. Beyond the largest error the tail is assumed to be
    exponential; otherwise 90 % intervals would need nine samples and 99 % intervals a hundred.
    """
    if not 0 < coverage < 1:
        raise InputError(f"coverage must be a share between 0 and 1, not {coverage}")
    n = len(errors)
    level = coverage * (n + 1) / n
    if level <= 1:
        return float(np.quantile(errors, level, method="inverted_cdf"))
    median = float(np.median(errors))
    tail = math.log((1 - coverage) * (n + 1))  # negative: how far beyond the largest of n
    return float(errors.max() - tail * max(errors.max() - median, median) / math.log(n))


def checked_targets(
    X: Sequence[Any], y: Sequence[float] | np.ndarray, target: Target, at_least: int = MIN_SAMPLES
) -> np.ndarray:
    """X: [n] networks; y: [n]. Returns y as floats, [n].

    Raises InputError when the lengths differ, there are fewer than `at_least`, a value is not finite (or not positive,
    where the target is; the error names its row), or all values are equal.
    """
    values = np.asarray(y, float)
    if values.ndim != 1 or len(values) != len(X):
        raise InputError(f"{len(X)} networks need as many {target.plural}; an array of {values.shape} was given")
    if not len(values):
        raise InputError(f"there is nothing to learn from: no network and no {target.name} was given")
    bad = np.flatnonzero(~(np.isfinite(values) & ((values > 0) | (not target.positive))))
    if len(bad):
        wanted = f"a {'positive' if target.positive else 'finite'} number{target.unit and f' of{target.unit}'}"
        raise InputError(f"{target.name} {values[bad[0]]} of row {bad[0]} is not {wanted}; leave the network out")
    if len(values) < at_least:
        raise InputError(f"{len(values)} samples are too few for this predictor; it needs at least {at_least}")
    if np.ptp(values) == 0:
        raise InputError(f"all {len(values)} {target.plural} are {values[0]}{target.unit}; there is nothing to learn")
    return values


def checked_latencies(X: Sequence[Any], y: Sequence[float] | np.ndarray, at_least: int = MIN_SAMPLES) -> np.ndarray:
    """X: [n] networks; y, ms: [n]. Returns y as floats, [n]. Raises InputError as `checked_targets` does."""
    return checked_targets(X, y, LATENCY, at_least)


def fold_numbers(n: int, seed: int, folds: int = FOLDS) -> np.ndarray:
    """Returns the fold of each sample, [n], at random; the sizes of the folds differ by at most one."""
    return np.random.default_rng(seed).permutation(n) % min(folds, n)


def left_out_errors(
    fit_and_predict: Callable[[np.ndarray, np.ndarray], np.ndarray], scaled: np.ndarray, folds: np.ndarray
) -> np.ndarray:
    """scaled: [n], on the target's scale; folds: [n], numbers from 0.

    fit_and_predict(train, test), both [n] of bool, returns the predictions of the test rows on that scale, [n_test].
    Returns [n]: the values minus their predictions by models that did not see the row.
    """
    errors = np.empty(len(scaled))
    for fold in range(folds.max() + 1):
        out = folds == fold
        errors[out] = scaled[out] - fit_and_predict(~out, out)
    return errors


def is_encoded(X: Sequence[Any]) -> bool:
    """Returns whether X is an array of floats [n, n_features], not a sequence of graphs or architectures."""
    return isinstance(X, np.ndarray) and X.ndim == 2 and X.dtype.kind == "f"


def checked_rows(X: np.ndarray, n_features: int) -> np.ndarray:
    """X: [n, n_features]. Returns X. Raises InputError for another number of columns or a value that is not finite."""
    if X.shape[1] != n_features:
        raise InputError(f"this predictor needs encoded networks of {n_features} columns; {X.shape[1]} were given")
    if not np.isfinite(X).all():
        raise InputError(f"row {int(np.argmin(np.isfinite(X).all(axis=1)))} of the encoded networks is not finite")
    return X


def stacked(rows: Sequence[Any]) -> Any:
    """rows: [n], what `Regressor.encode` returned. Returns them as one array [n, n_features] if they are arrays."""
    return np.stack(rows) if isinstance(rows[0], np.ndarray) else rows


def architectures(X: Sequence[Any]) -> list[Arch]:
    """X: [n] sequences of ints, or an array [n, n_positions]. Returns [n] tuples of ints. Raises InputError for
    anything else."""
    try:
        return [tuple(operator.index(choice) for choice in arch) for arch in X]
    except TypeError:
        raise InputError(f"architectures are sequences of ints; the first row given is {X[0]!r:.80}") from None


class FeatureEncoder:
    """Encodes networks however they are given: graphs by `PhysicalEncoder`, architectures as one-hot codes; arrays of
    floats stay unchanged. `choices` is None unless it encodes architectures."""

    def __init__(self, choices: Sequence[int] | None = None) -> None:
        self.choices = choices
        self._physical = PhysicalEncoder()

    @classmethod
    def learned(cls, X: Sequence[Any], space: SearchSpace | None = None) -> FeatureEncoder:
        """X: [n]. Returns the encoder for networks that are given like X."""
        if is_encoded(X) or (len(X) and isinstance(X[0], Graph)):
            return cls()
        return cls(space.choices if space is not None else OneHotEncoder().fit(architectures(X)).choices_)

    @property
    def takes(self) -> Takes:
        """The kind of networks that it encodes."""
        return "graph" if self.choices is None else "arch"

    def __call__(self, X: Sequence[Any]) -> np.ndarray:
        """X: [n]. Returns [n, n_features]. Raises InputError when X is not of the kind that was learned from."""
        if is_encoded(X):
            return np.asarray(X)
        if len(X) and isinstance(X[0], Graph):
            if self.choices is not None:
                raise InputError("this predictor learned from architectures; graphs were given")
            return self._physical.transform(X)
        if self.choices is None:
            raise InputError("this predictor learned from graphs; architectures were given")
        return OneHotEncoder(self.choices).fit(X).transform(architectures(X))


class FeatureRegressor(Regressor):
    """A regressor of rows of features: X: [n] architectures (one-hot codes), graphs (physical quantities), or rows of
    floats. `space` names the choices; without it they are learned from X."""

    space: SearchSpace | None

    @property
    def takes(self) -> Takes:
        """After `fit`, the kind that it learned from; before, architectures if it knows their space."""
        if hasattr(self, "encoder_"):
            return self.encoder_.takes
        return "graph" if self.space is None else "arch"

    def _learned(self, X: Sequence[Any], y: Sequence[float] | np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Learns how X is encoded. Returns features [n, n_features] and targets [n] on the target's scale."""
        scaled = self.target.to_scale(checked_targets(X, y, self.target))
        self.encoder_ = FeatureEncoder.learned(X, self.space)
        features = self.encoder_(X)
        self.n_features_in_ = features.shape[1]
        return features, scaled
