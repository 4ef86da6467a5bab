"""Fits the sums over kernels of `hwprof.predictors.kernels` to the latencies of whole graphs, by gradient descent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from hwprof.predictors.kernel_sum import LIMIT, Member, Prepared

HIDDEN = 48
_RATE = 0.02
_RATES = (-4.0, -2.5)  # what `Member.logs` begins as: multiply-adds and bytes
_LAUNCH, _START = -2.0, -0.6  # what both begin as, of the logarithm of the shortest latency
_DECAY = 1e-3
_HUBER = 0.1  # of the log error, beyond which an error counts linearly
_TIE = 1e-3  # how strongly the constants of a kind are tied to those of all kinds
# Networks in one step. Several hundred are enough for its direction: with 1,100 networks a step costs a quarter.
_BATCH = 256

_MEMORY = (0.0, 25.0, -3.0)  # what `Member.memory` begins as: a cache of 32 MiB, and 20 bytes a nanosecond


@dataclass(frozen=True, slots=True)
class _Batch:
    """The kernels of some rows, as in `Prepared`. log_weights, owners: [k], the place of each kernel's row among the
    rows; log_ms: [n]."""

    features: Tensor
    kinds: Tensor
    amounts: Tensor
    counts: Tensor
    weights: Tensor
    log_weights: Tensor
    owners: Tensor
    log_ms: Tensor

    def totals(self, parameters: Sequence[Tensor]) -> Tensor:
        """parameters: as `Member` holds them. Returns ms, [n].

        tanh is written by the sigmoid, which PyTorch computes four times as fast: tanh(x) = 2 sigmoid(2x) - 1.
        """
        first, bias, second, logs, start, memory = parameters
        doubled = torch.addmm((2 * bias).index_select(0, self.kinds), self.features, 2 * first)
        hidden = torch.sigmoid(doubled) @ (2 * second) - second.sum()
        efficiency = (LIMIT * torch.tanh(hidden / LIMIT)).exp()
        rates = logs.exp().index_select(0, self.kinds)
        uncached = torch.sigmoid(memory[0].exp() * (self.log_weights - memory[1]))
        ms = (self.amounts * rates[:, :2]).sum(dim=1) * efficiency + rates[:, 2]
        ms = ms + self.weights * uncached * memory[2].exp()
        return torch.zeros(len(self.log_ms)).index_add(0, self.owners, ms * self.counts) + start.exp()


class Trainer:
    """All rows of a training, from which members learn on some. rows: [n]; log_ms: [n]."""

    def __init__(self, rows: Sequence[Prepared], log_ms: np.ndarray, n_kinds: int, steps: int) -> None:
        self._rows = rows
        self._log_ms = log_ms
        self._n_kinds = n_kinds
        self._steps = steps

    def member(self, learned: np.ndarray, seed: int) -> Member:
        """learned: [n], the numbers of the rows that are learned from. Returns a fitted sum."""
        generator = torch.Generator().manual_seed(seed)
        shortest = float(self._log_ms[learned].min())
        first = torch.randn(self._rows[0].features.shape[1], HIDDEN, generator=generator) * 0.1
        parameters = [
            first, torch.zeros(self._n_kinds, HIDDEN), torch.randn(HIDDEN, generator=generator) * 0.1,
            torch.tensor([*_RATES, shortest + _LAUNCH]).repeat(self._n_kinds, 1), torch.tensor(shortest + _START),
            torch.tensor(_MEMORY),
        ]  # fmt: skip
        for parameter in parameters:
            parameter.requires_grad_()
        order = learned[torch.randperm(len(learned), generator=generator).numpy()]
        batches = [self._batch(rows) for rows in np.array_split(order, max(1, round(len(order) / _BATCH)))]
        optimizer = torch.optim.Adam(parameters, _RATE)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, _RATE, total_steps=self._steps, pct_start=0.2)
        for step in range(self._steps):
            batch = batches[step % len(batches)]
            optimizer.zero_grad()
            errors = batch.totals(parameters).log() - batch.log_ms
            loss = torch.nn.functional.huber_loss(errors, torch.zeros_like(errors), delta=_HUBER) / _HUBER
            spread = parameters[3] - parameters[3].mean(dim=0, keepdim=True)
            loss = (
                loss + _TIE * spread.square().mean() + _DECAY * (first.square().mean() + parameters[2].square().mean())
            )
            torch.autograd.backward(loss)
            optimizer.step()
            schedule.step()
        made = [parameter.detach().double().numpy() for parameter in parameters]
        return Member(made[0], made[1], made[2], made[3], float(made[4]), made[5])

    def log_ms(self, member: Member, rows: np.ndarray) -> np.ndarray:
        """rows: [n] numbers. Returns log ms by the member, [n]."""
        arrays = (member.first, member.bias, member.second, member.logs, member.start, member.memory)
        parameters = [torch.tensor(array, dtype=torch.float32) for array in arrays]
        with torch.no_grad():
            return np.asarray(self._batch(rows).totals(parameters).log().numpy(), float)

    def _batch(self, rows: np.ndarray) -> _Batch:
        """rows: [n] numbers."""
        chosen = [self._rows[i] for i in rows.tolist()]
        sizes = [len(row.kinds) for row in chosen]

        def joined(name: str) -> Tensor:
            return torch.tensor(np.concatenate([getattr(row, name) for row in chosen]), dtype=torch.float32)

        return _Batch(
            joined("features"), torch.tensor(np.concatenate([row.kinds for row in chosen])), joined("amounts"),
            joined("counts"), joined("weights"),
            torch.tensor(np.repeat([row.log_weights for row in chosen], sizes), dtype=torch.float32),
            torch.tensor(np.repeat(np.arange(len(chosen)), sizes)),
            torch.tensor(self._log_ms[rows], dtype=torch.float32),
        )  # fmt: skip
