"""Differentiable quantization: the step and the range of each layer's grid are learned with its weights, and so is how
many bits it has (Uhlich et al., Mixed Precision DNNs: All you need is a good parametrization, ICLR 2020, arXiv
1905.11452). The grids are those of `hwprof.compress.learned_grid`.

The square of the excess over the constraint is a penalty. It ends near the constraint, not on it: bits are whole,
and the loss pulls the other way. So for the last third of a training the bits are projected onto the constraint and
stay, as do the grids, and only states of that time are kept.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import cache
from typing import TypeAlias

import torch
from torch import Tensor

from hwprof.compress.choice import AS_BEFORE, Choice, Choices, Options
from hwprof.compress.learned_grid import (
    LEAST_BITS,
    MOST_BITS,
    PARAMETRIZATIONS,
    Grid,
    Parametrization,
    PowerGrid,
    UniformGrid,
)
from hwprof.compress.method import Cost, Need, Network, SoftChoice
from hwprof.compress.quantized_weights import (
    computed_weights,
    insert_quantizers,
    trained_weight,
    with_dictionaries,
)
from hwprof.errors import InputError
from hwprof.graph import Graph
from hwprof.training import Hooks, ParamGroup
from hwprof.variants.low_bit import layers, low_bits_weights

Excess: TypeAlias = Callable[[Mapping[str, Tensor]], Tensor]  # bits by layer to the cost by the target, minus 1
_FREE_UNTIL = 2 / 3  # share of the training
_STRENGTH, _KB = 0.1, 70.0  # of the penalty on kB, and the size of the paper's network, whatever the size of this one
_LEAST_LOST = 1e-12  # share of a weight's energy
_RATE = 0.01  # of the grids, whose gradients are cut


class Dq:
    """parametrization: what of a grid is learned; "pow2" has powers of two, from q_min to q_max, as its values.
    mean_bits: the constraint, over all weights. latency_ms: in its place, by the cost that the method gets."""

    name = "dq"
    paper = "Uhlich et al., Mixed Precision DNNs, ICLR 2020, arXiv 1905.11452"
    result = "low-bit weights"
    needs: Collection[Need] = frozenset({"training"})

    def __init__(
        self, parametrization: Parametrization = "d_qmax", mean_bits: float = 3.0, latency_ms: float | None = None
    ) -> None:
        if parametrization not in PARAMETRIZATIONS:
            known = ", ".join(PARAMETRIZATIONS)
            raise InputError(f"DQ has no parametrization {parametrization!r}; known: {known}")
        if not LEAST_BITS <= mean_bits <= MOST_BITS:
            raise InputError(f"DQ learns {LEAST_BITS} to {MOST_BITS} bits, not {mean_bits} on average")
        self._parametrization, self._mean_bits, self._latency_ms = parametrization, mean_bits, latency_ms

    def within(self, latency_ms: float) -> Dq:
        """The same with a latency as its constraint."""
        return Dq(self._parametrization, self._mean_bits, latency_ms)

    def options(self, graph: Graph) -> Options:
        """Bits for each layer where a latency is the constraint."""
        if self._latency_ms is None:
            return {}
        bits = (Choice(bits=b) for b in range(MOST_BITS, LEAST_BITS - 1, -1))
        return dict.fromkeys(layers(graph), (AS_BEFORE, *bits))

    def attach(self, network: Network, cost: Cost) -> Hooks:
        self._before, self._network = network.copy(), network
        self._layers = layers(network.graph)
        self._grids = insert_quantizers(network, lambda _, weight: self._grid(weight))
        weights = {name: trained_weight(network, layer) for name, layer in self._layers.items()}
        self._hooks = _Constrained(self._grids, weights, self._excess(cost))
        return self._hooks

    def _grid(self, weight: Tensor) -> Grid:
        return PowerGrid(weight) if self._parametrization == "pow2" else UniformGrid(weight, self._parametrization)

    def _excess(self, cost: Cost) -> Excess:
        sizes = {name: layer.weight.numel for name, layer in self._layers.items()}
        if self._latency_ms is None:
            return lambda bits: mean_of(bits, sizes) / self._mean_bits - 1
        latency_ms = self._latency_ms
        return lambda bits: cost({name: SoftChoice(bits=b) for name, b in bits.items()}) / latency_ms - 1

    def choices(self) -> Choices:
        self._hooks.freeze()
        if self._parametrization == "pow2":
            return {name: Choice(levels=1 << grid.bits()) for name, grid in self._grids.items()}
        return {name: Choice(bits=grid.bits()) for name, grid in self._grids.items()}

    def harm(self, layer: str, choice: Choice) -> float:
        """The share of the weight's energy that is lost."""
        if choice.bits is None:
            return 0.0
        weight = trained_weight(self._network, self._layers[layer]).detach()
        return max(self._grids[layer].lost_share(weight, b) for b in range(choice.bits, MOST_BITS + 1))

    def finish(self, choices: Choices) -> Network:
        if not choices:
            return self._before
        self._hooks.freeze()
        if self._parametrization == "pow2":
            return with_dictionaries(self._network, self._grids, choices)
        return self._stored({name: choice.bits for name, choice in choices.items() if choice.bits is not None})

    def _stored(self, bits: Mapping[str, int]) -> Network:
        weights, steps = computed_weights(self._network, self._grids), {}
        for name, width in bits.items():
            layer, grid = self._layers[name], self._grids[name]
            weight = trained_weight(self._network, layer).detach()
            step, q_max = grid.values() if width == grid.bits() else grid.nearest(weight, width)
            steps[name] = step.item()
            weights[layer.weight.name] = grid.quantized(weight, step, q_max).cpu().numpy()
        return self._network.with_weights(*low_bits_weights(self._network.graph, weights, bits, steps))


def mean_of(bits: Mapping[str, Tensor], sizes: Mapping[str, int]) -> Tensor:
    """bits: scalars by layer; sizes: how many weights. Returns the mean over all weights, a scalar."""
    total = torch.stack([bits[name] * n for name, n in sizes.items()]).sum()
    return total / sum(sizes.values())


class _Constrained(Hooks):
    def __init__(self, grids: Mapping[str, Grid], weights: Mapping[str, Tensor], excess: Excess) -> None:
        self._grids, self._weights, self._excess = grids, weights, excess

    def parameters(self) -> Sequence[ParamGroup]:
        return [ParamGroup([p for grid in self._grids.values() for p in (grid.first, grid.second)], _RATE)]

    def state(self) -> Mapping[str, Tensor]:
        return {}  # the grids are part of the network

    def penalty(self, progress: float) -> Tensor | float:
        if progress >= _FREE_UNTIL:
            self.freeze()
        if self._is_frozen():
            return 0.0
        excess = self._excess({name: grid.soft_bits() for name, grid in self._grids.items()})
        return _STRENGTH * (_KB * excess).clamp(min=0).square()

    def after_backward(self, step: int) -> None:  # noqa: ARG002
        for grid in self._grids.values():
            grid.cut_gradients()

    def after_step(self, step: int) -> None:  # noqa: ARG002
        for grid in self._grids.values():
            grid.limit()

    def may_be_kept(self) -> bool:
        return self._is_frozen()

    def _is_frozen(self) -> bool:
        return all(grid.is_fixed for grid in self._grids.values())

    @torch.no_grad()
    def freeze(self) -> None:
        """Projects the bits onto the constraint, and keeps the grids from then on."""
        if self._is_frozen():
            return
        for name, bits in self._projected().items():
            self._grids[name].fix(self._weights[name].detach(), bits)

    def _projected(self) -> dict[str, int]:
        """Bits by layer. The one goes down first that loses least for what it saves."""
        lost_share = cache(lambda name, b: self._grids[name].lost_share(self._weights[name].detach(), b))
        bits = {name: min(grid.bits(), MOST_BITS) for name, grid in self._grids.items()}
        while (over := self._over(bits)) > 0:
            steps = [name for name, b in bits.items() if b > LEAST_BITS]
            if not steps:
                break
            saved = {name: over - self._over({**bits, name: bits[name] - 1}) for name in steps}
            lost = {name: lost_share(name, bits[name] - 1) - lost_share(name, bits[name]) for name in steps}
            bits[max(steps, key=lambda name: saved[name] / max(lost[name], _LEAST_LOST))] -= 1
        return bits

    def _over(self, bits: Mapping[str, int]) -> float:
        excess = float(self._excess({name: torch.tensor(float(b)) for name, b in bits.items()}))
        if math.isnan(excess):
            raise InputError("DQ learns bits for a latency only where a table of latencies is given")
        return excess
