"""A multilinear surrogate of any latency of architectures: its expectation under independent choices is exact.

Kernel ridge regression on relative error under a product kernel, prod_i (1 + K_i[a_i, b_i]), plus a linear kernel for
the costs of single choices (in the spirit of TuNAS's products of choices, arXiv 2008.06120). K_i knows two ways in
which choices are alike: they are the same (a Hamming kernel), or they cost the same on their own; choices of the same
cost mostly affect other choices in the same way. With probabilities in the place of the choices, the kernel becomes its
own expectation, so nothing but the fit to architectures can be wrong.

2026-11-20, why not only the distilled MLP: from equal numbers of architectures this is closer to Monte Carlo
(DARTS cells, 1000 architectures: mean 0.1 against 0.5 %, worst 0.6 against 2.2 %; where a critical path
decides, 2.3 against 3.1 %), it is fitted in a second instead of a quarter of a minute, and its error on
architectures left out is known in closed form, so that it can ask for as many as it needs.

2026-11-21, why the costs of single choices enter the kernel: where a critical path alone decides (DARTS of 6 cells,
1200 architectures), the Hamming kernel is off by 4.9 % on architectures and by 1.8 % on expectations, with them 3.7
and 1.4 % (the worst of 200 stays at 10 to 11 %); half path, half sum: 1.6 and 0.6 % become 1.2 and 0.45 %. A boosted
ensemble on FBNet: 4.4 and 1.3 % (worst 9) become 4.0 and 1.1 % (worst 8). Similarities of choices learned by gradient,
on the marginal likelihood, were not better.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from hwprof.errors import InputError
from hwprof.objective.relaxed import Additive, LatencyOfArchs, free_entries, least_squares, one_hot

_FIRST_ARCHS = 300
TARGET_ERROR = 0.01  # on architectures left out; the worst relaxed latency is two to three times as far off
_SAME = (0.003, 0.01, 0.03, 0.1)  # how much two equal choices have in common
_ALIKE = (0.0, 0.03, 0.1, 0.3)  # and two that cost alike, where a position matters as much as the others do
_LINEAR = (1.0, 30.0, 1000.0)  # variance of the linear kernel, in units of the product kernel's linear part
_MOST_ALIKE = 0.9  # below 1, so that every factor of the product is positive
_RIDGES = np.geomspace(1e-8, 1e-2, 8)  # in units of the kernel's largest eigenvalue; less does not bear 32 bits
_COST_RIDGE = 1e-3


class Multilinear(torch.nn.Module):
    """A linear part, and the product kernel, less one, against known architectures. `left_out_error`: root mean
    square, relative, on architectures left out of the fit."""

    alike: torch.Tensor
    known: torch.Tensor
    weights_ms: torch.Tensor

    def __init__(
        self, linear: Additive, alike: np.ndarray, known: np.ndarray, weights_ms: np.ndarray, left_out_error: float
    ) -> None:
        """alike: [sum(choices), sum(choices)], the K_i along the diagonal; known: [n, sum(choices)], one-hot;
        weights_ms: [n]."""
        super().__init__()
        self.linear = linear
        self.left_out_error = left_out_error
        self.register_buffer("alike", torch.from_numpy(alike))
        self.register_buffer("known", torch.from_numpy(known.T.astype(np.float32)))
        self.register_buffer("weights_ms", torch.from_numpy(weights_ms))

    def forward(self, p: torch.Tensor) -> torch.Tensor:
        """p: [batch, sum(choices)]. Returns the expected latency, ms, [batch]."""
        factors = torch.log1p(p @ self.alike.to(p.dtype))
        kernel = torch.expm1(factors @ self.known.to(p.dtype))  # less one: 32 bits keep the small rest
        ms: torch.Tensor = self.linear(p) + kernel @ self.weights_ms.to(p.dtype)
        return ms


@dataclass(frozen=True, slots=True)
class _Kernel:
    """alike: [sum(choices), sum(choices)]; `linear`: variance of the linear part, relative to the product."""

    options: np.ndarray
    alike: np.ndarray
    linear: float

    def between(self, known: np.ndarray) -> np.ndarray:
        """known: [n, sum(choices)], one-hot. Returns [n, n]."""
        product = np.expm1(np.log1p(known @ self.alike) @ known.T)
        return np.asarray(product + self.linear * (self.options * known) @ known.T)


@dataclass(frozen=True, slots=True)
class _Solution:
    """weights_ms: [n]; error: root mean square, relative, on architectures left out."""

    error: float
    weights_ms: np.ndarray


def multilinear(choices: Sequence[int], archs: np.ndarray, latency_ms: LatencyOfArchs) -> Multilinear:
    """archs: [n, n_positions], uniformly random. Asks the source for the latencies of the first ones, and then of
    twice as many, until the error on architectures left out is small enough.

    Raises InputError for a latency that is not positive and finite.
    """
    n = min(first_archs(choices), len(archs))
    while True:
        ms = latency_ms(archs[:n])
        if not (np.isfinite(ms).all() and (ms > 0).all()):
            raise InputError("the latency source gives a latency that is not positive and finite")
        found = fit(choices, archs[:n], ms)
        if found.left_out_error <= TARGET_ERROR or n == len(archs):
            return found
        n = min(2 * n, len(archs))


def first_archs(choices: Sequence[int]) -> int:
    """The number of architectures that the source is asked for at first."""
    return max(_FIRST_ARCHS, 3 * free_entries(choices) // 2)


def fit(choices: Sequence[int], archs: np.ndarray, ms: np.ndarray) -> Multilinear:
    """archs: [n, n_positions]; ms: [n]. The kernel and ridge with the smallest leave-one-out error."""
    archs, first = np.unique(archs, axis=0, return_index=True)  # a copy would give away the one that is left out
    order = np.random.default_rng(0).permutation(len(archs))
    known, ms = one_hot(choices, archs[order]), ms[first][order]
    mean = float(ms.mean())
    some = slice(_FIRST_ARCHS)  # enough to tell kernels apart, and solved in no time
    kernels = _kernels(choices, least_squares(choices, known, ms, _COST_RIDGE).choice_ms.numpy())
    kernel = min(kernels, key=lambda k: _solve(k.between(known[some]), mean, ms[some]).error)
    best = _solve(kernel.between(known), mean, ms)
    choice_ms = kernel.linear * kernel.options * (known.T @ best.weights_ms)
    linear = Additive(mean, np.split(choice_ms, np.cumsum(choices)[:-1]))
    return Multilinear(linear, kernel.alike, known, best.weights_ms, best.error)


def _kernels(choices: Sequence[int], choice_ms: np.ndarray) -> list[_Kernel]:
    """choice_ms: [sum(choices)], the cost of each choice alone. Returns those worth trying."""
    options = np.repeat(choices, choices).astype(float)
    position = np.repeat(np.arange(len(choices)), choices)
    one_position = position[:, None] == position
    costs = choice_ms - (one_position @ choice_ms) / options
    spread = np.sqrt(np.sum(costs**2 / options) / len(choices))  # of an average position
    same = np.diag(options) - one_position
    alike = one_position * np.outer(costs, costs) / (spread**2 or 1.0)
    return [
        _Kernel(options, _bounded(a * same + b * alike), max(a, b) * linear)
        for a, b, linear in itertools.product(_SAME, _ALIKE, _LINEAR)
    ]


def _bounded(alike: np.ndarray) -> np.ndarray:
    """Each K_i scaled down to where its largest entry is admitted; it stays positive semidefinite."""
    largest = np.abs(alike).max(axis=1)
    of_position = ((alike != 0) * largest).max(axis=1)
    return np.asarray(alike / np.maximum(of_position / _MOST_ALIKE, 1)[:, None])


def _solve(kernel: np.ndarray, mean_ms: float, ms: np.ndarray) -> _Solution:
    """kernel: [n, n]; ms: [n]. Least squares on relative error with the best ridge."""
    share = ms / mean_ms
    values, vectors = np.linalg.eigh(kernel / share[:, None] / share)
    rotated = vectors.T @ ((ms - mean_ms) / share)
    solutions = []
    for ridge in _RIDGES * values[-1]:
        inverse = 1 / (np.clip(values, 0, None) + ridge)
        weights = vectors @ (rotated * inverse)
        left_out = weights / ((vectors**2) @ inverse) / mean_ms
        solutions.append(_Solution(float(np.sqrt(np.mean(left_out**2))), weights / share))
    return min(solutions, key=lambda s: s.error)
