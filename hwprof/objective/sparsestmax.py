"""Sparsemax (Martins and Astudillo, arXiv 1602.02068) and sparsestmax (Shao et al., SSN, arXiv 1903.03793), which the
trilevel search of Wu et al. (arXiv 2101.06658) uses in place of softmax.

With a radius that grows from 0 to 1, sparsestmax goes from sparsemax to a single choice during a training, so that the
relaxed network ends as the derived one: no choice is rounded afterwards.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from hwprof.errors import InputError

_EQUAL = 1e-6  # two entries that are closer have no direction between them


def sparsemax(z: Tensor) -> Tensor:
    """z: [..., n_choices], logits. Returns the closest probabilities, in the same shape; small logits get exactly 0."""
    ordered = z.sort(dim=-1, descending=True).values
    place = torch.arange(1, z.shape[-1] + 1, device=z.device, dtype=z.dtype)
    sums = ordered.cumsum(-1) - 1
    support = (ordered * place > sums).sum(-1, keepdim=True)
    return (z - sums.gather(-1, support - 1) / support).clamp(min=0)


def sparsestmax(z: Tensor, radius: float) -> Tensor:
    """z: [..., n_choices], logits; radius: the share, 0 to 1, of the distance between the centre and a corner that the
    result keeps from the centre at least. Returns probabilities in the same shape: sparsemax at 0, one choice at 1.

    Raises InputError for a radius outside of 0 to 1.
    """
    if not 0 <= radius <= 1:
        raise InputError(f"the radius of sparsestmax is from 0 to 1, not {radius}")
    if radius == 1:
        return _hardened(z)
    n = z.shape[-1]
    p = sparsemax(z)
    if radius == 0:
        return p
    least = radius**2 * (1 - 1 / n)  # squared distance from the centre of all choices
    for _ in range(n - 1):
        support = p > 0
        size = support.sum(-1, keepdim=True)
        centre = support / size
        own = (least - (1 / size - 1 / n)).clamp(min=0).sqrt()  # the part of the distance that is within the support
        offset = p - centre
        length = offset.norm(dim=-1, keepdim=True)
        is_far = (length >= own) | (size == 1) | (length < _EQUAL)
        pushed = centre + own * offset / length.clamp(min=_EQUAL)
        p = torch.where(is_far, p, _back_on_simplex(pushed, support))
    return p


def _back_on_simplex(p: Tensor, support: Tensor) -> Tensor:
    """Sparsemax within the support."""
    return sparsemax(p.masked_fill(~support, -math.inf))


def _hardened(z: Tensor) -> Tensor:
    """One choice, with the gradient of sparsemax."""
    soft = sparsemax(z)
    hard = torch.zeros_like(z).scatter(-1, z.argmax(-1, keepdim=True), 1.0)
    return hard + soft - soft.detach()


def gumbel_softmax(z: Tensor, temperature: float, generator: torch.Generator | None = None) -> Tensor:
    """z: [..., n_choices], logits. Returns a soft draw in the same shape (Jang et al., arXiv 1611.01144): the lower the
    temperature, the closer to one choice. Raises InputError for a temperature that is not positive."""
    if not temperature > 0:
        raise InputError(f"a temperature must be positive, not {temperature}")
    noise = -torch.empty_like(z).exponential_(generator=generator).log()
    return ((z + noise) / temperature).softmax(-1)
