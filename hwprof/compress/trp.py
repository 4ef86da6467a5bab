"""Trained rank pruning (Xu et al., arXiv 1812.02402, 1910.04576, 2004.14566): a network that is trained to have low
rank loses little when its weights are decomposed.

Every few steps each weight becomes its truncated singular value decomposition, whose rank keeps a share of the energy
(the sum of squared singular values); the steps between are plain ones. In the same steps the sub-gradient U V^T of the
nuclear norm may be added to the weight's gradient. The final rank of each layer is the one that the device's table asks
for, where two operators are faster than one.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from hwprof.compress.choice import Choice, Choices, Options
from hwprof.compress.choices import chosen_ranks, log_loss, rank_options
from hwprof.compress.method import Cost, Need, Network, Outcome
from hwprof.graph import Graph
from hwprof.training import Hooks
from hwprof.variants.factorize import Scheme, Unfolding, factorize_weights, singular_values, smaller_ranks, unfoldings


class Trp:
    """The channel-wise scheme: a k x k convolution to fewer channels and a 1 x 1 one after it."""

    name = "trp"
    paper = "Xu et al., Trained Rank Pruning for Efficient Deep Neural Networks, arXiv 1812.02402"
    needs: frozenset[Need] = frozenset({"training", "tuning"})
    result: Outcome = "lower rank"
    scheme: Scheme = "channel"

    def __init__(self, energy: float = 0.9, nuclear: float = 3e-4, period: int = 5) -> None:
        """energy: the share that stays when a weight is truncated. nuclear: how strong the nuclear norm is; 0 leaves it
        out. period: steps from one decomposition to the next."""
        self._energy, self._nuclear, self._period = energy, nuclear, period

    def options(self, graph: Graph) -> Options:
        return rank_options(graph, self.scheme)

    def attach(self, network: Network, cost: Cost) -> Hooks:  # noqa: ARG002 -- the projection alone asks for it
        self._network = network
        found = unfoldings(network.graph, self.scheme)
        layers = {layer: found[layer] for layer in smaller_ranks(network.graph, self.scheme)}
        return _RankHooks(network, layers, self._energy, self._nuclear, self._period)

    def choices(self) -> Choices:
        """Empty: singular values that the training made small do no harm, so the projection leaves them out first."""
        return {}

    def harm(self, layer: str, choice: Choice) -> float:
        """The `log_loss` of the energy after the training."""
        ranks = chosen_ranks({layer: choice}, self.scheme)
        if not ranks:
            return 0.0
        energies = self._energies[layer]
        return log_loss(float(energies[: ranks[layer]].sum()), float(energies.sum()))

    def finish(self, choices: Choices) -> Network:
        network = self._network
        graph, weights = factorize_weights(
            network.graph, network.weights, chosen_ranks(choices, self.scheme), self.scheme
        )
        return network.with_weights(graph, weights)

    @cached_property
    def _energies(self) -> dict[str, np.ndarray]:
        """By layer, descending, [full rank]."""
        network = self._network
        found = singular_values(network.graph, network.weights, self.scheme)
        return {layer: values**2 for layer, values in found.items()}


class TrpSpatial(Trp):
    """The spatial scheme: a k x 1 convolution and a 1 x k one."""

    name = "trp_spatial"
    scheme: Scheme = "spatial"


def truncated(matrix: np.ndarray, energy: float) -> tuple[np.ndarray, np.ndarray]:
    """matrix: [n, m]. Returns the nearest matrix of the lowest rank that keeps the share of its energy, and U V^T of
    the singular vectors that stay, a sub-gradient of the nuclear norm; both [n, m]."""
    u, s, vt = np.linalg.svd(matrix, full_matrices=False)
    kept = np.cumsum(s**2)
    rank = min(int(np.searchsorted(kept, energy * kept[-1])) + 1, len(s))
    return (u[:, :rank] * s[:rank]) @ vt[:rank], u[:, :rank] @ vt[:rank]


class _RankHooks(Hooks):
    def __init__(
        self, network: Network, layers: Mapping[str, Unfolding], energy: float, nuclear: float, period: int
    ) -> None:
        self._module, self._layers = network.module, layers
        self._energy, self._nuclear, self._period = energy, nuclear, period
        self._norms: dict[str, Tensor] = {}  # by weight, in a step with a decomposition

    def before_step(self, step: int) -> None:
        self._norms = {}
        if step % self._period == 0:
            for unfolding in self._layers.values():
                self._truncate(unfolding)

    def after_backward(self, step: int) -> None:  # noqa: ARG002
        for name, norm in self._norms.items():
            gradient = self._module.tensor(name).grad
            if gradient is not None:
                gradient.add_(norm, alpha=self._nuclear)

    def _truncate(self, unfolding: Unfolding) -> None:
        weight = self._module.tensor(unfolding.weight.name)
        matrix = unfolding.matrix(weight.detach().cpu().numpy())
        nearest, norm = (torch.from_numpy(unfolding.array(a).copy()) for a in truncated(matrix, self._energy))
        with torch.no_grad():
            weight.copy_(nearest)
        if self._nuclear:
            self._norms[unfolding.weight.name] = norm.to(weight)
