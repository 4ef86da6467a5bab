"""The integer arithmetic of products and of the LSTM cell in PyTorch, with the gradients of the real arithmetic.

The integers are those of `hwprof.integer.numerics.recurrent` and `fixed_point`, operation for operation, in int64 (sums
of products in float64, which holds them exactly). In the backward pass, rounding is the identity (the straight-through
estimator: Bengio, Léonard & Courville, arXiv 1308.3432) and tanh has the slope of the segment that contains its input,
like the piecewise-linear functions of iRNN (arXiv 2109.09828).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hwprof.integer.numerics import recurrent
from hwprof.integer.numerics.recurrent import CELL_BITS, GATE_BITS, SEGMENTS, VALUE_BITS
from hwprof.integer.program.program import Gates

_SEGMENT_WIDTH_BITS = 2 - (SEGMENTS.bit_length() - 1)  # a segment is 4 / SEGMENTS wide
_INT16 = (-(1 << 15), (1 << 15) - 1)


@dataclass(frozen=True, slots=True)
class Signal:
    """held: int64, the integers; real: float32, the numbers that they represent, with the gradient. Both have one
    shape."""

    held: Tensor
    real: Tensor


@dataclass(frozen=True, slots=True)
class Weight:
    """trained: float [n, depth], the parameter; dequantized: float [n, depth], its integers times their scale."""

    trained: Tensor
    dequantized: Tensor


def replaced(real: Tensor, slope: Tensor, value: Tensor) -> Tensor:
    """real, slope, value: [...], all of the same shape. Returns the value; its gradient with respect to `real` is the
    slope."""
    result: Tensor = _Replaced.apply(real, slope, value)  # type: ignore[no-untyped-call]
    return result


def product(x: Tensor, weight: Weight, bias: Tensor | None, value: Tensor) -> Tensor:
    """x: [..., depth]; bias: [n]; value: [..., n], x * weight + bias as the integers have it. Returns the value, with
    the gradients of the product."""
    result: Tensor = _Product.apply(x, weight.trained, weight.dequantized, bias, value)  # type: ignore[no-untyped-call]
    return result


class Requantized:
    """Sums of products, requantized as in `fixed_point.requantize`.

    weight: int8 [n, depth]; bias, multiplier, shift: int32 [n] or [1].
    """

    def __init__(self, weight: np.ndarray, bias: np.ndarray, multiplier: np.ndarray, shift: np.ndarray) -> None:
        self._weight = torch.from_numpy(weight).double().T
        self._bias, self._multiplier, self._shift = (torch.from_numpy(a).long() for a in (bias, multiplier, shift))
        self._half = torch.ones_like(self._shift) << (self._shift - 1)

    def __call__(self, x: Tensor) -> Tensor:
        """x: int64 [..., depth]. Returns int64 [..., n]."""
        sums = (x.double() @ self._weight).long() + self._bias
        return (sums * self._multiplier + self._half) >> self._shift


class GateSums:
    """The contribution of one operand to the gates. bias: float [4 * units], a parameter, or None."""

    def __init__(self, gates: Gates, weight: Weight, bias: Tensor | None = None) -> None:
        self._integers = Requantized(gates.weight, gates.bias, gates.multiplier, gates.shift)
        self._weight = weight
        self._bias = bias

    def __call__(self, x: Signal) -> Signal:
        """x: [..., depth]. Returns [..., 4 * units]."""
        held = self._integers(x.held).clamp(*_INT16)
        return Signal(held, product(x.real, self._weight, self._bias, held.float() / (1 << GATE_BITS)))


class LstmCell:
    """Steps of one layer. from_h: the contribution of the state to the gates."""

    def __init__(self, from_h: GateSums) -> None:
        self._from_h = from_h
        self._knots = torch.from_numpy(recurrent.knots()).long()

    def step(self, given: Signal, h: Signal, cell: Signal) -> tuple[Signal, Signal]:
        """given: [batch, 4 * units], the contribution of the input to the gates; h, cell: [batch, units].

        Returns h, with VALUE_BITS fractional bits and not yet on its grid, and the cell state; both [batch, units]."""
        fed = self._from_h(h)
        gates = Signal((given.held + fed.held).clamp(*_INT16), given.real + fed.real)
        three = 3 * (gates.held.shape[-1] // recurrent.GATES)
        in_, out, forget = _split(self._sigmoid(_columns(gates, slice(0, three))), 3)
        fresh = self._tanh(_columns(gates, slice(three, None)), GATE_BITS)
        added = _half_up(in_.held, fresh.held)
        added = (added + (1 << (VALUE_BITS - CELL_BITS - 1))) >> (VALUE_BITS - CELL_BITS)
        state = (_half_up(forget.held, cell.held) + added).clamp(*_INT16)
        cell = _passed(state, CELL_BITS, forget.real * cell.real + in_.real * fresh.real)
        bounded = self._tanh(cell, CELL_BITS)
        value = _half_up(out.held, bounded.held)
        return _passed(value, VALUE_BITS, out.real * bounded.real), cell

    def _tanh(self, x: Signal, bits: int) -> Signal:
        value, slope = self._lookup(x.held, bits)
        return Signal(value, replaced(x.real, slope, value.float() / (1 << VALUE_BITS)))

    def _sigmoid(self, x: Signal) -> Signal:
        """x: [...]. Returns (1 + tanh(x / 2)) / 2."""
        value, slope = self._lookup(x.held, GATE_BITS + 1)
        value = (value >> 1) + (1 << (VALUE_BITS - 1))
        return Signal(value, replaced(x.real, slope / 4, value.float() / (1 << VALUE_BITS)))

    def _lookup(self, x: Tensor, bits: int) -> tuple[Tensor, Tensor]:
        """x: int64 [...], with `bits` fractional bits. Returns `recurrent.tanh` of it and the slope there, 0 where it
        is saturated; both [...]."""
        places = bits + _SEGMENT_WIDTH_BITS
        last = (SEGMENTS << places) - 1
        size = x.abs()
        at = size.clamp(max=last)
        segment, share = at >> places, (at & ((1 << places) - 1)) << (VALUE_BITS - places)
        growth = self._knots[1][segment]
        value = self._knots[0][segment] + _half_up(growth, share)
        slope = growth.float() * 2.0 ** -(VALUE_BITS + _SEGMENT_WIDTH_BITS)
        return torch.where(x < 0, -value, value), torch.where(size <= last, slope, 0.0)


def _half_up(a: Tensor, b: Tensor) -> Tensor:
    return (a * b + (1 << (VALUE_BITS - 1))) >> VALUE_BITS


def _passed(held: Tensor, bits: int, real: Tensor) -> Signal:
    return Signal(held, replaced(real, torch.ones_like(real), held.float() / (1 << bits)))


def _columns(x: Signal, part: slice) -> Signal:
    return Signal(x.held[..., part], x.real[..., part])


def _split(x: Signal, n: int) -> list[Signal]:
    return [Signal(h, r) for h, r in zip(x.held.chunk(n, -1), x.real.chunk(n, -1), strict=True)]


class _Replaced(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, _real: Tensor, slope: Tensor, value: Tensor) -> Tensor:
        ctx.save_for_backward(slope)
        return value

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (slope,) = ctx.saved_tensors
        return grads[0] * slope, None, None


class _Product(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, _trained: Tensor, dequantized: Tensor, _bias: Tensor | None, value: Tensor
    ) -> Tensor:
        ctx.save_for_backward(x, dequantized)
        return value

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        x, dequantized = ctx.saved_tensors
        (grad,) = grads
        rows = grad.flatten(0, -2)
        to_x = grad @ dequantized if ctx.needs_input_grad[0] else None
        to_bias = rows.sum(0) if ctx.needs_input_grad[3] else None
        return to_x, rows.T @ x.flatten(0, -2), None, to_bias, None
