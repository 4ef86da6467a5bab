"""Binary weights that are trained with the foothill function (Belbahri et al., arXiv 1901.06414): its wells at plus
and minus a step pull the weights there, and its second derivative is the gradient of the sign."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from hwprof.compress.integer.cell import replaced
from hwprof.compress.low_bit import BINARY, LowBitMethod, projected, step_of
from hwprof.compress.method import Network
from hwprof.predictors.foothill import foothill, foothill_curvature
from hwprof.training import Hooks
from hwprof.variants.low_bit import Layer

_BETA = 2.0  # of a weight in steps: the gradient reaches 1.2 steps far


def regularizer(weight: Tensor, axis: int, beta: float = _BETA) -> Tensor:
    """weight: [*shape], whose axis is that of the outputs. Returns a scalar: the mean of the foothill of the distances
    to plus or minus a step, in steps."""
    return foothill(weight.abs() / step_of(weight, axis, BINARY) - 1, 1.0, beta).mean()


class FoothillBinary(LowBitMethod):
    """strength: of the regularizer at the end of the training, to which it grows in a line. beta: of weights in
    steps."""

    name = "foothill"
    paper = "Belbahri et al., Foothill: A Quasiconvex Regularization, arXiv 1901.06414"

    def __init__(self, strength: float = 1e-2, beta: float = _BETA) -> None:
        super().__init__(BINARY)
        self._strength, self._beta = strength, beta

    def quantizer(self, layer: Layer) -> nn.Module:
        return _Sign(layer.axis, self._beta)

    def hooks(self, network: Network, quantizers: Mapping[str, nn.Module | None]) -> Hooks:  # noqa: ARG002
        weights = [(network.module.tensor(layer.weight.name), layer.axis) for layer in self._layers.values()]
        return _Regularizing(weights, self._strength, self._beta)


class _Sign(nn.Module):
    """Plus or minus the step. A step and a smooth sign that rises from -1 to 1 have the same integral of the slope."""

    def __init__(self, axis: int, beta: float) -> None:
        super().__init__()
        self._axis, self._beta = axis, beta

    def forward(self, weight: Tensor) -> Tensor:
        with torch.no_grad():
            in_steps = weight / step_of(weight, self._axis, BINARY)
            slope = foothill_curvature(in_steps, 1.0, self._beta)
        return replaced(weight, slope, projected(weight, self._axis, BINARY))


class _Regularizing(Hooks):
    """weights: with the axis of their outputs."""

    def __init__(self, weights: Sequence[tuple[Tensor, int]], strength: float, beta: float) -> None:
        self._weights, self._strength, self._beta = weights, strength, beta

    def penalty(self, progress: float) -> Tensor:
        terms = [regularizer(weight, axis, self._beta) for weight, axis in self._weights]
        return progress * self._strength * torch.stack(terms).sum()
