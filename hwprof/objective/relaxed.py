"""Latency as a differentiable function of choice probabilities: torch modules over flat probabilities.

Pure torch and NumPy. Each module takes `p`: [batch, sum(choices)], the
probabilities of all positions one after the other, and returns the expected latency, ms, [batch], when every
position draws its choice independently. `Additive` and `Tabulated` are exact; `Distilled` is learned, with
the exact part split off.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import torch
from torch.nn import functional

from hwprof.errors import InputError

_ADDITIVE_CHECKS = 64  # architectures beyond the free entries, on which an additive form must hold
_ADDITIVE_TOLERANCE = 1e-6
_POOL = 8192  # random probabilities that the soft-consistency term is trained on
LatencyOfArchs: TypeAlias = Callable[[np.ndarray], np.ndarray]  # archs [n, n_positions] -> ms [n]


class Additive(torch.nn.Module):
    """A constant and a time for each choice: linear, so exact in expectation."""

    choice_ms: torch.Tensor

    def __init__(self, constant_ms: float, choice_ms: Sequence[np.ndarray]) -> None:
        """choice_ms: for each position the times, [n_choices], of its choices."""
        super().__init__()
        self.constant_ms = float(constant_ms)
        self.register_buffer("choice_ms", torch.from_numpy(np.concatenate(choice_ms)))

    def forward(self, p: torch.Tensor) -> torch.Tensor:
        """p: [batch, sum(choices)]. Returns the expected latency, ms, [batch]."""
        return p @ self.choice_ms.to(p.dtype) + self.constant_ms


class Tabulated(torch.nn.Module):
    """The latency of every architecture, contracted with the probabilities of one position after the other."""

    table_ms: torch.Tensor

    def __init__(self, choices: Sequence[int], table_ms: np.ndarray) -> None:
        """table_ms: [product of the choices], in the order of itertools.product."""
        super().__init__()
        self.choices = list(choices)
        self.register_buffer("table_ms", torch.from_numpy(np.asarray(table_ms, float)))

    def forward(self, p: torch.Tensor) -> torch.Tensor:
        """p: [batch, sum(choices)]. Returns the expected latency, ms, [batch]."""
        remaining = self.table_ms.to(p.dtype).reshape(1, self.choices[0], -1)
        first, *rest = torch.split(p, self.choices, dim=-1)
        remaining = torch.einsum("bc,bcr->br", first, remaining.expand(len(p), -1, -1))
        for position in rest:
            remaining = torch.einsum("bc,bcr->br", position, remaining.reshape(len(p), position.shape[-1], -1))
        return remaining.squeeze(-1)


@dataclass(frozen=True, slots=True)
class DistillSettings:
    """`archs`: how many latencies the source is asked for. The soft-consistency term starts after `warmup` steps and
    regresses MLP(p) on the mean of MLP over `draws` architectures."""

    archs: int = 4000
    hidden: int = 128
    steps: int = 3000
    warmup: int = 500
    batch: int = 64
    draws: int = 16
    learning_rate: float = 2e-3
    gradient_norm: float = 1.0
    seed: int = 0


class Distilled(torch.nn.Module):
    """An additive part, which is exact in expectation, and an MLP for the effects of choices on each other."""

    def __init__(self, additive: Additive, mlp: torch.nn.Module, scale_ms: float) -> None:
        """mlp: from [batch, sum(choices)] to [batch, 1]; scale_ms: the ms in one unit of its output."""
        super().__init__()
        self.additive = additive
        self.mlp = mlp
        self.scale_ms = scale_ms

    def forward(self, p: torch.Tensor) -> torch.Tensor:
        """p: [batch, sum(choices)]. Returns the expected latency, ms, [batch]."""
        own = next(self.mlp.parameters()).dtype
        interaction: torch.Tensor = self.mlp(p.to(own)).squeeze(-1)
        total: torch.Tensor = self.additive(p) + self.scale_ms * interaction.to(p.dtype)
        return total


def one_hot(choices: Sequence[int], archs: np.ndarray) -> np.ndarray:
    """archs: [n, n_positions]. Returns [n, sum(choices)]."""
    offsets = np.cumsum([0, *choices[:-1]])
    encoded = np.zeros((len(archs), sum(choices)))
    np.put_along_axis(encoded, archs + offsets, 1.0, axis=1)
    return encoded


def random_probabilities(choices: Sequence[int], n: int, rng: np.random.Generator) -> np.ndarray:
    """Softmax of Gaussian alphas, from almost uniform to almost decided. Returns [n, sum(choices)]."""
    sharpness = np.exp(rng.uniform(np.log(0.1), np.log(10.0), size=(n, 1)))
    parts = []
    for options in choices:
        logits = sharpness * rng.standard_normal((n, options))
        exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
        parts.append(exponentials / exponentials.sum(axis=1, keepdims=True))
    return np.concatenate(parts, axis=1)


def draw(choices: Sequence[int], p: np.ndarray, n: int, rng: np.random.Generator) -> np.ndarray:
    """p: [batch, sum(choices)]. Returns [batch, n, n_positions] architectures drawn from it."""
    bounds = np.cumsum(choices)[:-1]
    drawn = []
    for position in np.split(p, bounds, axis=1):
        cumulative = np.cumsum(position, axis=1)[:, None, :]
        uniform = rng.random((len(p), n, 1)) * cumulative[..., -1:]
        drawn.append((uniform >= cumulative[..., :-1]).sum(axis=-1))
    return np.stack(drawn, axis=-1)


def uniform_archs(choices: Sequence[int], n: int, rng: np.random.Generator) -> np.ndarray:
    """Architectures drawn uniformly in every position, with repetitions. Returns [n, n_positions]."""
    return np.stack([rng.integers(options, size=n) for options in choices], axis=1)


def free_entries(choices: Sequence[int]) -> int:
    """The number of free entries of an additive latency: its constant, and all but one choice at each position."""
    return sum(options - 1 for options in choices) + 1


def additive(choices: Sequence[int], archs: np.ndarray, ms: np.ndarray) -> Additive | None:
    """The additive form of the latencies ms [n] of archs [n, n_positions]; None when it does not hold.

    Raises InputError for too few architectures to tell.
    """
    if len(archs) < free_entries(choices) + _ADDITIVE_CHECKS:
        raise InputError(f"{len(archs)} architectures cannot tell whether a latency is additive")
    encoded = one_hot(choices, archs)
    mean = ms.mean()
    weights = np.linalg.lstsq(encoded, ms - mean, rcond=None)[0]
    if not np.allclose(mean + encoded @ weights, ms, rtol=_ADDITIVE_TOLERANCE, atol=0):
        return None
    return Additive(float(mean), np.split(weights, np.cumsum(choices)[:-1]))


def least_squares(choices: Sequence[int], encoded: np.ndarray, ms: np.ndarray, ridge: float = 1e-6) -> Additive:
    """The additive form closest to the latencies ms [n] of encoded architectures [n, sum(choices)].

    Ridge on centred one-hot codes: the codes of a position add up to one, so plain least squares is not unique.
    """
    mean = ms.mean()
    centre = encoded.mean(axis=0)
    centred = encoded - centre
    weights = np.linalg.solve(centred.T @ centred + ridge * len(ms) * np.eye(len(centre)), centred.T @ (ms - mean))
    return Additive(float(mean - centre @ weights), np.split(weights, np.cumsum(choices)[:-1]))


def distill(choices: Sequence[int], latency_ms: LatencyOfArchs, settings: DistillSettings) -> Distilled:
    """Learns the relaxation of any latency from `settings.archs` architectures (a few seconds).

    Raises InputError when the source gives a latency that is not finite.
    """
    rng = np.random.default_rng(settings.seed)
    archs = uniform_archs(choices, settings.archs, rng)
    ms = latency_ms(archs)
    if not np.isfinite(ms).all():
        raise InputError("the latency source gives a latency that is not finite; it cannot be distilled")
    encoded = one_hot(choices, archs)
    linear = least_squares(choices, encoded, ms)
    residual = ms - linear(torch.from_numpy(encoded)).numpy()
    scale_ms = float(residual.std()) or 1.0
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        mlp = _mlp(encoded.shape[1], settings.hidden)
    _train(mlp, choices, _float(encoded), _float(residual / scale_ms), settings, rng)
    for parameter in mlp.parameters():
        parameter.requires_grad_(False)
    return Distilled(linear, mlp, scale_ms)


def _train(
    mlp: torch.nn.Module,
    choices: Sequence[int],
    encoded: torch.Tensor,
    target: torch.Tensor,
    settings: DistillSettings,
    rng: np.random.Generator,
) -> None:
    """encoded: [n, sum(choices)], target: [n], in units of its own spread."""
    optimizer = torch.optim.Adam(mlp.parameters(), lr=settings.learning_rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, settings.steps)
    soft = _float(random_probabilities(choices, _POOL, rng))
    drawn = draw(choices, soft.numpy(), settings.draws, rng).astype(np.int16)
    for step in range(settings.steps):
        picked = torch.from_numpy(rng.integers(len(encoded), size=settings.batch))
        loss = functional.smooth_l1_loss(mlp(encoded[picked]).squeeze(-1), target[picked])
        if step >= settings.warmup:
            of_pool = rng.integers(_POOL, size=settings.batch)
            loss = loss + _soft_inconsistency(mlp, choices, soft[of_pool], drawn[of_pool])
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(mlp.parameters(), settings.gradient_norm)
        optimizer.step()
        schedule.step()


def _soft_inconsistency(
    mlp: torch.nn.Module, choices: Sequence[int], p: torch.Tensor, archs: np.ndarray
) -> torch.Tensor:
    """How far MLP(p) is from the mean of MLP over its architectures. p: [batch, sum(choices)];
    archs: [batch, draws, n_positions]."""
    encoded = _float(one_hot(choices, archs.reshape(-1, len(choices))))
    with torch.no_grad():
        mean = mlp(encoded).reshape(archs.shape[:2]).mean(dim=1)
    return functional.smooth_l1_loss(mlp(p).squeeze(-1), mean)


def _mlp(inputs: int, hidden: int) -> torch.nn.Module:
    return torch.nn.Sequential(
        torch.nn.Linear(inputs, hidden), torch.nn.SiLU(), torch.nn.Linear(hidden, hidden), torch.nn.SiLU(),
        torch.nn.Linear(hidden, 1),
    )  # fmt: skip


def _float(values: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(values.astype(np.float32))
