"""Smart ternary quantization: one training decides for each layer whether its weights get two values or three (Morin,
Razani, Partovi Nia & Sari, arXiv 1909.12205).

The regularizer of a weight w, in steps, is min(||w| - 1|, tan(beta) |w|). At beta = pi/4 it has wells at -1, 0 and 1;
as beta goes to pi/2 the one at 0 disappears. The layer's own beta is trained: weights near 0 pull it down, to ternary,
and gamma cot(beta) pulls it up, to binary, where gamma is positive.

Here gamma is what the device says: in proportion to the latency that a layer saves with binary weights. On a processor
whose kernels for ternary weights are faster, gamma is negative, and all layers become ternary.

This method is described in United States patent 12,288,163 B2 (2025); ask a lawyer before you sell networks made with
it.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence

import torch
from torch import Tensor, nn

from hwprof.compress.choice import AS_BEFORE, Choice, Choices, Options
from hwprof.compress.low_bit import BINARY, TERNARY, projected, step_of, stored, straight_through
from hwprof.compress.method import Cost, Need, Network
from hwprof.graph import Graph
from hwprof.training import Hooks, ParamGroup
from hwprof.variants.low_bit import layers

TERNARY_ANGLE, BINARY_ANGLE = math.pi / 4, math.pi / 2
_DECIDED_AT = 3 * math.pi / 8  # half way: from here on a layer is binary
_LARGEST_ANGLE = BINARY_ANGLE - 1e-2  # whose tangent is 100
_ANGLE_RATE = 0.02
_OPTIONS = (AS_BEFORE, Choice(bits=TERNARY), Choice(bits=BINARY))


def wells(x: Tensor, angle: Tensor) -> Tensor:
    """x: [...], weights in steps; angle: a scalar, beta. Returns the regularizer of each weight, [...]."""
    return torch.minimum((x.abs() - 1).abs(), torch.tan(angle) * x.abs())


def gammas(names: Sequence[str], cost: Cost, gamma: float) -> dict[str, float]:
    """By layer gamma times the share of the ternary network's latency that is saved where this layer alone is binary;
    negative where it becomes slower, 0 where the cost is not known."""
    ternary: dict[str, Choice] = dict.fromkeys(names, Choice(bits=TERNARY))
    whole_ms = cost(ternary).item()
    shares = {name: 1 - cost(ternary | {name: Choice(bits=BINARY)}).item() / whole_ms for name in names}
    return {name: gamma * share if math.isfinite(share) else 0.0 for name, share in shares.items()}


class Stq:
    """gamma: of `gammas`; with 10, a layer becomes binary that saves more than about 3 % of the latency, which noise in
    measurements does not look like. strength: of the regularizer, whose terms are means over a layer's weights."""

    name = "stq"
    paper = "Morin et al., Smart Ternary Quantization, arXiv 1909.12205"
    result = "low-bit weights"
    needs: Collection[Need] = frozenset({"training"})

    def __init__(self, gamma: float = 10.0, strength: float = 1e-2) -> None:
        self._gamma, self._strength = gamma, strength

    def options(self, graph: Graph) -> Options:
        return dict.fromkeys(layers(graph), _OPTIONS)

    def attach(self, network: Network, cost: Cost) -> Hooks:
        self._network = network
        self._layers = layers(network.graph)
        shares = gammas(list(self._layers), cost, self._gamma)
        self._quantizers = {name: _TwoOrThree(layer.axis) for name, layer in self._layers.items()}
        for name, quantizer in self._quantizers.items():
            network.module.insert(self._layers[name].weight.name, quantizer)
        weights = {name: network.module.tensor(layer.weight.name) for name, layer in self._layers.items()}
        return _Pulling(weights, self._quantizers, shares, self._strength)

    def choices(self) -> Choices:
        return {name: Choice(bits=quantizer.bits) for name, quantizer in self._quantizers.items()}

    def harm(self, layer: str, choice: Choice) -> float:
        """The share of the energy of the layer's weights that is lost; a binary weight loses at least what a ternary
        one loses."""
        if choice.bits is None:
            return 0.0
        found = self._layers[layer]
        weight = self._network.module.tensor(found.weight.name).detach()
        widths = [TERNARY] if choice.bits == TERNARY else [TERNARY, BINARY]
        lost = [float((weight - projected(weight, found.axis, bits)).square().sum()) for bits in widths]
        return max(lost) / max(float(weight.square().sum()), 1e-12)

    def finish(self, choices: Choices) -> Network:
        return stored(self._network, {name: choice.bits for name, choice in choices.items() if choice.bits})


class _TwoOrThree(nn.Module):
    """From the weight to its nearest well. angle: beta."""

    def __init__(self, axis: int) -> None:
        super().__init__()
        self.axis = axis
        self.angle = nn.Parameter(torch.tensor(TERNARY_ANGLE + 0.1))

    @property
    def bits(self) -> int:
        return BINARY if self.angle.item() > _DECIDED_AT else TERNARY

    def forward(self, weight: Tensor) -> Tensor:
        return straight_through(weight, projected(weight, self.axis, self.bits))


class _Pulling(Hooks):
    """All by layer. gamma: how much, and whether, the device rewards binary weights."""

    def __init__(
        self, weights: Mapping[str, Tensor], quantizers: Mapping[str, _TwoOrThree], gamma: Mapping[str, float],
        strength: float,
    ) -> None:  # fmt: skip
        self._weights, self._quantizers, self._gamma, self._strength = weights, quantizers, gamma, strength

    def parameters(self) -> Sequence[ParamGroup]:
        return [ParamGroup([q.angle for q in self._quantizers.values()], _ANGLE_RATE, optimizer="adam")]

    def penalty(self, progress: float) -> Tensor:  # noqa: ARG002
        terms = []
        for name, weight in self._weights.items():
            quantizer = self._quantizers[name]
            in_steps = weight / step_of(weight, quantizer.axis, quantizer.bits)
            terms.append(wells(in_steps, quantizer.angle).mean() + self._gamma[name] / torch.tan(quantizer.angle))
        return self._strength * torch.stack(terms).sum()

    def after_step(self, step: int) -> None:  # noqa: ARG002
        with torch.no_grad():
            for quantizer in self._quantizers.values():
                quantizer.angle.clamp_(TERNARY_ANGLE, _LARGEST_ANGLE)
