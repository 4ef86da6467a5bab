"""A Gaussian process of ranks over one-hot codes, for searches: it is fitted in milliseconds.

The kernel is exp(-d / length), d the number of positions at which two architectures differ: each position contributes a
factor, so that all interactions count, the higher ones less. Scores are replaced by the normal quantiles of their
ranks, because a few very bad networks would otherwise decide the scale. Length and noise maximize the marginal
likelihood (Rasmussen and Williams, Gaussian Processes for Machine Learning, 2006, section 5.4.1) on a grid.
"""

from __future__ import annotations

from statistics import NormalDist
from typing import Self

import numpy as np

LENGTHS = (0.5, 1.0, 2.0, 4.0, 8.0)  # positions
NOISES = (1e-3, 1e-2, 1e-1, 1.0)  # variance, as a share of the signal's


class RankProcess:
    """codes: [n, n_features] of 0 and 1, with the same number of ones in each row."""

    def fit(self, codes: np.ndarray, scores: np.ndarray) -> Self:
        """codes: [n, n_features]; scores: [n]."""
        self._codes = codes
        distances = _distances(codes, codes)
        target = normal_quantiles(scores)
        fits = [_fitted(distances, target, length) for length in LENGTHS]
        _, self._length, self._solved = max(fits, key=lambda fit: fit[0])
        return self

    def predict(self, codes: np.ndarray) -> np.ndarray:
        """codes: [n, n_features]. Returns [n], normal quantiles: larger is better."""
        return np.asarray(np.exp(-_distances(codes, self._codes) / self._length) @ self._solved)


def normal_quantiles(scores: np.ndarray) -> np.ndarray:
    """scores: [n]. Returns [n]: the standard normal quantiles of their ranks. Equal scores share their mean rank."""
    _, place, count = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(count) - (count + 1) / 2)[place]  # from 0
    return np.array([NormalDist().inv_cdf((rank + 0.5) / len(scores)) for rank in ranks])


def _distances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """a: [n, n_features]; b: [m, n_features]. Returns [n, m]: at how many positions they differ."""
    return np.asarray(a.sum(axis=1, keepdims=True) - a @ b.T)


def _fitted(distances: np.ndarray, target: np.ndarray, length: float) -> tuple[float, float, np.ndarray]:
    """distances: [n, n]; target: [n]. Returns the log likelihood with the best noise and amplitude, the length, and
    the solution [n]."""
    values, vectors = np.linalg.eigh(np.exp(-distances / length))
    along = vectors.T @ target
    best = (-np.inf, length, target)
    for noise in NOISES:
        variance = np.maximum(values, 0) + noise
        misfit = float((along**2 / variance).sum()) + np.finfo(float).tiny
        likelihood = -(len(target) * np.log(misfit) + np.log(variance).sum()) / 2
        if likelihood > best[0]:
            best = (float(likelihood), length, vectors @ (along / variance))
    return best
