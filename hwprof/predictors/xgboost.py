"""Gradient-boosted trees on the logarithm of the latency (Chen and Guestrin, arXiv 1603.02754).

The usual baseline: it needs hundreds of measurements where the physical predictor needs tens.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

import numpy as np
import xgboost

from hwprof.interfaces import SearchSpace
from hwprof.predictors.base import (
    FeatureEncoder,
    LatencyPredictor,
    State,
    checked_latencies,
    checked_rows,
    fold_numbers,
)


class XGBoostPredictor(LatencyPredictor):
    """X: architectures (one-hot codes), graphs (physical quantities) or rows of floats."""

    def __init__(
        self,
        space: SearchSpace | None = None,
        trees: int = 300,
        depth: int = 4,
        learning_rate: float = 0.05,
        subsample: float = 0.8,
        seed: int = 0,
    ) -> None:
        self.space = space
        self.trees = trees
        self.depth = depth
        self.learning_rate = learning_rate
        self.subsample = subsample
        self.seed = seed

    def fit(self, X: Sequence[Any], y: Sequence[float] | np.ndarray) -> XGBoostPredictor:
        """X: [n], y, ms: [n]. Raises InputError for data that cannot be learned from."""
        log_ms = np.log(checked_latencies(X, y))
        self.encoder_ = FeatureEncoder.learned(X, self.space)
        features = self.encoder_(X)
        self.n_features_in_ = features.shape[1]
        folds = fold_numbers(len(log_ms), self.seed, folds=5)
        errors = np.empty(len(log_ms))
        for fold in range(folds.max() + 1):
            out = folds == fold
            booster = self._trained(features[~out], log_ms[~out])
            errors[out] = log_ms[out] - booster.predict(xgboost.DMatrix(features[out]))
        self.booster_ = self._trained(features, log_ms)
        self.errors_ = errors
        return self

    def predict(self, X: Sequence[Any]) -> np.ndarray:
        """X: [n]. Returns [n], ms."""
        self.require_fitted()
        features = checked_rows(self.encoder_(X), self.n_features_in_)
        return np.asarray(np.exp(self.booster_.predict(xgboost.DMatrix(features)).astype(float)))

    def state(self) -> State:
        self.require_fitted()
        choices = None if self.encoder_.choices is None else list(self.encoder_.choices)
        settings = {"choices": choices, "features": self.n_features_in_}
        files = {"trees.json": bytes(self.booster_.save_raw("json"))}
        return State(settings, {"errors": self.errors_}, files)

    def restore(self, state: State) -> Self:
        settings = state.settings
        self.encoder_ = FeatureEncoder(settings["choices"])
        self.n_features_in_ = int(settings["features"])
        self.booster_ = xgboost.Booster()
        self.booster_.load_model(bytearray(state.files["trees.json"]))
        self.errors_ = state.arrays["errors"]
        return self

    def _trained(self, features: np.ndarray, log_ms: np.ndarray) -> xgboost.Booster:
        settings = {
            "max_depth": self.depth, "eta": self.learning_rate, "subsample": self.subsample, "seed": self.seed,
            "nthread": 1, "base_score": float(log_ms.mean()),
        }  # fmt: skip
        return xgboost.train(settings, xgboost.DMatrix(features, label=log_ms), num_boost_round=self.trees)
