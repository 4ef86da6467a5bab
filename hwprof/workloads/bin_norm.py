"""BinNorm: descriptors of exactly k ones, so that their Hamming distance compares them fairly (ZippyPoint, Kanakis et
al., arXiv 2203.03610).

In training, a shift of the logits makes their sigmoids add up to k; its gradient is analytic. For inference the k
largest logits are the ones.
"""

from __future__ import annotations

from typing import Any

from hwprof import plugins
from hwprof.errors import InputError

with plugins.optional_library("BinNorm"):
    import torch
    from torch import Tensor

ONES = 64
_HALVINGS = 60
_SATURATED = 40.0  # a sigmoid this far out is 0 or 1 in double precision


def bin_norm(logits: Tensor, k: int = ONES) -> Tensor:
    """logits: [..., n_bits]. Returns sigmoids of shifted logits that add up to k, in the same shape. Raises InputError
    for a k that is not between 0 and n_bits."""
    if not 0 < k < logits.shape[-1]:
        raise InputError(f"of {logits.shape[-1]} bits {k} cannot be ones; choose between 1 and {logits.shape[-1] - 1}")
    result: Tensor = _Balanced.apply(logits, k)  # type: ignore[no-untyped-call]
    return result


def ones_of(logits: Tensor, k: int = ONES) -> Tensor:
    """logits: [..., n_bits]. Returns the bits, bool, in the same shape: exactly k of them are true."""
    found = torch.zeros_like(logits, dtype=torch.bool)
    return found.scatter(-1, logits.topk(k, dim=-1).indices, True)


class _Balanced(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, logits: Tensor, k: int) -> Tensor:
        x = logits.double()
        low, high = (-x.amax(-1, keepdim=True) - _SATURATED, -x.amin(-1, keepdim=True) + _SATURATED)
        for _ in range(_HALVINGS):
            middle = (low + high) / 2
            is_much = (x + middle).sigmoid().sum(-1, keepdim=True) > k
            low, high = torch.where(is_much, low, middle), torch.where(is_much, middle, high)
        y = (x + (low + high) / 2).sigmoid().to(logits.dtype)
        context.save_for_backward(y)
        return y

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        """The shift moves so that the sum stays k: with H = y (1 - y), dx = H (dy - sum(H dy) / sum(H))."""
        (y,), (gradient,) = context.saved_tensors, gradients
        slope = y * (1 - y)
        mean = (slope * gradient).sum(-1, keepdim=True) / slope.sum(-1, keepdim=True).clamp(min=1e-30)
        return slope * (gradient - mean), None
