"""Single and multiple level quantization: clusters of weights get their values in stages, and the rest trains on (Xu et
al., Deep Neural Network Compression with Single and Multiple Level Quantization, AAAI 2018, arXiv 1803.03289).

SLQ goes by width: the free weights of each layer are clustered, the clusters that lose most get the mean of their
elements, the rest trains, and is clustered again. MLQ goes by depth, for ternary weights: one layer after the other is
quantized, and those that are free make up for it.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Literal, TypeAlias

import numpy as np
import torch
from torch import Tensor

from hwprof.compress.choice import Choice, Choices, Options
from hwprof.compress.incremental import InStages, PartlyFixed
from hwprof.compress.low_bit import TERNARY, projected
from hwprof.compress.method import Cost, Need, Network
from hwprof.compress.quantized_weights import insert_quantizers, trained_weight, with_dictionaries
from hwprof.errors import InputError
from hwprof.graph import Graph
from hwprof.training import Hooks
from hwprof.variants.low_bit import MOST_LEVELS, clustered, layers

WidthOrder: TypeAlias = Literal["largest", "smallest"]
DepthOrder: TypeAlias = Literal["first", "last", "at_once"]


class Slq:
    """levels: how many values a layer has. order: which clusters are quantized first, those of the largest or of the
    smallest loss (the sum of squared distances to their mean). Half of the clusters that are left are quantized in each
    stage."""

    name = "slq"
    paper = "Xu et al., Deep Neural Network Compression with Single and Multiple Level Quantization, AAAI 2018"
    result = "dictionary"
    needs: Collection[Need] = frozenset({"training"})

    def __init__(self, levels: int = 4, order: WidthOrder = "largest") -> None:
        if not 1 <= levels <= MOST_LEVELS:
            raise InputError(f"SLQ needs 1 to {MOST_LEVELS} levels, not {levels}")
        if order not in ("largest", "smallest"):
            raise InputError(f"SLQ has no order {order!r}; known: largest, smallest")
        self._levels, self._order = levels, order

    def options(self, graph: Graph) -> Options:  # noqa: ARG002 -- every layer has the levels that were asked for
        return {}

    def attach(self, network: Network, cost: Cost) -> Hooks:  # noqa: ARG002 -- there is nothing to decide
        self._before, self._network = network.copy(), network
        self._parts = insert_quantizers(network, lambda _, weight: PartlyFixed(weight))
        self._hooks = InStages(self._parts, self.n_stages(), self.fix)
        return self._hooks

    def choices(self) -> Choices:
        return dict.fromkeys(self._parts, Choice(levels=self._levels))

    def harm(self, layer: str, choice: Choice) -> float:  # noqa: ARG002
        return 0.0

    def finish(self, choices: Choices) -> Network:
        if not choices:
            return self._before
        self._hooks.finish()
        return with_dictionaries(self._network, self._parts, choices)

    def n_stages(self) -> int:
        return len(_clusters_of_stages(self._levels))

    def fix(self, stage: int) -> None:
        """Quantizes the clusters of the stage in each layer."""
        counts = _clusters_of_stages(self._levels)
        left = sum(counts[stage:])
        found = layers(self._network.graph)
        for name, part in self._parts.items():
            weight = trained_weight(self._network, found[name]).detach()
            part.fix(*self._chosen(weight, ~part.is_fixed, left, counts[stage]))

    def _chosen(self, weight: Tensor, is_free: Tensor, clusters: int, count: int) -> tuple[Tensor, Tensor]:
        """The elements that are quantized, bool [*shape], and the values of all, [*shape]."""
        if not is_free.any():
            return is_free, weight
        free = weight[is_free]
        values, places = clustered(free.cpu().numpy(), clusters)
        losses = np.bincount(places, (free.cpu().numpy() - values[places]) ** 2, len(values))
        first = np.argsort(-losses if self._order == "largest" else losses, kind="stable")[:count]
        elements, quantized = torch.zeros_like(is_free), weight.clone()
        elements[is_free] = torch.from_numpy(np.isin(places, first)).to(weight.device)
        quantized[is_free] = torch.from_numpy(values[places]).to(weight)
        return elements, quantized


class Mlq(Slq):
    """Ternary weights with one size for each layer. order: the layers from the first on, from the last on, or all at
    once, to compare with."""

    name = "mlq"

    def __init__(self, order: DepthOrder = "first") -> None:
        super().__init__(levels=3)
        if order not in ("first", "last", "at_once"):
            raise InputError(f"MLQ has no order {order!r}; known: first, last, at_once")
        self._depth_order = order

    def n_stages(self) -> int:
        return 1 if self._depth_order == "at_once" else len(self._parts)

    def fix(self, stage: int) -> None:
        """Quantizes the layer of the stage."""
        names = list(self._parts)[:: -1 if self._depth_order == "last" else 1]
        found = layers(self._network.graph)
        for name in names if self._depth_order == "at_once" else names[stage : stage + 1]:
            weight = trained_weight(self._network, found[name]).detach()
            values = projected(weight.reshape(1, -1), 0, TERNARY).reshape(weight.shape)
            self._parts[name].fix(torch.ones_like(weight, dtype=torch.bool), values)


def _clusters_of_stages(levels: int) -> list[int]:
    """How many clusters each stage quantizes: half of those that are left, at least one."""
    counts: list[int] = []
    while left := levels - sum(counts):
        counts.append(max(left // 2, 1))
    return counts
