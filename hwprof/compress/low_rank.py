"""Low rank after training: each weight becomes its truncated singular value decomposition, of the rank that the
device's table asks for; then the small network is tuned. The scheme is the channel-wise one of Trained Rank Pruning (Xu
et al., arXiv 1812.02402), whose training towards low ranks is not part of it."""

from __future__ import annotations

from hwprof.compress.choice import Choice, Choices, Options
from hwprof.compress.choices import chosen_ranks, log_loss, rank_options
from hwprof.compress.method import Cost, Need, Network, Outcome
from hwprof.graph import Graph
from hwprof.training import Hooks
from hwprof.variants.factorize import factorize_weights, singular_values


class LowRank:
    """Two operators in place of one, only where the table says that they are faster."""

    name = "low_rank"
    result: Outcome = "lower rank"
    paper = "the decomposition of Xu et al., Trained Rank Pruning, arXiv 1812.02402, without its training"
    needs: frozenset[Need] = frozenset({"tuning"})

    def options(self, graph: Graph) -> Options:
        return rank_options(graph)

    def attach(self, network: Network, cost: Cost) -> Hooks:  # noqa: ARG002 -- the projection alone asks for it
        self._network = network
        self._energies = {name: s**2 for name, s in singular_values(network.graph, network.weights).items()}
        return Hooks()

    def choices(self) -> Choices:
        return {}

    def harm(self, layer: str, choice: Choice) -> float:
        """The `log_loss` of the energy."""
        if choice.rank is None:
            return 0.0
        energies = self._energies[layer]
        return log_loss(float(energies[: choice.rank].sum()), float(energies.sum()))

    def finish(self, choices: Choices) -> Network:
        network = self._network
        graph, weights = factorize_weights(network.graph, network.weights, chosen_ranks(choices))
        return network.with_weights(graph, weights)
