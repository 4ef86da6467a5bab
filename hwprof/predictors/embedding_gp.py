"""A Gaussian process over learned embeddings of layer sequences: ESNAC (Cao et al., arXiv 1902.00383).

A bidirectional LSTM reads a network layer by layer. The mean of its outputs, scaled to length 1, is the embedding h;
the kernel is exp(-|h - h'|^2 / 0.02). Training maximizes the leave-one-out likelihood, here in closed form (Rasmussen
and Williams, 2006, section 5.4.2) instead of n inversions per step.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import torch
from torch import nn

from hwprof.encoders.layers import LayerEncoder
from hwprof.encoders.one_hot import OneHotEncoder
from hwprof.graph import Graph
from hwprof.interfaces import Takes
from hwprof.predictors import neural
from hwprof.predictors.base import (
    LatencyPredictor,
    Regressor,
    State,
    architectures,
    checked_targets,
    fold_numbers,
    left_out_errors,
)

LENGTH_SQUARED = 0.01
NOISE = 0.05  # variance, of standardized targets on their scale


class Embedding(nn.Module):
    """Maps sequences of layers to the unit sphere."""

    def __init__(self, n_features: int, hidden: int) -> None:
        super().__init__()
        self.n_features = n_features
        self.lstm = nn.LSTM(n_features, hidden, bidirectional=True, batch_first=True)

    def forward(self, sequences: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """sequences: [n, longest, n_features]; lengths: [n]. Returns [n, 2 * hidden], rows of length 1."""
        packed = nn.utils.rnn.pack_padded_sequence(sequences, lengths, batch_first=True, enforce_sorted=False)
        outputs, _ = nn.utils.rnn.pad_packed_sequence(self.lstm(packed)[0], batch_first=True)
        return nn.functional.normalize(outputs.sum(dim=1) / lengths[:, None], dim=1)


@dataclass(frozen=True, slots=True)
class EmbeddingProcess:
    """A trained process. points: [n, 2 * hidden] and solved: [n], of the training networks; `centre` and `spread` of
    their targets, on the target's scale."""

    embedding: Embedding
    centre: float
    spread: float
    points: torch.Tensor
    solved: torch.Tensor

    def predict(self, sequences: torch.Tensor, lengths: torch.Tensor) -> np.ndarray:
        """sequences: [n, longest, n_features]; lengths: [n]. Returns [n], on the target's scale."""
        with torch.no_grad():
            standardized = kernel(self.embedding(sequences, lengths), self.points) @ self.solved
        return np.asarray(self.centre + self.spread * standardized.numpy().astype(float))


class EmbeddingRegressor(Regressor):
    """X: [n] architectures (a layer per position) or graphs (those operators that multiply matrices)."""

    def __init__(self, hidden: int = 24, steps: int = 100, learning_rate: float = 1e-2, seed: int = 0) -> None:
        self.hidden = hidden
        self.steps = steps
        self.learning_rate = learning_rate
        self.seed = seed

    @property
    def takes(self) -> Takes:
        """After `fit`, the kind that it learned from; before, graphs, although `fit` takes either."""
        return "arch" if getattr(self, "choices_", None) is not None else "graph"

    def fit(self, X: Sequence[Any], y: Sequence[float] | np.ndarray) -> Self:
        """X: [n]; y: [n]. Raises InputError for data that cannot be learned from."""
        scaled = self.target.to_scale(checked_targets(X, y, self.target))
        self.kinds_, self.choices_ = None, None
        if isinstance(X[0], Graph):
            self.kinds_ = LayerEncoder.learned(X).kinds
        else:
            self.choices_ = OneHotEncoder().fit(architectures(X)).choices_
        sequences, lengths = self._sequences(X)

        def fit_and_predict(train: np.ndarray, test: np.ndarray) -> np.ndarray:
            process = self._trained(sequences[train], lengths[train], scaled[train])
            return process.predict(sequences[test], lengths[test])

        self.errors_ = left_out_errors(fit_and_predict, scaled, fold_numbers(len(scaled), self.seed, neural.FOLDS))
        self.process_ = self._trained(sequences, lengths, scaled)
        return self

    def predict(self, X: Sequence[Any]) -> np.ndarray:
        """X: [n]. Returns [n], in the units of the target."""
        self.require_fitted()
        return self.target.from_scale(self.process_.predict(*self._sequences(X)))

    def state(self) -> State:
        self.require_fitted()
        process = self.process_
        settings = {
            "kinds": self.kinds_, "choices": self.choices_, "centre": process.centre, "spread": process.spread,
            "features": process.embedding.n_features,
        }  # fmt: skip
        arrays = {"errors": self.errors_, "points": process.points.numpy(), "solved": process.solved.numpy()}
        return State(settings, arrays, {"lstm.safetensors": neural.weights_of(process.embedding)})

    def restore(self, state: State) -> Self:
        settings = state.settings
        self.kinds_, self.choices_ = settings["kinds"], settings["choices"]
        features = int(settings["features"])
        embedding = neural.restored(lambda: Embedding(features, self.hidden), state.files["lstm.safetensors"])
        points, solved = (torch.from_numpy(state.arrays[name]) for name in ("points", "solved"))
        self.process_ = EmbeddingProcess(
            embedding, float(settings["centre"]), float(settings["spread"]), points, solved
        )  # fmt: skip
        self.errors_ = state.arrays["errors"]
        return self

    def _trained(self, sequences: torch.Tensor, lengths: torch.Tensor, scaled: np.ndarray) -> EmbeddingProcess:
        centre, spread = float(scaled.mean()), float(scaled.std())
        target = neural.as_tensor((scaled - centre) / max(spread, 1e-6))
        embedding = neural.seeded(self.seed, lambda: Embedding(sequences.shape[2], self.hidden))

        def loss(_step: int) -> torch.Tensor:
            error, variance = left_out(embedding(sequences, lengths), target)
            return (error**2 / variance + variance.log()).mean() / 2

        neural.train(embedding, loss, self.steps, self.learning_rate)
        with torch.no_grad():
            points = embedding(sequences, lengths)
            return EmbeddingProcess(embedding, centre, spread, points, torch.linalg.solve(noisy_kernel(points), target))

    def _sequences(self, X: Sequence[Any]) -> tuple[torch.Tensor, torch.Tensor]:
        """Returns [n, longest, n_features], padded with zeros, and the lengths [n]."""
        layers = [torch.from_numpy(rows) for rows in self._layers(X)]
        return nn.utils.rnn.pad_sequence(layers, batch_first=True), torch.tensor([len(rows) for rows in layers])

    def _layers(self, X: Sequence[Any]) -> list[np.ndarray]:
        """Returns [n] arrays of [n_layers, n_features]."""
        if self.kinds_ is not None:
            encoder = LayerEncoder(self.kinds_)
            every = [encoder(graph).features for graph in X]
            return [rows[rows[:, -4] > 0] if (rows[:, -4] > 0).any() else rows for rows in every]
        archs, choices = architectures(X), self.choices_ or ()
        codes = OneHotEncoder(choices).fit(archs).transform(archs)
        ends = np.cumsum(choices)
        # one row per position: its one-hot code at the columns of that position, so that positions differ
        owner = np.searchsorted(ends, np.arange(ends[-1]), side="right")
        return [(owner == np.arange(len(choices))[:, None]) * code.astype(np.float32) for code in codes]


class EmbeddingPredictor(LatencyPredictor, EmbeddingRegressor):
    """Latencies, ms, by `EmbeddingRegressor`."""


def left_out(points: torch.Tensor, target: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """points: [..., n, k]; target: [..., n]. Returns the error and the variance of each when it is predicted from all
    the others, both [..., n]."""
    inverse = torch.linalg.inv(noisy_kernel(points))
    diagonal = inverse.diagonal(dim1=-2, dim2=-1)
    return (inverse @ target[..., None])[..., 0] / diagonal, 1 / diagonal


def noisy_kernel(points: torch.Tensor) -> torch.Tensor:
    """points: [..., n, k], of length 1. Returns the covariances of their targets, [..., n, n]."""
    return kernel(points, points) + NOISE * torch.eye(points.shape[-2])


def kernel(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """a: [..., n, k], b: [..., m, k], of length 1. Returns [..., n, m]."""
    return torch.exp((a @ b.mT - 1) / LENGTH_SQUARED)  # |a - b|^2 = 2 - 2 a.b
