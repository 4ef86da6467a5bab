"""Quantizers whose grids are learned with the weights (Uhlich et al., Mixed Precision DNNs, ICLR 2020, arXiv
1905.11452): uniform ones in three parametrizations, and powers of two.

A uniform quantizer has the step d, the range q_max and b bits, of which two decide the third. Learning (d, q_max) has
gradients that are bounded and independent of each other (eq. 3c), (b, q_max) is nearly as good, (b, d) is worse.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal, TypeAlias, cast

import torch
from torch import Tensor, nn

from hwprof.variants.low_bit import largest_integer

Parametrization: TypeAlias = Literal["d_qmax", "b_d", "b_qmax", "pow2"]
PARAMETRIZATIONS: tuple[Parametrization, ...] = ("d_qmax", "b_d", "b_qmax", "pow2")
MOST_BITS, LEAST_BITS = 8, 2
_FIRST_BITS = 4
_ALMOST = 1e-3  # bits
_GAP = 1e-5  # from the step to the range
_SHARES = torch.linspace(1.0, 0.4, 13).tolist()  # of the largest weight, of which the range of a nearest grid is one
_OCTAVES = range(-1, 3)  # below the range, at which the largest power of a nearest grid is
_MOST_POWER_BITS = 6
_LEAST_POWER = 2.0**-20


class Grid(nn.Module):
    """Replaces a weight by values that a few bits can tell apart. fixed: the two numbers of the grid once they are not
    learned any longer; until then not numbers."""

    fixed: Tensor

    def __init__(self, first: Tensor, second: Tensor) -> None:
        super().__init__()
        self.first, self.second = nn.Parameter(first.clone()), nn.Parameter(second.clone())
        self.register_buffer("fixed", torch.full((2,), math.nan).to(first))

    def forward(self, weight: Tensor) -> Tensor:
        """weight: [*shape]. Returns [*shape]."""
        return self.quantized(weight, *self.values())

    @property
    def is_fixed(self) -> bool:
        return bool(self.fixed.isfinite().all())

    def values(self) -> tuple[Tensor, Tensor]:
        """The two numbers of the grid, each a scalar, []."""
        return (self.fixed[0], self.fixed[1]) if self.is_fixed else self.learned()

    def bits(self) -> int:
        """How many the values need."""
        bits = self.soft_bits().item()
        return round(bits) if math.isclose(bits, round(bits), abs_tol=_ALMOST) else math.ceil(bits)

    def fix(self, weight: Tensor, bits: int) -> None:
        """Keeps the grid with this number of bits that is nearest to the weight, [*shape]."""
        self.fixed.copy_(torch.stack(self.nearest(weight, bits)))

    def nearest(self, weight: Tensor, bits: int) -> tuple[Tensor, Tensor]:
        """The two numbers, [] each, of the grid with this number of bits that loses least of the weight, [*shape]."""
        return min(self.candidates(weight, bits), key=lambda grid: self._lost(weight, *grid))

    def lost_share(self, weight: Tensor, bits: int) -> float:
        """The share of the energy of the weight, [*shape], that the nearest grid with this number of bits loses."""
        return self._lost(weight, *self.nearest(weight, bits))

    def _lost(self, weight: Tensor, first: Tensor, second: Tensor) -> float:
        lost = (weight - self.quantized(weight, first, second)).square().sum()
        return float(lost / weight.square().sum().clamp(min=torch.finfo(weight.dtype).tiny))

    def quantized(self, weight: Tensor, first: Tensor, second: Tensor) -> Tensor:
        """The weight, [*shape], on the grid of these numbers, [*shape]."""
        raise NotImplementedError

    def learned(self) -> tuple[Tensor, Tensor]:
        """The two numbers as functions of the parameters, each a scalar, []."""
        raise NotImplementedError

    def soft_bits(self) -> Tensor:
        """How many bits the values need, a scalar with a gradient, which need not be whole."""
        raise NotImplementedError

    def candidates(self, weight: Tensor, bits: int) -> Sequence[tuple[Tensor, Tensor]]:
        """Grids with this number of bits for the weight, [*shape]."""
        raise NotImplementedError

    def cut_gradients(self) -> None:
        """Clamps the gradients to the size of a step, as the paper's code does under a constraint."""
        raise NotImplementedError

    def limit(self) -> None:
        """Clamps the parameters to values that describe a grid."""
        raise NotImplementedError


# -- uniform -----------------------------------------------------------------------------------------


class UniformGrid(Grid):
    """Multiples of the step d up to q_max."""

    def __init__(self, weight: Tensor, parametrization: Parametrization = "d_qmax") -> None:
        largest, most = weight.abs().max().clamp(min=_GAP), largest_integer(_FIRST_BITS)
        step = (largest / most).log2().floor().exp2()
        bits = torch.full_like(step, float(_FIRST_BITS))
        first = step if parametrization == "d_qmax" else bits
        super().__init__(first, step if parametrization == "b_d" else most * step)
        self._parametrization = parametrization

    def quantized(self, weight: Tensor, first: Tensor, second: Tensor) -> Tensor:
        """weight: [*shape]; first, second: d and q_max, []. Returns [*shape]."""
        return uniform(weight, first, second)

    def learned(self) -> tuple[Tensor, Tensor]:
        """D and q_max, each a scalar, []."""
        if self._parametrization == "d_qmax":
            return self.first, self.second
        most = (_rounded(self.first) - 1).exp2() - 1
        step = self.second if self._parametrization == "b_d" else self.second / most
        return step, most * step

    def soft_bits(self) -> Tensor:
        """log2(q_max / d + 1) + 1, or the bits that are learned, [], with a gradient."""
        if self._parametrization != "d_qmax" and not self.is_fixed:
            return _rounded(self.first)
        step, q_max = self.values()
        return (q_max / step + 1).log2() + 1

    def candidates(self, weight: Tensor, bits: int) -> Sequence[tuple[Tensor, Tensor]]:
        """weight: [*shape]. Returns pairs of d and q_max, each a scalar, []: the learned range, and shares of the
        largest weight."""
        q_max = self.values()[1].detach()
        ranges = [q_max, *(share * torch.maximum(q_max, weight.abs().max()) for share in _SHARES)]
        return [(q / largest_integer(bits), q) for q in ranges]

    def cut_gradients(self) -> None:
        step = self.learned()[0].item()
        _cut(self.second, step)
        _cut(self.first, step if self._parametrization == "d_qmax" else 1.0)

    @torch.no_grad()
    def limit(self) -> None:
        self.second.clamp_(min=2 * _GAP)
        if self._parametrization == "d_qmax":
            most = self.second.item()
            self.first.clamp_(most / largest_integer(MOST_BITS), most - _GAP)
        else:
            self.first.clamp_(LEAST_BITS, MOST_BITS)


class _Uniform(torch.autograd.Function):
    """Eq. 3c."""

    @staticmethod
    def forward(context: Any, x: Tensor, step: Tensor, q_max: Tensor) -> Tensor:
        inside = x.abs() <= q_max
        value = x.sign() * torch.where(inside, step * torch.floor(x.abs() / step + 0.5), q_max)
        context.save_for_backward(x, step, value, inside)
        return value

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x, step, value, inside = context.saved_tensors
        (gradient,) = gradients
        of_step = torch.where(inside, (value - x) / step, 0.0)
        of_range = torch.where(inside, 0.0, x.sign())
        return gradient * inside, (gradient * of_step).sum(), (gradient * of_range).sum()


def uniform(x: Tensor, step: Tensor, q_max: Tensor) -> Tensor:
    """x: [...]; step, q_max: scalars above 0. Returns the nearest multiples of the step, or the range with the sign of
    what is beyond it, [...]; with the gradients of eq. 3c, in which that of x is 1 inside the range and 0 outside."""
    return cast("Tensor", _Uniform.apply(x, step, q_max))  # type: ignore[no-untyped-call]


# -- powers of two -----------------------------------------------------------------------------------


class PowerGrid(Grid):
    """Plus and minus the powers of two from q_min to q_max."""

    def __init__(self, weight: Tensor) -> None:
        q_max = weight.abs().max().clamp(min=_GAP).log2().round().exp2()
        super().__init__(q_max / 2.0 ** _octaves(_FIRST_BITS), q_max)

    def quantized(self, weight: Tensor, first: Tensor, second: Tensor) -> Tensor:
        """weight: [*shape]; first, second: q_min and q_max, []. Returns [*shape]."""
        return powers_of_two(weight, first, second)

    def learned(self) -> tuple[Tensor, Tensor]:
        """q_min and q_max, powers of two, each a scalar, []."""
        return _rounded(self.first.log2()).exp2(), _rounded(self.second.log2()).exp2()

    def soft_bits(self) -> Tensor:
        """log2(log2(q_max / q_min) + 1) + 1, [], with a gradient."""
        q_min, q_max = self.values()
        return ((q_max / q_min).log2() + 1).log2() + 1

    def candidates(self, weight: Tensor, bits: int) -> Sequence[tuple[Tensor, Tensor]]:  # noqa: ARG002 -- by the range
        """weight: [*shape]. Returns pairs of q_min and q_max, each a scalar, [], of octaves near the learned range."""
        q_max = self.values()[1].detach()
        return [(q_max / 2.0 ** (i + _octaves(bits)), q_max / 2.0**i) for i in _OCTAVES]

    def cut_gradients(self) -> None:
        for parameter in (self.first, self.second):
            _cut(parameter, self.first.item())

    @torch.no_grad()
    def limit(self) -> None:
        self.second.clamp_(min=_LEAST_POWER)
        most = self.second.item()
        self.first.clamp_(most / 2.0 ** _octaves(_MOST_POWER_BITS), most / 2.0 ** _octaves(LEAST_BITS))


class _PowersOfTwo(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, x: Tensor, q_min: Tensor, q_max: Tensor) -> Tensor:
        power = torch.floor(x.abs().clamp(min=torch.finfo(x.dtype).tiny).log2() + 0.5).exp2()
        value = _signs(x) * torch.maximum(torch.minimum(power, q_max), q_min)
        context.save_for_backward(x, q_min, q_max, value)
        return value

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x, q_min, q_max, value = context.saved_tensors
        (gradient,) = gradients
        below, above = x.abs() <= q_min, x.abs() > q_max
        of_x = torch.where(below | above, 0.0, value / torch.where(x == 0, 1.0, x))
        signed = gradient * _signs(x)
        return gradient * of_x, (signed * below).sum(), (signed * above).sum()


def powers_of_two(x: Tensor, q_min: Tensor, q_max: Tensor) -> Tensor:
    """x: [...]; q_min, q_max: powers of two, scalars. Returns the nearest power between them, by its exponent, with the
    sign of x, [...]. The gradient of x is the value by x between them, else 0."""
    return cast("Tensor", _PowersOfTwo.apply(x, q_min, q_max))  # type: ignore[no-untyped-call]


def _signs(x: Tensor) -> Tensor:
    return torch.where(x < 0, -1.0, 1.0).to(x)


def _octaves(bits: int) -> int:
    """From the smallest power to the largest."""
    return (1 << (bits - 1)) - 1


class _Rounded(torch.autograd.Function):
    @staticmethod
    def forward(_context: Any, x: Tensor) -> Tensor:
        return torch.round(x)

    @staticmethod
    def backward(_context: Any, *gradients: Tensor) -> Tensor:
        return gradients[0]


def _rounded(x: Tensor) -> Tensor:
    return cast("Tensor", _Rounded.apply(x))  # type: ignore[no-untyped-call]


def _cut(parameter: nn.Parameter, size: float) -> None:
    if parameter.grad is not None:
        parameter.grad.clamp_(-size, size)
