"""DNQ: a policy that learns how many bits each layer gets, and a quantizer that takes the weights in the order of their
quantization distance (Xu et al., DNQ: Dynamic Network Quantization, arXiv 1812.02375).

The reward of some bits is how much of the float network's outputs stays with them before any training, minus `price`
times their cost by that of 8 bits. The cost is the latency by the table, or where there is none, the mean of the bits.
Then the weights of each layer become final in stages, and the rest trains on; the paper's abstract does not say whether
the near or the far ones go first, so both are here.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Literal, TypeAlias

import numpy as np
import torch
from torch import Tensor

from hwprof.compress.choice import AS_BEFORE, Choice, Choices, Options
from hwprof.compress.incremental import InStages, PartlyFixed
from hwprof.compress.method import Cost, Need, Network
from hwprof.compress.quantized_weights import computed_weights, insert_quantizers, trained_weight
from hwprof.errors import InputError
from hwprof.graph import Graph
from hwprof.interfaces import Arch
from hwprof.objective.policy import Policy
from hwprof.training import Hooks
from hwprof.variants.low_bit import Layer, default_steps, layers, low_bits_weights, rounded

Order: TypeAlias = Literal["near", "far"]
Reward: TypeAlias = Callable[[Arch], float]
BITS = (8, 4, 2)
_SHARES = (0.5, 0.75, 0.875, 1.0)  # of a layer's weights that are final after each stage
_PER_STEP = 10  # rewards for each step of the policy


class Dnq:
    """price: of the cost of 8 bits, in shares of the outputs. episodes: how many bits are tried. order: which weights
    become final first, those nearest to their quantized values or those farthest from them."""

    name = "dnq"
    paper = "Xu et al., DNQ: Dynamic Network Quantization, arXiv 1812.02375"
    result = "low-bit weights"
    needs: Collection[Need] = frozenset({"training", "examples"})

    def __init__(self, price: float = 0.25, episodes: int = 300, order: Order = "near", seed: int = 0) -> None:
        if episodes < 1 or not price >= 0:
            raise InputError(f"DNQ needs a price of at least 0 and an episode, not {price} and {episodes}")
        if order not in ("near", "far"):
            raise InputError(f"DNQ has no order {order!r}; known: near, far")
        self._price, self._episodes, self._order, self._seed = price, episodes, order, seed

    def options(self, graph: Graph) -> Options:
        return dict.fromkeys(layers(graph), (AS_BEFORE, *(Choice(bits=b) for b in BITS)))

    def attach(self, network: Network, cost: Cost) -> Hooks:
        self._before, self._network = network.copy(), network
        self._layers = layers(network.graph)
        best = search(len(self._layers), self.reward(cost), self._episodes, self._seed)
        self._bits = {name: BITS[place] for name, place in zip(self._layers, best, strict=True)}
        self._steps = {
            name: default_steps(layer, self._weight(layer), self._bits[name]) for name, layer in self._items()
        }
        self._parts = insert_quantizers(network, lambda _, weight: PartlyFixed(weight))
        self._hooks = InStages(self._parts, len(_SHARES), self._fix)
        return self._hooks

    def reward(self, cost: Cost) -> Reward:
        """The reward as a function of the places of each layer's bits in `BITS`."""
        outputs = _Outputs(self._before)
        price_of = _price_of(list(self._layers.items()), cost)
        return lambda arch: outputs.kept_share(arch) - self._price * price_of(arch)

    def choices(self) -> Choices:
        return {name: Choice(bits=bits) for name, bits in self._bits.items()}

    def harm(self, layer: str, choice: Choice) -> float:
        """The share of the weight's energy that is lost."""
        if choice.bits is None:
            return 0.0
        found = self._layers[layer]
        weight = self._weight(found)
        lost = [weight - rounded(found, weight, b, default_steps(found, weight, b)) for b in BITS if b >= choice.bits]
        return max(float((w**2).sum() / max((weight**2).sum(), 1e-30)) for w in lost)

    def finish(self, choices: Choices) -> Network:
        if not choices:
            return self._before
        self._hooks.finish()
        bits = {name: choice.bits for name, choice in choices.items() if choice.bits is not None}
        steps = {name: self._steps[name] for name, b in bits.items() if b == self._bits[name]}
        weights = computed_weights(self._network, self._parts)
        return self._network.with_weights(*low_bits_weights(self._network.graph, weights, bits, steps))

    def _items(self) -> Sequence[tuple[str, Layer]]:
        return list(self._layers.items())

    def _weight(self, layer: Layer) -> np.ndarray:
        """[*shape]"""
        return trained_weight(self._network, layer).detach().cpu().numpy()

    def _fix(self, stage: int) -> None:
        """Makes the stage's share of each layer's weights final."""
        for name, layer in self._items():
            weight, part = trained_weight(self._network, layer).detach(), self._parts[name]
            values = torch.from_numpy(rounded(layer, self._weight(layer), self._bits[name], self._steps[name])).to(
                weight
            )
            distance = (weight - values).abs() * (1 if self._order == "near" else -1)
            distance[part.is_fixed] = -math.inf
            count = round(_SHARES[stage] * weight.numel())
            elements = torch.zeros(weight.numel(), dtype=torch.bool, device=weight.device)
            elements[distance.flatten().argsort(stable=True)[:count]] = True
            part.fix(elements.reshape(weight.shape) & ~part.is_fixed, values)


def search(n_layers: int, reward: Reward, episodes: int, seed: int) -> Arch:
    """The places in `BITS` with the highest reward that a policy finds in this number of tries."""
    policy, rng = Policy([len(BITS)] * n_layers), np.random.default_rng(seed)
    known: dict[Arch, float] = {}
    for start in range(0, episodes, _PER_STEP):
        drawn = policy.drawn(min(_PER_STEP, episodes - start), rng)
        for arch in drawn:
            if arch not in known:
                known[arch] = reward(arch)
        policy.learn([(arch, known[arch]) for arch in drawn])
    return max(known, key=known.__getitem__)


class _Outputs:
    """The outputs of a network on its examples, with weights of fewer bits."""

    def __init__(self, network: Network) -> None:
        self._network = network.copy()
        self._network.module.eval()
        self._inputs = [torch.from_numpy(np.concatenate(network.examples[t.name])) for t in network.graph.inputs]
        self._layers = [(layer, trained_weight(self._network, layer)) for layer in layers(network.graph).values()]
        self._rounded = [self._of_each_width(layer, weight) for layer, weight in self._layers]
        self._float = self._computed()
        self._energy = max(float((self._float - self._float.mean(0)).square().sum()), 1e-30)

    def kept_share(self, arch: Arch) -> float:
        """1 where the outputs are those of the float network, 0 where the mean of these is as close to them."""
        with torch.no_grad():
            for (_, weight), widths, place in zip(self._layers, self._rounded, arch, strict=True):
                weight.copy_(widths[place])
        lost = float((self._computed() - self._float).square().sum())
        return 1 - min(1.0, lost / self._energy)

    def _of_each_width(self, layer: Layer, weight: Tensor) -> list[Tensor]:
        array = weight.detach().cpu().numpy().copy()
        return [torch.from_numpy(rounded(layer, array, b, default_steps(layer, array, b))) for b in BITS]

    def _computed(self) -> Tensor:
        """[n, ...], of all outputs one after the other."""
        with torch.no_grad():
            made = self._network.module(*self._inputs)
        outputs = made if isinstance(made, tuple) else (made,)
        return torch.cat([output.flatten(1) for output in outputs], 1)


def _price_of(found: Sequence[tuple[str, Layer]], cost: Cost) -> Callable[[Arch], float]:
    """The cost of bits, by that of 8 bits in all layers."""

    def of_table(bits: Mapping[str, int]) -> float:
        return float(cost({name: Choice(bits=b) for name, b in bits.items()}))

    def of_mean(bits: Mapping[str, int]) -> float:
        return float(sum(bits[name] * layer.weight.numel for name, layer in found))

    names = [name for name, _ in found]
    whole = dict.fromkeys(names, max(BITS))
    count = of_mean if math.isnan(of_table(whole)) else of_table
    highest = count(whole)
    return lambda arch: count({name: BITS[place] for name, place in zip(names, arch, strict=True)}) / highest
