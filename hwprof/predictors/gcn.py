"""A graph convolutional network over operators, after BRP-NAS (Dudziak et al., arXiv 2007.08859).

Four layers over the symmetrically normalized adjacency. A latency is the sum of a cost >= 0 per node, not a function of
a mean over the nodes, because time adds up over operators. A score is a mean over the nodes, as in the paper.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Self

import numpy as np
import torch
from torch import nn

from hwprof.encoders.layers import LayerEncoder, Layers
from hwprof.graph import Graph
from hwprof.interfaces import Takes
from hwprof.predictors import neural
from hwprof.predictors.base import LatencyPredictor, Regressor, State, checked_targets

BATCH = 32


class GraphConvolutions(nn.Module):
    """Maps the layers of several graphs, side by side, to [n_graphs] in the regressor's units.

    costs: the output is the sum of a cost >= 0 per node, else the mean of a value of any sign.
    """

    n_typical: torch.Tensor  # nodes of a training graph: a fresh network predicts about 1 for it

    def __init__(self, n_features: int, hidden: int, depth: int, costs: bool) -> None:
        super().__init__()
        self.costs = costs
        self.register_buffer("n_typical", torch.ones(()))
        widths = [n_features] + [hidden] * depth
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in itertools.pairwise(widths))
        self.cost = nn.Linear(hidden, 1)

    def forward(self, graphs: Sequence[Layers]) -> torch.Tensor:
        """graphs: features [n_nodes, n_features] and edges [2, n_edges] each. Returns [n_graphs]."""
        sizes = [len(graph.features) for graph in graphs]
        starts = np.cumsum([0, *sizes[:-1]])
        x = torch.from_numpy(np.concatenate([graph.features for graph in graphs]))
        edges = torch.from_numpy(np.concatenate([g.edges + s for g, s in zip(graphs, starts, strict=True)], axis=1))
        adjacency = normalized_adjacency(edges, len(x))
        for layer in self.layers:
            x = torch.relu(torch.sparse.mm(adjacency, layer(x)))
        values = self.cost(x)[:, 0]
        member = torch.repeat_interleave(torch.arange(len(graphs)), torch.tensor(sizes))
        if self.costs:
            return torch.zeros(len(graphs)).index_add(0, member, nn.functional.softplus(values)) / self.n_typical
        return torch.zeros(len(graphs)).index_add(0, member, values) / torch.tensor(sizes)


class GraphRegressor(Regressor):
    """X: [n] graphs. It needs hundreds of measurements."""

    takes: Takes = "graph"

    def __init__(
        self, hidden: int = 64, depth: int = 4, epochs: int = 60, learning_rate: float = 3e-3, seed: int = 0
    ) -> None:  # fmt: skip
        self.hidden = hidden
        self.depth = depth
        self.epochs = epochs
        self.learning_rate = learning_rate
        self.seed = seed

    def fit(self, X: Sequence[Graph], y: Sequence[float] | np.ndarray) -> Self:
        """X: [n]; y: [n]. Raises InputError for data that cannot be learned from."""
        values = checked_targets(X, y, self.target)
        self.encoder_ = LayerEncoder.learned(X)
        self.units_ = neural.Units.of(values, self.target)
        layers = [self.encoder_(graph) for graph in X]

        def fit_and_predict(train: np.ndarray, test: np.ndarray) -> np.ndarray:
            module = self._trained([layers[i] for i in np.flatnonzero(train)], values[train])
            return self._predicted(module, [layers[i] for i in np.flatnonzero(test)])

        self.errors_ = neural.left_out_errors(fit_and_predict, values, self.target, self.seed)
        self.module_ = self._trained(layers, values)
        return self

    def predict(self, X: Sequence[Graph]) -> np.ndarray:
        """X: [n]. Returns [n], in the units of the target."""
        self.require_fitted()
        return self._predicted(self.module_, [self.encoder_(graph) for graph in X])

    def state(self) -> State:
        self.require_fitted()
        settings = {"kinds": list(self.encoder_.kinds), **self.units_.settings()}
        return State(settings, {"errors": self.errors_}, {"gcn.safetensors": neural.weights_of(self.module_)})

    def restore(self, state: State) -> Self:
        self.encoder_ = LayerEncoder(state.settings["kinds"])
        self.units_ = neural.Units.from_settings(state.settings)
        self.module_ = neural.restored(self._module, state.files["gcn.safetensors"])
        self.errors_ = state.arrays["errors"]
        return self

    def _module(self) -> GraphConvolutions:
        return GraphConvolutions(self.encoder_.n_features, self.hidden, self.depth, self.target.positive)

    def _trained(self, layers: Sequence[Layers], values: np.ndarray) -> nn.Module:
        module = neural.seeded(self.seed, self._module)
        module.n_typical.fill_(float(np.mean([len(graph.features) for graph in layers])))
        target = self.units_.to_units(values)
        rng = np.random.default_rng(self.seed)

        def loss(_step: int) -> torch.Tensor:
            rows = rng.permutation(len(layers))[:BATCH]
            return self.units_.loss(module([layers[i] for i in rows]), target[rows])

        neural.train(module, loss, self.epochs * -(-len(layers) // BATCH), self.learning_rate)
        return module

    def _predicted(self, module: nn.Module, layers: Sequence[Layers]) -> np.ndarray:
        with torch.no_grad():
            output = torch.cat([module(layers[i : i + BATCH]) for i in range(0, len(layers), BATCH)])
        return self.units_.from_units(output)


class GraphPredictor(LatencyPredictor, GraphRegressor):
    """Latencies, ms, by `GraphRegressor`."""


def normalized_adjacency(edges: torch.Tensor, n_nodes: int) -> torch.Tensor:
    """edges: [2, n_edges]. Returns the sparse D^-1/2 (A + A^T + I) D^-1/2, [n_nodes, n_nodes]."""
    itself = torch.arange(n_nodes).repeat(2, 1)
    both = torch.cat([edges, edges.flip(0), itself], dim=1)
    degree = torch.zeros(n_nodes).index_add(0, both[0], torch.ones(both.shape[1]))
    values = (degree[both[0]] * degree[both[1]]) ** -0.5
    return torch.sparse_coo_tensor(both, values, (n_nodes, n_nodes), check_invariants=False).coalesce()
