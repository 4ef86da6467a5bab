"""The reward of a training that was stopped early, corrected for what it does not see yet (BlockQNN: Zhong et al.,
arXiv 1808.05584 and 1708.05552, section 4.2).

The redefined reward is accuracy - mu log(cost) - rho log(density), with density the number of edges over the number of
nodes of the network: after few epochs it ranks networks more as they are ranked when training ends. The paper's mu and
rho were not at hand; where a few networks were trained to the end, `fitted` finds those of the task, of either sign.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hwprof.errors import InputError
from hwprof.graph import Graph


@dataclass(frozen=True, slots=True)
class EarlyStop:
    """mu, rho: points of score for a cost, or a density, that is e times larger."""

    mu: float = 0.0
    rho: float = 0.0

    def __call__(self, score: float, cost: float, density: float = 1.0) -> float:
        """The redefined reward. cost: positive, such as MACs, or a latency relative to another."""
        return score - self.mu * float(np.log(cost)) - self.rho * float(np.log(density))


def fitted(
    early: Sequence[float], final: Sequence[float], costs: Sequence[float], densities: Sequence[float]
) -> EarlyStop:
    """All [n], of the same networks: the least squares fit of final score - early score.

    Raises InputError for fewer than 4 networks, of which 3 would be fitted exactly.
    """
    if len(early) < 4:
        raise InputError(
            f"a reward for early stops is fitted to at least 4 networks trained to the end, not {len(early)}"
        )
    logs = np.column_stack([np.ones(len(early)), np.log(costs), np.log(densities)])
    weights = np.linalg.lstsq(logs, np.asarray(final) - np.asarray(early), rcond=None)[0]
    return EarlyStop(-float(weights[1]), -float(weights[2]))


def density(graph: Graph) -> float:
    """Edges over nodes: how many results of nodes are inputs of others, for each node."""
    made = {name for node in graph.nodes for name in node.outputs}
    edges = sum(name in made for node in graph.nodes for name in node.inputs)
    return edges / len(graph.nodes)
