"""LUT-Q: weights that are indices into a dictionary of K values, which is learned with them (Cardinaux et al., arXiv
1911.04951; short version 1811.05355).

The network runs with Q = d[A] in place of W, and the gradient at Q changes W. After each step one step of k-means
follows: each element of W goes to its nearest value (A), each value to the mean of its elements (d). Constraints on d
make special cases: powers of two, so that a product is a shift, or a 0 to which the smallest elements go, which prunes.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Literal, TypeAlias

import numpy as np
import torch
from torch import Tensor, nn

from hwprof.compress.choice import Choice, Choices, Options
from hwprof.compress.low_bit import straight_through
from hwprof.compress.method import Cost, Need, Network
from hwprof.compress.quantized_weights import insert_quantizers, trained_weight, with_dictionaries
from hwprof.errors import InputError
from hwprof.graph import Graph
from hwprof.training import Hooks
from hwprof.variants.low_bit import MOST_LEVELS, clustered, layers

Constraint: TypeAlias = Literal["free", "pow2"]
_LEAST_POWER = -24


class LutQ:
    """levels: how many values a layer has. constraint: "pow2" makes them powers of two with a sign. pruned: the share
    of a layer's weights that are 0, which then is one of the values."""

    name = "lutq"
    paper = "Cardinaux et al., Iteratively Training Look-Up Tables for Network Quantization, arXiv 1911.04951"
    result = "dictionary"
    needs: Collection[Need] = frozenset({"training"})

    def __init__(self, levels: int = 4, constraint: Constraint = "free", pruned: float = 0.0) -> None:
        least = 2 if pruned else 1
        if not least <= levels <= MOST_LEVELS:
            raise InputError(f"LUT-Q needs {least} to {MOST_LEVELS} levels, not {levels}")
        if not 0 <= pruned < 1:
            raise InputError(f"LUT-Q cannot prune a share of {pruned}; give one of at least 0 and below 1")
        if constraint not in ("free", "pow2"):
            raise InputError(f"LUT-Q has no constraint {constraint!r}; known: free, pow2")
        self.levels, self.constraint, self.pruned = levels, constraint, pruned

    def options(self, graph: Graph) -> Options:  # noqa: ARG002 -- every layer has the levels that were asked for
        return {}

    def attach(self, network: Network, cost: Cost) -> Hooks:  # noqa: ARG002 -- there is nothing to decide
        self._before, self._network = network.copy(), network
        self._dictionaries = insert_quantizers(
            network, lambda _, weight: Dictionary(weight, self.levels, self.constraint, self.pruned)
        )
        found = layers(network.graph)
        return _KMeans([(d, trained_weight(network, found[name])) for name, d in self._dictionaries.items()])

    def choices(self) -> Choices:
        return dict.fromkeys(self._dictionaries, Choice(levels=self.levels, sparsity=self.pruned or None))

    def harm(self, layer: str, choice: Choice) -> float:  # noqa: ARG002
        return 0.0

    def finish(self, choices: Choices) -> Network:
        return with_dictionaries(self._network, self._dictionaries, choices) if choices else self._before


class _KMeans(Hooks):
    def __init__(self, pairs: Sequence[tuple[Dictionary, Tensor]]) -> None:
        self._pairs = pairs

    def after_step(self, step: int) -> None:  # noqa: ARG002
        for dictionary, weight in self._pairs:
            dictionary.update(weight.detach())


class Dictionary(nn.Module):
    """Replaces a weight by the values of a dictionary. values: [k], ascending, after a 0 where weights are pruned;
    places: of each element's value, [*shape]."""

    values: Tensor
    places: Tensor

    def __init__(self, weight: Tensor, levels: int, constraint: Constraint, pruned: float) -> None:
        super().__init__()
        self._constraint, self._n_pruned = constraint, round(pruned * weight.numel())
        self._n_zeros = 1 if pruned else 0
        kept = weight.flatten()[~self._smallest(weight).flatten()].cpu().numpy()
        found, _ = clustered(np.asarray(kept, np.float32), levels - self._n_zeros)
        free = self._constrained(torch.from_numpy(found).to(weight))
        self.register_buffer("values", torch.cat([free.new_zeros(self._n_zeros), free]))
        self.register_buffer("places", self._places(weight))

    def forward(self, weight: Tensor) -> Tensor:
        """weight: [*shape]. Returns d[A], [*shape], with the gradient of the weight."""
        return straight_through(weight, self.values[self.places.long()])

    def update(self, weight: Tensor) -> None:
        """One step of k-means. weight: [*shape]."""
        places = self._places(weight)
        flat = places.flatten().long()
        counts = torch.bincount(flat, minlength=len(self.values))
        sums = torch.zeros_like(self.values).index_add_(0, flat, weight.flatten())
        means = torch.where(counts > 0, sums / counts.clamp(min=1), self.values)
        self.values[self._n_zeros :] = self._constrained(means[self._n_zeros :])
        self.places.copy_(places)

    def _places(self, weight: Tensor) -> Tensor:
        free = self.values[self._n_zeros :]
        places = torch.bucketize(weight, (free[1:] + free[:-1]) / 2) + self._n_zeros
        return places.masked_fill(self._smallest(weight), 0).to(torch.uint8)

    def _smallest(self, weight: Tensor) -> Tensor:
        """Which elements are pruned, bool [*shape]."""
        mask = torch.zeros(weight.numel(), dtype=torch.bool, device=weight.device)
        if self._n_pruned:
            mask[weight.abs().flatten().topk(self._n_pruned, largest=False).indices] = True
        return mask.reshape(weight.shape)

    def _constrained(self, values: Tensor) -> Tensor:
        """values: [k], ascending. Returns them under the constraint, in the same order."""
        if self._constraint == "free":
            return values
        powers = values.abs().clamp(min=2.0**_LEAST_POWER).log2().round()
        return torch.where(values < 0, -1.0, 1.0) * powers.exp2()
