"""A Gaussian process over features: on the residuals of a linear model, log(measured / predicted), or on scores.

The kernel is a mixture of an additive one (a smooth function of each feature alone) and a joint RBF, over standardized
logarithms of the features. A grid search by marginal likelihood times a prior chooses length scale, mixture and
signal-to-noise ratio; the noise and the leave-one-out errors then have a closed form (Rasmussen and Williams, Gaussian
Processes for Machine Learning, 2006, section 5.4.2).
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np

from hwprof.interfaces import SearchSpace
from hwprof.predictors.base import FeatureEncoder, FeatureRegressor, State, checked_rows

LENGTHS = (0.5, 1.0, 2.0, 4.0)  # in standard deviations of a feature
ADDITIVE_SHARES = (0.0, 0.5, 1.0)
SIGNAL_TO_NOISE = np.geomspace(0.03, 30, 10)
# A process costs the cube of its points: further ones only test it, and fewer tune the kernel.
MOST_POINTS, MOST_TUNED = 2000, 400
# Residuals of a physical model are mostly noise: log(signal / noise) has the prior N(log 0.3, 1.5^2).
_PRIOR_MEAN, _PRIOR_SIGMA = np.log(0.3), 1.5


class ResidualProcess:
    """Predicts residuals from features. `left_out_residuals` are exact, without refits."""

    columns_: np.ndarray
    centre_: np.ndarray
    spread_: np.ndarray
    points_: np.ndarray
    solved_: np.ndarray
    left_out_: np.ndarray

    def fit(self, features: np.ndarray, residuals: np.ndarray) -> ResidualProcess:
        """features: [n, n_features] >= 0; residuals: [n], with mean zero or nearly so."""
        logs = np.log1p(features)
        self.columns_ = _distinct(logs)
        self.centre_ = logs[:, self.columns_].mean(axis=0)
        self.spread_ = logs[:, self.columns_].std(axis=0)
        order = np.random.default_rng(0).permutation(len(residuals))
        tuned = order[:MOST_TUNED]
        every = self._points(features)
        self.length_, self.additive_, self.ratio_ = _best(every[tuned], residuals[tuned])
        kept = np.sort(order[:MOST_POINTS])
        self.points_ = every[kept]
        kernel = _kernel(self.points_, self.points_, self.length_, self.additive_)
        inverse = np.linalg.inv(self.ratio_ * kernel + np.eye(len(kept)))
        self.solved_ = inverse @ residuals[kept]
        self.left_out_ = residuals - self.predict(features)
        self.left_out_[kept] = self.solved_ / np.diag(inverse)
        return self

    def predict(self, features: np.ndarray) -> np.ndarray:
        """features: [n, n_features]. Returns the expected residuals, [n]."""
        kernel = _kernel(self._points(features), self.points_, self.length_, self.additive_)
        return np.asarray(self.ratio_ * kernel @ self.solved_)

    def left_out_residuals(self) -> np.ndarray:
        """Returns [n]: each training residual minus its prediction from all the others."""
        return self.left_out_

    def arrays(self) -> dict[str, np.ndarray]:
        """Returns everything that `from_arrays` needs to predict again: points [n, k], columns, centre and spread [k],
        solved and left_out [n], kernel [3]."""
        return {
            "process_columns": self.columns_, "process_centre": self.centre_, "process_spread": self.spread_,
            "process_points": self.points_, "process_solved": self.solved_, "process_left_out": self.left_out_,
            "process_kernel": np.array([self.length_, self.additive_, self.ratio_]),
        }  # fmt: skip

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> ResidualProcess:
        """The inverse of `arrays`, with its shapes ([n, k], ...). Raises KeyError where one is missing."""
        process = cls()
        process.columns_, process.centre_ = arrays["process_columns"], arrays["process_centre"]
        process.spread_, process.points_ = arrays["process_spread"], arrays["process_points"]
        process.solved_, process.left_out_ = arrays["process_solved"], arrays["process_left_out"]
        process.length_, process.additive_, process.ratio_ = map(float, arrays["process_kernel"])
        return process

    def _points(self, features: np.ndarray) -> np.ndarray:
        logs = np.log1p(features[:, self.columns_])
        return np.asarray((logs - self.centre_) / self.spread_)


# The fewest samples from which a process on the residual is tried.
PROCESS_FROM = 16


def helpful_process(features: np.ndarray, residuals: np.ndarray) -> tuple[ResidualProcess | None, np.ndarray]:
    """features: [n, n_features] >= 0; residuals: [n], of a model that did not see the network. Returns the process that
    corrects the model, None where its leave-one-out error is not smaller; and the residuals that are left, [n]."""
    if len(residuals) >= PROCESS_FROM:
        process = ResidualProcess().fit(features, residuals)
        left_out = process.left_out_residuals()
        if np.abs(left_out).mean() < np.abs(residuals).mean():
            return process, left_out
    return None, residuals


class ProcessRegressor(FeatureRegressor):
    """X: [n] architectures (one-hot codes), graphs (physical quantities), or rows of floats >= 0. For scores: latencies
    are better learned by the same process on the residuals of a physical model."""

    def __init__(self, space: SearchSpace | None = None) -> None:
        self.space = space

    def fit(self, X: Sequence[Any], y: Sequence[float] | np.ndarray) -> Self:
        """X: [n]; y: [n]. Raises InputError for data that cannot be learned from."""
        features, scaled = self._learned(X, y)
        self.mean_ = float(scaled.mean())
        self.process_ = ResidualProcess().fit(checked_rows(features, self.n_features_in_), scaled - self.mean_)
        self.errors_ = self.process_.left_out_residuals()
        return self

    def predict(self, X: Sequence[Any]) -> np.ndarray:
        """X: [n]. Returns [n], in the units of the target."""
        self.require_fitted()
        features = checked_rows(self.encoder_(X), self.n_features_in_)
        return self.target.from_scale(self.mean_ + self.process_.predict(features))

    def state(self) -> State:
        self.require_fitted()
        choices = None if self.encoder_.choices is None else list(self.encoder_.choices)
        settings = {"choices": choices, "features": self.n_features_in_, "mean": self.mean_}
        return State(settings, self.process_.arrays())

    def restore(self, state: State) -> Self:
        self.encoder_ = FeatureEncoder(state.settings["choices"])
        self.n_features_in_, self.mean_ = int(state.settings["features"]), float(state.settings["mean"])
        self.process_ = ResidualProcess.from_arrays(state.arrays)
        self.errors_ = self.process_.left_out_residuals()
        return self


def _best(points: np.ndarray, residuals: np.ndarray) -> tuple[float, float, float]:
    """points: [n, k]; residuals: [n]. Returns the point of the grid (length, additive share, signal to noise) with the
    highest posterior."""
    best = (-np.inf, LENGTHS[0], ADDITIVE_SHARES[0], float(SIGNAL_TO_NOISE[0]))
    for length, additive in itertools.product(LENGTHS, ADDITIVE_SHARES):
        posterior, ratio = best_ratio(_kernel(points, points, length, additive), residuals)
        best = max(best, (posterior, length, additive, ratio))
    return best[1:]


def best_ratio(kernel: np.ndarray, residuals: np.ndarray) -> tuple[float, float]:
    """kernel: [n, n]; residuals: [n]. Returns the largest log posterior of a process with this kernel, and the signal
    to noise that has it."""
    values, vectors = np.linalg.eigh(kernel)
    along = (vectors.T @ residuals) ** 2
    best = (-np.inf, float(SIGNAL_TO_NOISE[0]))
    for ratio in SIGNAL_TO_NOISE:
        variance = ratio * np.maximum(values, 0) + 1
        misfit = (along / variance).sum() + np.finfo(float).tiny
        likelihood = -(len(along) * np.log(misfit) + np.log(variance).sum()) / 2
        prior = -(((np.log(ratio) - _PRIOR_MEAN) / _PRIOR_SIGMA) ** 2) / 2
        best = max(best, (float(likelihood + prior), float(ratio)))
    return best


def _distinct(logs: np.ndarray, most_alike: float = 0.999) -> np.ndarray:
    """logs: [n, n_features]. Returns the numbers of the columns that vary, without those that repeat an earlier one."""
    varying = np.flatnonzero(np.ptp(logs, axis=0) > 1e-9)
    standardized = (logs[:, varying] - logs[:, varying].mean(axis=0)) / logs[:, varying].std(axis=0)
    alike = np.abs(standardized.T @ standardized) / len(logs) > most_alike
    kept: list[int] = []
    for column in range(len(varying)):
        if not alike[column, kept].any():
            kept.append(column)
    return varying[kept]


def _kernel(a: np.ndarray, b: np.ndarray, length: float, additive: float) -> np.ndarray:
    """a: [n, k], b: [m, k], standardized. Returns [n, m], 1 on equal points."""
    k = max(a.shape[1], 1)
    squared = np.zeros((len(a), len(b)))
    alone = np.zeros((len(a), len(b)))
    for column_a, column_b in zip(a.T, b.T, strict=True):
        distance = ((column_a[:, None] - column_b) / length) ** 2
        squared += distance
        if additive:
            alone += np.exp(-distance / 2)
    joint = np.exp(-squared / (2 * k))
    return np.asarray(additive * alone / k + (1 - additive) * joint)
