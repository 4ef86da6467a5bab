"""Structured magnitude pruning: the channels with the smallest weights go (Li et al., Pruning Filters for Efficient
ConvNets, ICLR 2017), in every group as many as the device's table asks for; then the small network is tuned."""

from __future__ import annotations

from hwprof.compress.choice import Choice, Choices, Options
from hwprof.compress.choices import kept_options, kept_shares, log_loss
from hwprof.compress.method import Cost, Need, Network, Outcome
from hwprof.graph import Graph
from hwprof.training import Hooks
from hwprof.variants.prune import producer_norms, prunable_groups, prune_weights


class Magnitude:
    """A baseline with which every other method is compared."""

    name = "magnitude"
    result: Outcome = "fewer channels"
    paper = "Li et al., Pruning Filters for Efficient ConvNets, ICLR 2017"
    needs: frozenset[Need] = frozenset({"tuning"})
    version = 2  # the harm of channels that several layers make

    def options(self, graph: Graph) -> Options:
        return kept_options(graph)

    def attach(self, network: Network, cost: Cost) -> Hooks:  # noqa: ARG002 -- the projection alone asks for it
        self._network = network
        self._norms = producer_norms(network.graph, network.weights)
        self._granules = {group.name: group.granule for group in prunable_groups(network.graph)}
        return Hooks()

    def choices(self) -> Choices:
        return {}

    def harm(self, layer: str, choice: Choice) -> float:
        """The sum of the `log_loss` of the norms of all layers that make the channels: a network whose blocks add to
        one stream of features loses more with a feature of that than with one inside of a block."""
        if choice.kept is None:
            return 0.0
        left = choice.kept // self._granules[layer]
        return sum(log_loss(float(norms[:left].sum()), float(norms.sum())) for norms in self._norms[layer])

    def finish(self, choices: Choices) -> Network:
        network = self._network
        shares = kept_shares(network.graph, choices)
        graph, weights = prune_weights(network.graph, network.weights, shares, granule=1)
        return network.with_weights(graph, weights)
