"""ProxConnect and its relatives: weights that training pulls to few values (Dockhorn et al., Demystifying and
Generalizing BinaryConnect, NeurIPS 2021, arXiv 2110.13220).

A proximal map P takes the weights w* that are kept to those that are computed with, w = P(w*). It is the identity at
strength 0 and the projection onto the values at strength 1; the strength grows while the network trains. The methods
differ in where the gradient is taken and what it is added to:

    BinaryConnect          w* <- w* - rate * gradient(w)        with the projection from the start
    ProxConnect            w* <- w* - rate * gradient(w)
    ProxQuant              w* <- w  - rate * gradient(w)        (Bai et al., arXiv 1810.00861)
    reverse ProxConnect    w* <- w  - rate * gradient(w*)

The paper proves that ProxConnect converges for convex regularizers; the maps here belong to none.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from hwprof.compress.low_bit import TERNARY, LowBitMethod, nearest, projected, step_of, straight_through
from hwprof.compress.method import Network
from hwprof.errors import InputError
from hwprof.training import Hooks
from hwprof.variants.low_bit import Layer

FULL_AT = 0.3  # share of the training after which all weights are on their values
# For maps that are applied to their own results, where a small strength already holds the weights in place.
LATE, STEEP = 0.8, 4.0
_HALF_GAP = {1: 1.0, 2: 0.5}  # between two values, in steps


def proximal(x: Tensor, bits: int, strength: float, jump: float = 0.0) -> Tensor:
    """The paper's piecewise linear map, of weights in steps, [...]. Returns [...].

    Around each value is a plateau, whose half width is `strength` of the way to the middle between two values; from its
    ends, after a step up of `jump` of that way, a line leads to the middle. Beyond the outermost values the distance to
    them shrinks by the strength. Raises InputError for a strength or jump outside of 0 to 1.
    """
    if not (0 <= strength <= 1 and 0 <= jump <= 1):
        raise InputError(f"strength and jump of a proximal map are from 0 to 1, not {strength} and {jump}")
    if strength == jump == 0:
        return x
    value, gap = nearest(x, bits), _HALF_GAP[bits]
    distance = x - value
    beyond = (distance.abs() - strength * gap).clamp(min=0)
    slope = (1 - jump) / (1 - strength) if strength < 1 else 0.0
    risen = torch.where(beyond > 0, jump * gap + slope * beyond, beyond)
    inside = value + distance.sign() * risen
    return torch.where(x.abs() > 1, value + (1 - strength) * distance, inside)


class ProxConnect(LowBitMethod):
    """jump: of `proximal`. full_at: the share of the training after which the strength is 1; 0 has it from the start.
    power: of that share with which it grows until then."""

    name = "prox_connect"
    paper = "Dockhorn et al., Demystifying and Generalizing BinaryConnect, NeurIPS 2021, arXiv 2110.13220"

    def __init__(self, bits: int = TERNARY, jump: float = 0.0, full_at: float = FULL_AT, power: float = 1.0) -> None:
        super().__init__(bits)
        self._jump, self._full_at, self._power = jump, full_at, power
        self._strength = torch.zeros(()) if full_at else torch.ones(())

    def strength(self, progress: float) -> float:
        """progress: the share of the training that is done. Returns 0 to 1."""
        return min(1.0, progress / self._full_at) ** self._power if self._full_at else 1.0

    def computed(self, weight: Tensor, axis: int) -> Tensor:
        """weight: w*, [*shape], whose axis is that of the outputs. Returns w = P(w*), [*shape], without a gradient."""
        step = step_of(weight, axis, self.bits)
        return proximal(weight.detach() / step, self.bits, self._strength.item(), self._jump) * step

    def quantizer(self, layer: Layer) -> nn.Module | None:
        return _Computed(self, layer.axis)

    def hooks(self, network: Network, quantizers: Mapping[str, nn.Module | None]) -> Hooks:  # noqa: ARG002
        return _Strengthening(self, self._strength)

    def compute_all(self) -> None:
        """w* becomes P(w*) in every layer."""
        with torch.no_grad():
            for layer in self._layers.values():
                weight = self._network.module.tensor(layer.weight.name)
                weight.copy_(self.computed(weight, layer.axis))


class BinaryConnect(ProxConnect):
    """The projection from the start."""

    name = "binary_connect"
    paper = "Courbariaux et al., BinaryConnect, NeurIPS 2015, arXiv 1511.00363"

    def __init__(self, bits: int = TERNARY) -> None:
        super().__init__(bits, full_at=0)

    def computed(self, weight: Tensor, axis: int) -> Tensor:
        """weight: [...]. Returns its projection, [...]."""
        return projected(weight, axis, self.bits)


class ProxQuant(ProxConnect):
    """The weights that are kept are those that are computed with."""

    name = "prox_quant"
    paper = "Bai et al., ProxQuant, ICLR 2019, arXiv 1810.00861"

    def __init__(self, bits: int = TERNARY, jump: float = 0.0, full_at: float = LATE, power: float = STEEP) -> None:
        super().__init__(bits, jump, full_at, power)

    def quantizer(self, layer: Layer) -> None:  # noqa: ARG002
        return None

    def hooks(self, network: Network, quantizers: Mapping[str, nn.Module | None]) -> Hooks:  # noqa: ARG002
        return _AfterSteps(self, self._strength)


class ReverseProxConnect(ProxConnect):
    """Trains with w*, and is evaluated with w."""

    name = "reverse_prox_connect"
    paper = "Dockhorn et al., Demystifying and Generalizing BinaryConnect, arXiv 2110.13220, its reverse ProxConnect"

    def __init__(self, bits: int = TERNARY, jump: float = 0.0, full_at: float = LATE, power: float = STEEP) -> None:
        super().__init__(bits, jump, full_at, power)

    def quantizer(self, layer: Layer) -> nn.Module:
        return _ComputedInEvaluation(self, layer.axis)

    def hooks(self, network: Network, quantizers: Mapping[str, nn.Module | None]) -> Hooks:  # noqa: ARG002
        return _BeforeSteps(self, self._strength)


class _Computed(nn.Module):
    """From w* to w."""

    def __init__(self, method: ProxConnect, axis: int) -> None:
        super().__init__()
        self._method, self._axis = method, axis

    def forward(self, weight: Tensor) -> Tensor:
        return straight_through(weight, self._method.computed(weight, self._axis))


class _ComputedInEvaluation(_Computed):
    def forward(self, weight: Tensor) -> Tensor:
        return weight if self.training else super().forward(weight)


class _Strengthening(Hooks):
    """States may be kept once the strength is 1."""

    def __init__(self, method: ProxConnect, strength: Tensor) -> None:
        self._method, self._strength = method, strength

    def penalty(self, progress: float) -> float:
        self._strength.fill_(self._method.strength(progress))
        return 0.0

    def may_be_kept(self) -> bool:
        return self._strength.item() == 1

    def state(self) -> Mapping[str, Tensor]:
        return {"strength": self._strength}


class _AfterSteps(_Strengthening):
    def after_step(self, step: int) -> None:  # noqa: ARG002
        self._method.compute_all()


class _BeforeSteps(_Strengthening):
    """Between the gradient at w* and the step, which starts from w."""

    def after_backward(self, step: int) -> None:  # noqa: ARG002
        self._method.compute_all()
