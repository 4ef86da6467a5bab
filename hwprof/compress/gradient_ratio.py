"""Whether a training with binary weights can work: how much gradients grow from layer to layer (Sari, Belbahri &
Partovi Nia, How Does Batch Normalization Help Binary Training?, arXiv 1909.09139).

With independent weights of variance v, the variance of the gradient grows from the output of a layer with K inputs to
that of the layer before by K v / 2 where a Relu is between them. Initial weights of floats have v = 2 / K, but weights
of -1 and 1 have v = 1, so that gradients grow by K / 2 per layer, whatever the weights were before. Batch normalization
divides by what it measures, and the ratio does not depend on K any more. A step for each output, which all methods of
this package have (`hwprof.compress.low_bit`), keeps the variance of the weights.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor, fx

from hwprof.compress.low_bit import BINARY, nearest, projected
from hwprof.compress.method import Network
from hwprof.errors import InputError
from hwprof.variants.low_bit import Layer, layers

Weights: TypeAlias = Literal["float", "signs", "steps"]
WEIGHTS: tuple[Weights, ...] = ("float", "signs", "steps")
_TITLES = {"float": "float", "signs": "-1 and 1", "steps": "minus and plus a step"}
MOST_RATIO = 2.0  # above which the gradients of a network of many layers have no common rate
_MOST_GROWTH = 10.0  # of all layers together, below which a single layer's ratio does not matter
_BATCH = 128


def gradient_ratios(network: Network, weights: Weights = "signs", seed: int = 0) -> dict[str, float]:
    """By layer from the second one on: the variance of the gradient at the output of the layer before, by that at its
    own output, for gradients at the network's output that are drawn from the seed.

    weights: unchanged, only their signs, or their signs times the steps of `hwprof.compress.low_bit`. Batch
    normalization works as in a training, on the network's examples. Raises InputError for a network with fewer than two
    layers.
    """
    trial = network.copy()
    found = layers(trial.graph)
    if len(found) < 2:
        raise InputError(f"{network.graph.name!r} has {len(found)} layers with weights; a ratio of gradients needs two")
    with torch.no_grad():
        for layer in found.values():
            weight = trial.module.tensor(layer.weight.name)
            weight.copy_(_replaced(weight, layer, weights))
    variances = [_variance(gradient) for gradient in _gradients(trial, found, seed)]
    return {
        name: before / after if after > 0 else math.nan
        for name, before, after in zip(list(found)[1:], variances, variances[1:], strict=False)
    }


@dataclass(frozen=True, slots=True)
class GradientCheck:
    """The ratios by layer of one kind of weights."""

    ratios: Mapping[str, float]

    @property
    def growth(self) -> float:
        """How much gradients grow from the last layer to the first."""
        return math.prod(self.ratios.values())

    @property
    def largest(self) -> tuple[str, float]:
        """A layer and its ratio."""
        return max(self.ratios.items(), key=lambda item: item[1])

    @property
    def can_work(self) -> bool:
        """Whether a training with one rate for all layers can be expected to work."""
        return self.growth <= _MOST_GROWTH or self.growth ** (1 / len(self.ratios)) <= MOST_RATIO


def row(network: Network, weights: Weights, seed: int = 0) -> dict[str, str]:
    """The check for these weights, as text. Raises as `gradient_ratios` does."""
    check = GradientCheck(gradient_ratios(network, weights, seed))
    layer, ratio = check.largest
    advice = "yes" if check.can_work else (
        f"no: gradients grow {check.growth:.3g} times; add batch normalization, or give each output a step"
    )  # fmt: skip
    return {
        "weights": _TITLES[weights],
        "growth per layer": f"{check.growth ** (1 / len(check.ratios)):.3g}",
        "largest": f"{ratio:.3g} at {layer}",
        "training can work": advice,
    }


def _replaced(weight: Tensor, layer: Layer, weights: Weights) -> Tensor:
    if weights == "float":
        return weight
    return nearest(weight, BINARY) if weights == "signs" else projected(weight, layer.axis, BINARY)


def _gradients(network: Network, found: Mapping[str, Layer], seed: int) -> list[Tensor]:
    """By layer that of its output, [n, ...]."""
    watched = _Watched(network, found)
    inputs = [torch.from_numpy(network.examples[t.name]) for t in network.graph.inputs]
    batch = [x.flatten(0, 1)[:_BATCH] for x in inputs]
    output = watched.run(*batch)[0]
    drawn = torch.randn(output.shape, generator=torch.Generator().manual_seed(seed))
    return list(torch.autograd.grad((output * drawn).sum(), watched.outputs))


class _Watched(fx.Interpreter):
    """Runs the network in training mode, and keeps the outputs of its layers in their order."""

    def __init__(self, network: Network, found: Mapping[str, Layer]) -> None:
        super().__init__(network.module.train().code)
        held = {id(network.module.tensor(layer.weight.name)) for layer in found.values()}
        self._held = held
        self.outputs: list[Tensor] = []

    def run_node(self, n: fx.Node) -> Any:
        result = super().run_node(n)
        read = (self.env[arg] for arg in n.args if isinstance(arg, fx.Node) and arg in self.env)
        if n.op in ("call_function", "call_module") and any(id(value) in self._held for value in read):
            self.outputs.append(result)
        return result


def _variance(gradient: Tensor) -> float:
    return float(gradient.square().mean())
