"""Which of two devices runs a network faster: the first, the second, or it cannot be told.

A regression of the paired log ratio, log(latency on the first / on the second). Intervals for each device apart decide
next to nothing, because the errors of two devices have much in common; the ratio does not contain what is common (the
row on device recommendation follows Metz, Goli and Drechsler in the proceedings of SLOHA 2021, arXiv 2102.00818).

2026-11-29, when it decides. At least the 95 % quantile of the errors on networks left out, which is the usual answer,
is not enough: where few networks are far from 1, half of those that are decided can be wrong. So the threshold is also
high enough that, of the networks left out that it decides, at most 5 % are decided wrongly.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import Any, Self

import numpy as np

from hwprof.errors import InputError
from hwprof.interfaces import SearchSpace
from hwprof.predictors.base import FeatureEncoder, checked_latencies, conformal_quantile

RIDGES = np.geomspace(1e-3, 1e3, 13)  # of standardized features
WRONG = 0.05  # of the decisions, at most


class Pick(StrEnum):
    """The device to take."""

    FIRST = "A"
    SECOND = "B"
    CANNOT_TELL = "cannot tell"


class DeviceChoice:
    """A ridge regression of log ratios. space: names the choices of architectures; else they are learned from X.

    After `fit`, `threshold_` is the least |log ratio| at which it decides, infinite where it never does.
    """

    def __init__(self, space: SearchSpace | None = None) -> None:
        self.space = space

    def fit(self, X: Sequence[Any], first_ms: np.ndarray, second_ms: np.ndarray) -> Self:
        """X: [n] graphs or architectures; first_ms, second_ms: [n], of the same networks on the two devices. Raises
        InputError for latencies that cannot be learned from, or too few of them for 95 %."""
        ratios = np.log(checked_latencies(X, first_ms)) - np.log(checked_latencies(X, second_ms))
        self.encoder_ = FeatureEncoder.learned(X, self.space)
        raw = self._raw(X)
        self.centre_, self.spread_ = raw.mean(axis=0), raw.std(axis=0)
        self.mean_ = float(ratios.mean())
        self.weights_, errors = _ridge(self._features(X), ratios - self.mean_)
        left_out = ratios - errors
        quantile = conformal_quantile(np.abs(errors), 1 - WRONG)
        self.threshold_ = max(quantile, _trusted(left_out, ratios))
        return self

    def log_ratio(self, X: Sequence[Any]) -> np.ndarray:
        """X: [n]. Returns log(latency on the first / latency on the second), [n]."""
        if not hasattr(self, "weights_"):
            raise InputError("this choice of a device is not fitted; call fit(networks, first_ms, second_ms)")
        return np.asarray(self.mean_ + self._features(X) @ self.weights_)

    def pick(self, X: Sequence[Any]) -> list[Pick]:
        """X: [n]. Returns the faster device of each, [n]."""
        ratios = self.log_ratio(X)
        decided = np.where(ratios < 0, Pick.FIRST, Pick.SECOND)
        return [Pick(name) for name in np.where(np.abs(ratios) >= self.threshold_, decided, Pick.CANNOT_TELL)]

    def _raw(self, X: Sequence[Any]) -> np.ndarray:
        return np.asarray(np.log1p(self.encoder_(X).astype(float)))

    def _features(self, X: Sequence[Any]) -> np.ndarray:
        return np.asarray((self._raw(X) - self.centre_) / np.where(self.spread_ > 1e-9, self.spread_, np.inf))


def _ridge(features: np.ndarray, target: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """features: [n, k]; target: [n]. Returns the weights [k] and the leave-one-out errors [n] of the ridge with the
    smallest ones, in closed form."""
    left, values, right = np.linalg.svd(features, full_matrices=False)
    along, best = left.T @ target, (np.inf, np.zeros(features.shape[1]), target)
    for ridge in RIDGES * len(target) / 100:
        shrunk = values**2 / (values**2 + ridge)
        leverage = (left**2 @ shrunk) + 1 / len(target)  # the mean is fitted, too
        errors = (target - left @ (shrunk * along)) / np.maximum(1 - leverage, 1e-9)
        if (total := float((errors**2).sum())) < best[0]:
            weights = right.T @ (along * values / (values**2 + ridge))
            best = (total, weights, errors)
    return best[1:]


def _trusted(predicted: np.ndarray, ratios: np.ndarray) -> float:
    """predicted: [n], each without its own network; ratios: [n]. Returns the least |predicted| from which on the share
    of wrong signs stays at most `WRONG`, with one wrong one added; infinite where it never is."""
    order = np.argsort(-np.abs(predicted))
    is_wrong = (predicted * ratios < 0)[order]
    shares = (np.cumsum(is_wrong) + 1) / (np.arange(len(order)) + 1)
    good = np.flatnonzero(shares <= WRONG)
    return float(np.abs(predicted)[order[good[-1]]]) if len(good) else float("inf")
