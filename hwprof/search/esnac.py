"""Search by Gaussian processes over learned embeddings (ESNAC: Cao et al., arXiv 1902.00383).

A bidirectional LSTM reads the choices of an architecture one by one; the mean of its outputs, scaled to length 1, is
its embedding (`hwprof.predictors.embedding_gp` has the same kernel and likelihood, over layers of graphs). Several such
kernels are trained afresh in each round, each on a random half of the trials, and each proposes one architecture, with
the largest expected improvement among random candidates. So the proposals of a round differ.

2026-11-29, what differs from the paper's code. The kernels are trained at once, as one batch, and the leave-one-out
likelihood has a closed form: a round takes a second, not a minute. Scores are replaced by the normal quantiles of their
ranks, and half of the candidates are neighbours of the best networks, because random ones alone rarely improve late.
Its reward C (2 - C) A / A_teacher, C the share of parameters saved, is a score like any other here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from hwprof import plugins
from hwprof.interfaces import Arch, SearchSpace
from hwprof.search.evolution import mutated
from hwprof.search.model_guided import ModelGuided
from hwprof.search.rank_process import normal_quantiles

with plugins.optional_library("the strategy esnac"):
    import torch
    from torch import nn

    from hwprof.predictors.embedding_gp import kernel, left_out, noisy_kernel

_RATE, _DECAY = 1e-2, 5e-4


class Esnac(ModelGuided):
    """kernels: embeddings that are trained for each round; each proposes one architecture. hidden: units of each
    direction. steps: of the training. candidates: among which a kernel chooses. initial: how many random
    architectures are scored first."""

    needs: ClassVar[str] = "any space; PyTorch"
    paper: ClassVar[str] = "Cao et al., ESNAC, arXiv 1902.00383"

    def __init__(
        self,
        space: SearchSpace,
        seed: int = 0,
        kernels: int = 8,
        hidden: int = 24,
        steps: int = 40,
        candidates: int = 500,
        initial: int = 8,
    ) -> None:
        super().__init__(space, seed)
        self._kernels, self._hidden, self._steps = kernels, hidden, steps
        self._candidates, self._initial = candidates, max(2, initial)

    def ask(self, n: int) -> list[Arch]:
        """At most n different architectures: at first random ones, then the proposals of n of the kernels in turn."""
        if len(self._scored) < self._initial:
            return self._unseen.random(n)
        candidates = self._candidate_archs(n)
        if not candidates:
            return []
        improvements = self._improvements(candidates)
        improvements[:, ~self._feasibility.likely(candidates)] -= 1e6  # they come last
        chosen: list[int] = []
        for turn in range(min(n, len(candidates))):
            row = improvements[turn % self._kernels]
            row[chosen] = -np.inf
            chosen.append(int(row.argmax()))
        self._unseen.give_back([arch for i, arch in enumerate(candidates) if i not in chosen])
        return [candidates[i] for i in chosen]

    def _candidate_archs(self, n: int) -> list[Arch]:
        near = self._near_best(self._candidates // 2, lambda arch: mutated(self._space, arch, self._rng))
        return near + self._unseen.random(max(n, self._candidates - len(near)))

    def _improvements(self, candidates: Sequence[Arch]) -> np.ndarray:
        """Returns [n_kernels, n_candidates]: by how much each is expected to be better than the best one known."""
        target = torch.from_numpy(normal_quantiles(np.array([t.score for t in self._scored], float))).float()
        halves = self._halves(len(target))
        known = self._offset([t.arch for t in self._scored])[halves]
        embeddings = Embeddings(self._kernels, sum(self._space.choices), self._hidden, int(self._rng.integers(2**31)))
        _train(embeddings, known, target[halves], self._steps)
        with torch.no_grad():
            every = self._offset(candidates).expand(self._kernels, -1, -1)
            return expected_improvement(embeddings(known), target[halves], embeddings(every), target.max()).numpy()

    def _halves(self, n: int) -> torch.Tensor:
        """[n_kernels, n / 2], rounded up: different ones of 0 to n - 1 in each row."""
        order = self._rng.permuted(np.tile(np.arange(n), (self._kernels, 1)), axis=1)
        return torch.from_numpy(order[:, : (n + 1) // 2])

    def _offset(self, archs: Sequence[Arch]) -> torch.Tensor:
        """[n, n_positions]: each choice by its number among the choices of all positions."""
        starts = np.cumsum([0, *self._space.choices[:-1]])
        return torch.from_numpy(np.array(archs) + starts)


class Embeddings(nn.Module):
    """Several bidirectional LSTMs of equal size, which run as one batch. They share nothing."""

    def __init__(self, n: int, vocabulary: int, hidden: int, seed: int) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        bound = hidden**-0.5

        def drawn(*shape: int) -> nn.Parameter:
            return nn.Parameter((2 * torch.rand(2 * n, *shape, generator=generator) - 1) * bound)

        self.inputs = drawn(vocabulary, 4 * hidden)  # of a one-hot code: a row for each choice
        self.recurrent = drawn(hidden, 4 * hidden)

    def forward(self, choices: torch.Tensor) -> torch.Tensor:
        """choices: [n_embeddings, n_archs, n_positions]. Returns [n_embeddings, n_archs, 2 * hidden], of length 1."""
        n, n_archs, n_positions = choices.shape
        both = torch.cat([choices, choices.flip(-1)])
        groups = torch.arange(2 * n)[:, None, None]
        gates = self.inputs[groups, both]  # [2 n, n_archs, n_positions, 4 hidden]
        output = memory = total = gates.new_zeros(2 * n, n_archs, self.recurrent.shape[1])
        for position in range(n_positions):
            parts = (gates[:, :, position] + output @ self.recurrent).chunk(4, dim=-1)
            new, kept, shown = parts[0].sigmoid() * parts[2].tanh(), parts[1].sigmoid(), parts[3].sigmoid()
            memory = kept * memory + new
            output = shown * memory.tanh()
            total = total + output
        return nn.functional.normalize(torch.cat([total[:n], total[n:]], dim=-1), dim=-1)


def _train(embeddings: Embeddings, known: torch.Tensor, target: torch.Tensor, steps: int) -> None:
    """known: [n_embeddings, n, n_positions]; target: [n_embeddings, n]. Each kernel maximizes its own likelihood."""
    optimizer = torch.optim.Adam(embeddings.parameters(), _RATE, weight_decay=_DECAY)
    for _ in range(steps):
        error, variance = left_out(embeddings(known), target)
        loss: torch.Tensor = (error**2 / variance + variance.log()).mean(dim=-1).sum() / 2
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]  # torch does not annotate it
        optimizer.step()


def expected_improvement(
    points: torch.Tensor, target: torch.Tensor, candidates: torch.Tensor, best: torch.Tensor
) -> torch.Tensor:
    """points: [..., n, k] and candidates: [..., m, k], of length 1; target: [..., n]; best: a scalar. Returns [..., m]:
    the expected amount by which a candidate's target exceeds the best one."""
    covariance = kernel(candidates, points)
    solved = torch.linalg.solve(noisy_kernel(points), torch.cat([covariance.mT, target[..., None]], dim=-1))
    mean = (covariance @ solved[..., -1:])[..., 0]
    deviation = (1 - (covariance * solved[..., :-1].mT).sum(dim=-1)).clamp_min(1e-9).sqrt()
    scaled = (mean - best) / deviation
    density = (-(scaled**2) / 2).exp() / (2 * torch.pi) ** 0.5
    expected: torch.Tensor = deviation * (scaled * torch.special.ndtr(scaled) + density)
    return expected
