"""Gradient-boosted trees on the target's scale, for latencies the logarithm (Chen and Guestrin, arXiv 1603.02754).

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
    FeatureRegressor,
    LatencyPredictor,
    State,
    checked_rows,
    fold_numbers,
    left_out_errors,
)

FOLDS = 5


class XGBoostRegressor(FeatureRegressor):
    """X: [n] architectures (one-hot codes), graphs (physical quantities), or rows of floats."""

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

    def fit(self, X: Sequence[Any], y: Sequence[float] | np.ndarray) -> Self:
        """X: [n]; y: [n]. Raises InputError for data that cannot be learned from."""
        features, scaled = self._learned(X, y)

        def fit_and_predict(train: np.ndarray, test: np.ndarray) -> np.ndarray:
            booster = self._trained(features[train], scaled[train])
            return np.asarray(booster.predict(xgboost.DMatrix(features[test])))

        self.errors_ = left_out_errors(fit_and_predict, scaled, fold_numbers(len(scaled), self.seed, FOLDS))
        self.booster_ = self._trained(features, scaled)
        return self

    def predict(self, X: Sequence[Any]) -> np.ndarray:
        """X: [n]. Returns [n], in the units of the target."""
        self.require_fitted()
        features = checked_rows(self.encoder_(X), self.n_features_in_)
        return self.target.from_scale(self.booster_.predict(xgboost.DMatrix(features)).astype(float))

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

    def _trained(self, features: np.ndarray, scaled: np.ndarray) -> xgboost.Booster:
        settings = {
            "max_depth": self.depth, "eta": self.learning_rate, "subsample": self.subsample, "seed": self.seed,
            "nthread": 1, "base_score": float(scaled.mean()),
        }  # fmt: skip
        return xgboost.train(settings, xgboost.DMatrix(features, label=scaled), num_boost_round=self.trees)


class XGBoostPredictor(LatencyPredictor, XGBoostRegressor):
    """Latencies, ms, by `XGBoostRegressor`."""
