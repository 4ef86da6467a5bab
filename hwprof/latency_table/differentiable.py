"""The part of a latency table that torch differentiates."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from hwprof.errors import InputError
from hwprof.latency_table.staircase import Staircase


class _Step(torch.autograd.Function):
    """Forward the step, backward its secant. values: one tensor per axis, all of the same shape."""

    @staticmethod
    def forward(ctx: Any, staircase: Staircase, *values: torch.Tensor) -> torch.Tensor:
        points = list(zip(*(v.detach().double().reshape(-1).tolist() for v in values), strict=True))
        slopes = np.array([staircase.secants(p) for p in points]).reshape(len(points), len(values))
        ctx.names = [axis.attribute.name for axis in staircase.axes]
        ctx.title = staircase.title
        ctx.save_for_backward(*(values[0].new_tensor(s).reshape(values[0].shape) for s in slopes.T))
        return values[0].new_tensor([staircase.step_ms(p) for p in points]).reshape(values[0].shape)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        needed = ctx.needs_input_grad[1:]
        for name, slope, need in zip(ctx.names, ctx.saved_tensors, needed, strict=True):
            if need and bool(slope.isnan().any()):
                raise InputError(
                    f"{ctx.title}: the slope along {name} is unknown, because the step's other end was not measured; "
                    "measure it, or pass a number instead of a tensor"
                )
        (grad,) = grads
        return None, *(grad * s if need else None for s, need in zip(ctx.saved_tensors, needed, strict=True))


def step_ms(staircase: Staircase, values: Sequence[Any]) -> torch.Tensor:
    """values: for each axis a number or a tensor [...], broadcast together. Returns ms, [...]. Raises InputError for
    anything else."""
    tensors = [v for v in values if isinstance(v, torch.Tensor)]
    if len(tensors) != sum(not isinstance(v, int | float | np.number) for v in values):
        raise InputError(f"{staircase.title}: attributes must be numbers or torch tensors")
    floating = [t for t in tensors if t.is_floating_point()] or [torch.zeros((), device=tensors[0].device)]
    like = floating[0]
    together = [v.to(like) if isinstance(v, torch.Tensor) else like.new_tensor(float(v)) for v in values]
    result: torch.Tensor = _Step.apply(staircase, *torch.broadcast_tensors(*together))  # type: ignore[no-untyped-call]
    return result


def expected_ms(probs: torch.Tensor, ms: np.ndarray) -> torch.Tensor:
    """probs: [..., n_keys]; ms: [n_keys]. Returns the expected latency, ms, [...]. Raises InputError for other
    shapes."""
    if probs.shape[-1] != len(ms) or not math.prod(probs.shape):
        raise InputError(f"probabilities of shape {tuple(probs.shape)} do not fit {len(ms)} choices")
    return probs @ torch.as_tensor(ms, dtype=probs.dtype, device=probs.device)
