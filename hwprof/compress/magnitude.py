"""Structured magnitude pruning: the channels with the smallest weights go (Li et al., Pruning Filters for Efficient
ConvNets, ICLR 2017), in every group as many as the device's table asks for; then the small network is tuned."""

from __future__ import annotations

from hwprof.compress.choice import Choice, Choices, Options
from hwprof.compress.choices import kept_options, kept_shares, log_loss
from hwprof.compress.method import Cost, Need, Network, Outcome
from hwprof.graph import Graph
from hwprof.training import Hooks
from hwprof.variants.prune import channel_norms, prunable_groups, prune_weights


class Magnitude:
    """A baseline with which every other method is compared."""

    name = "magnitude"
    result: Outcome = "fewer channels"
    paper = "Li et al., Pruning Filters for Efficient ConvNets, ICLR 2017"
    needs: frozenset[Need] = frozenset({"tuning"})

    def options(self, graph: Graph) -> Options:
        return kept_options(graph)

    def attach(self, network: Network, cost: Cost) -> Hooks:  # noqa: ARG002 -- the projection alone asks for it
        self._network = network
        self._norms = channel_norms(network.graph, network.weights)
        self._granules = {group.name: group.granule for group in prunable_groups(network.graph)}
        return Hooks()

    def choices(self) -> Choices:
        return {}

    def harm(self, layer: str, choice: Choice) -> float:
        """The `log_loss` of the norm."""
        if choice.kept is None:
            return 0.0
        norms = self._norms[layer]
        return log_loss(float(norms[: choice.kept // self._granules[layer]].sum()), float(norms.sum()))

    def finish(self, choices: Choices) -> Network:
        network = self._network
        shares = kept_shares(network.graph, choices)
        graph, weights = prune_weights(network.graph, network.weights, shares, granule=1)
        return network.with_weights(graph, weights)
