"""A Gaussian process on what a linear model leaves over, log(measured / predicted).

The kernel is a mixture of an additive one (a smooth function of each quantity alone) and a joint RBF, over
standardized logarithms of the quantities. Length scale, mixture and signal-to-noise ratio are the best of a
grid by marginal likelihood times a prior; the noise is then known in closed form, and so are the
leave-one-out errors (Rasmussen and Williams, Gaussian Processes for Machine Learning, 2006, section 5.4.2).
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping

import numpy as np

LENGTHS = (0.5, 1.0, 2.0, 4.0)  # in standard deviations of a quantity
ADDITIVE_SHARES = (0.0, 0.5, 1.0)
SIGNAL_TO_NOISE = np.geomspace(0.03, 30, 10)
# A process costs the cube of its points: more of them only judge it, and fewer tune the kernel.
MOST_POINTS, MOST_TUNED = 2000, 400
# Residuals of a physical model are mostly noise: log(signal / noise) has the prior N(log 0.3, 1.5^2).
_PRIOR_MEAN, _PRIOR_SIGMA = np.log(0.3), 1.5


class ResidualProcess:
    """`fit`, then `predict`: [n] log ratios; `left_out_residuals` of the training data are exact, not refits."""

    columns_: np.ndarray
    centre_: np.ndarray
    spread_: np.ndarray
    points_: np.ndarray
    solved_: np.ndarray
    left_out_: np.ndarray

    def fit(self, features: np.ndarray, residuals: np.ndarray) -> ResidualProcess:
        """features: [n, n_features] >= 0; residuals: [n]."""
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
        """[n]: the expected log ratio."""
        kernel = _kernel(self._points(features), self.points_, self.length_, self.additive_)
        return np.asarray(self.ratio_ * kernel @ self.solved_)

    def left_out_residuals(self) -> np.ndarray:
        """[n]: each training residual minus its prediction from all the others."""
        return self.left_out_

    def arrays(self) -> dict[str, np.ndarray]:
        """What `from_arrays` needs to predict again."""
        return {
            "process_columns": self.columns_, "process_centre": self.centre_, "process_spread": self.spread_,
            "process_points": self.points_, "process_solved": self.solved_, "process_left_out": self.left_out_,
            "process_kernel": np.array([self.length_, self.additive_, self.ratio_]),
        }  # fmt: skip

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> ResidualProcess:
        process = cls()
        process.columns_, process.centre_ = arrays["process_columns"], arrays["process_centre"]
        process.spread_, process.points_ = arrays["process_spread"], arrays["process_points"]
        process.solved_, process.left_out_ = arrays["process_solved"], arrays["process_left_out"]
        process.length_, process.additive_, process.ratio_ = map(float, arrays["process_kernel"])
        return process

    def _points(self, features: np.ndarray) -> np.ndarray:
        logs = np.log1p(features[:, self.columns_])
        return np.asarray((logs - self.centre_) / self.spread_)


def _best(points: np.ndarray, residuals: np.ndarray) -> tuple[float, float, float]:
    """The point of the grid (length, additive share, signal to noise) of the highest posterior."""
    best = (-np.inf, LENGTHS[0], ADDITIVE_SHARES[0], float(SIGNAL_TO_NOISE[0]))
    for length, additive in itertools.product(LENGTHS, ADDITIVE_SHARES):
        values, vectors = np.linalg.eigh(_kernel(points, points, length, additive))
        along = (vectors.T @ residuals) ** 2
        for ratio in SIGNAL_TO_NOISE:
            variance = ratio * np.maximum(values, 0) + 1
            misfit = (along / variance).sum() + np.finfo(float).tiny
            likelihood = -(len(along) * np.log(misfit) + np.log(variance).sum()) / 2
            prior = -(((np.log(ratio) - _PRIOR_MEAN) / _PRIOR_SIGMA) ** 2) / 2
            best = max(best, (likelihood + prior, length, additive, float(ratio)))
    return best[1:]


def _distinct(logs: np.ndarray, most_alike: float = 0.999) -> np.ndarray:
    """Numbers of the columns that vary, but for those that say the same as an earlier one."""
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
