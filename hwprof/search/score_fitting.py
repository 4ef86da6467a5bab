"""Scores of sampled architectures, fitted so that their errors average out (Chen et al., Fitting the Search Space of
Weight-sharing NAS with Graph Convolutional Networks, arXiv 2004.08423).

The score of a network by a supernet's weights is its quality plus an error of its own. A small graph convolutional
network is trained on the scores of some architectures and predicts those of all, as a table of the whole space. A node
is a position with its choice, one-hot; positions that follow each other are joined.

The paper's sizes were not at hand: two layers of 64 are ours. `hwprof.predictors.gcn` is the same idea for graphs of
operators, whose tables of a space take minutes; this one takes a second.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from hwprof import plugins
from hwprof.errors import InputError
from hwprof.interfaces import Arch
from hwprof.search.feasibility import one_hot

with plugins.optional_library("fitted scores"):
    import torch
    from torch import nn

    from hwprof.predictors import neural

_FEWEST = 8
_DECAY = 1e-3


class Convolutions(nn.Module):
    """Graph convolutions over the chain of positions, their mean, and a value."""

    adjacency: torch.Tensor

    def __init__(self, n_positions: int, n_features: int, hidden: int) -> None:
        super().__init__()
        chain = torch.eye(n_positions) + torch.diag(torch.ones(n_positions - 1), 1)
        chain = ((chain + chain.T) > 0).float()
        degrees = chain.sum(dim=1) ** -0.5
        self.register_buffer("adjacency", degrees[:, None] * chain * degrees)
        self.first, self.second = nn.Linear(n_features, hidden), nn.Linear(hidden, hidden)
        self.value = nn.Linear(hidden, 1)

    def forward(self, nodes: torch.Tensor) -> torch.Tensor:
        """nodes: [n, n_positions, n_features]. Returns [n]."""
        x = torch.relu(self.adjacency @ self.first(nodes))
        x = torch.relu(self.adjacency @ self.second(x))
        values: torch.Tensor = self.value(x.mean(dim=1))[:, 0]
        return values


class FittedScores:
    """choices: how many options each position has. After `fit` it maps architectures to scores."""

    def __init__(self, choices: Sequence[int], hidden: int = 64, steps: int = 300, seed: int = 0) -> None:
        self._choices, self._hidden, self._steps, self._seed = tuple(choices), hidden, steps, seed
        owner = np.repeat(np.arange(len(self._choices)), self._choices)
        self._owner = torch.from_numpy(owner == np.arange(len(self._choices))[:, None]).float()

    def fit(self, archs: Sequence[Arch], scores: Sequence[float] | np.ndarray) -> FittedScores:
        """archs, scores: [n]. Raises InputError for fewer than 8, or a score that is not finite."""
        values = np.asarray(scores, float)
        if len(values) < _FEWEST or len(values) != len(archs) or not np.isfinite(values).all():
            raise InputError(
                f"scores are fitted to at least {_FEWEST} architectures with finite scores; {len(values)} scores of "
                f"{len(archs)} architectures were given"
            )
        self._centre, self._spread = float(values.mean()), float(values.std()) or 1.0
        nodes, target = self._nodes(archs), neural.as_tensor((values - self._centre) / self._spread)
        n_positions, n_features = self._owner.shape
        self._module = neural.seeded(self._seed, lambda: Convolutions(n_positions, n_features, self._hidden))
        optimizer = torch.optim.AdamW(self._module.parameters(), 1e-2, weight_decay=_DECAY)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, self._steps)
        for _ in range(self._steps):
            loss = ((self._module(nodes) - target) ** 2).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
        return self

    def __call__(self, archs: Sequence[Arch]) -> np.ndarray:
        """archs: [n]. Returns their scores, [n], in the units of those that were fitted."""
        with torch.no_grad():
            return np.asarray(self._centre + self._spread * self._module(self._nodes(archs)).numpy().astype(float))

    def _nodes(self, archs: Sequence[Arch]) -> torch.Tensor:
        """[n, n_positions, n_features]: in each row the one-hot code of its position."""
        return torch.from_numpy(one_hot(self._choices, archs)).float()[:, None] * self._owner
