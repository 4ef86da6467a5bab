"""Weights of one or two bits while a network trains, and the network that stores them.

A layer's weight becomes plus or minus its step (1 bit), or these and 0 (2 bits). Every output has a step of its own,
which is computed from the weights that are trained, so that it needs no training: the mean size of the weights
(Rastegari et al., XNOR-Net, arXiv 1603.05279), or of those above 0.7 of that mean (Li et al., Ternary Weight Networks,
arXiv 1605.04711).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

import torch
from torch import Tensor, nn

from hwprof.compress.choice import Choice, Choices, Options
from hwprof.compress.integer.cell import replaced
from hwprof.compress.method import Cost, Need, Network
from hwprof.errors import InputError
from hwprof.graph import Graph
from hwprof.training import Hooks
from hwprof.variants.low_bit import Layer, layers, low_bits_weights

BINARY, TERNARY = 1, 2  # bits
_NAMES = {BINARY: "binary", TERNARY: "ternary"}
_LARGE = 0.7  # of the mean size, from which on a ternary weight is not 0
_LEAST_STEP = 1e-12


def step_of(weight: Tensor, axis: int, bits: int) -> Tensor:
    """weight: [*shape], whose axis is that of the outputs. Returns the step of each output, of the same rank, above 0
    and without a gradient. Raises InputError for other bits than 1 and 2."""
    if bits not in _NAMES:
        raise InputError(f"these methods train weights of 1 or 2 bits, not of {bits}")
    others = [i for i in range(weight.dim()) if i != axis]
    size = weight.detach().abs()
    mean = size.mean(others, keepdim=True)
    if bits == TERNARY:
        is_large = (size > _LARGE * mean).to(size.dtype)
        mean = (size * is_large).sum(others, keepdim=True) / is_large.sum(others, keepdim=True).clamp(min=1)
    return mean.clamp(min=_LEAST_STEP)


def nearest(x: Tensor, bits: int) -> Tensor:
    """x: [...], weights in steps. Returns the nearest values, [...]: -1 and 1, where 0 becomes 1, or -1, 0 and 1."""
    if bits == BINARY:
        return torch.where(x < 0, -1.0, 1.0).to(x.dtype)
    return torch.round(x).clamp(-1, 1)


def projected(weight: Tensor, axis: int, bits: int) -> Tensor:
    """weight: [*shape]. Returns it with few values, [*shape], without a gradient."""
    step = step_of(weight, axis, bits)
    return nearest(weight.detach() / step, bits) * step


def straight_through(weight: Tensor, value: Tensor) -> Tensor:
    """Both [...]. Returns the value; its gradient goes to the weight unchanged (Bengio et al., arXiv 1308.3432)."""
    return replaced(weight, torch.ones_like(weight), value)


def stored(network: Network, bits: Mapping[str, int]) -> Network:
    """The network whose layers have their present weights projected to these bits and stored in them; the others as
    they are."""
    found, weights, steps = layers(network.graph), network.weights, {}
    for name, width in bits.items():
        layer = found[name]
        weight = network.module.tensor(layer.weight.name).detach().cpu()
        steps[name] = step_of(weight, layer.axis, width).flatten().numpy()
        weights[layer.weight.name] = projected(weight, layer.axis, width).numpy()
    return network.with_weights(*low_bits_weights(network.graph, weights, bits, steps))


class LowBitMethod:
    """The base of methods that train all weights for one number of bits, so that there is nothing to decide.

    A method gives each layer a module that stands for its weight (`quantizer`), and hooks for the training.
    """

    result = "low-bit weights"
    needs: Collection[Need] = frozenset({"training"})

    def __init__(self, bits: int = TERNARY) -> None:
        self.bits = bits

    def quantizer(self, layer: Layer) -> nn.Module | None:
        """From the weight that is trained to the one that is computed with; None where they are the same."""
        raise NotImplementedError

    def hooks(self, network: Network, quantizers: Mapping[str, nn.Module | None]) -> Hooks:  # noqa: ARG002
        """quantizers: by layer, those that the network's module has now."""
        return Hooks()

    def options(self, graph: Graph) -> Options:  # noqa: ARG002 -- all layers have the same bits
        return {}

    def attach(self, network: Network, cost: Cost) -> Hooks:  # noqa: ARG002 -- there is nothing to decide
        self._network = network
        self._layers = layers(network.graph)
        quantizers = {name: self.quantizer(layer) for name, layer in self._layers.items()}
        for name, quantizer in quantizers.items():
            if quantizer is not None:
                network.module.insert(self._layers[name].weight.name, quantizer)
        return self.hooks(network, quantizers)

    def choices(self) -> Choices:
        return {name: Choice(bits=self.bits) for name in self._layers}

    def harm(self, layer: str, choice: Choice) -> float:  # noqa: ARG002
        return 0.0

    def finish(self, choices: Choices) -> Network:
        return stored(self._network, {name: choice.bits for name, choice in choices.items() if choice.bits})
