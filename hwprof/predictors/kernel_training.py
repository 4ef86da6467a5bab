"""Fits the sums over kernels of `hwprof.predictors.kernels` to the latencies of whole graphs, by gradient descent."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
import torch
from torch import Tensor

from hwprof.predictors.kernel_sum import LIMIT, Member

HIDDEN = 48
_RATE = 0.02
_DECAY = 1e-3
_HUBER = 0.1  # of the log error, beyond which an error counts linearly
_TIE = 1e-3  # how strongly the constants of a kind are tied to those of all kinds

Prepared: TypeAlias = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]


class Trainer:
    """All rows of a training, from which members learn on some. rows: [n] of (features [k, n_features], kinds [k],
    amounts [k, 2], counts [k]); log_ms: [n]."""

    def __init__(self, rows: Sequence[Prepared], log_ms: np.ndarray, n_kinds: int, steps: int) -> None:
        self._steps = steps
        kinds = np.concatenate([row[1] for row in rows])
        self._features = torch.tensor(np.concatenate([row[0] for row in rows]), dtype=torch.float32)
        self._kinds = torch.tensor(kinds)
        self._amounts = torch.tensor(np.concatenate([row[2] for row in rows]), dtype=torch.float32)
        self._counts = torch.tensor(np.concatenate([row[3] for row in rows]), dtype=torch.float32)
        self._owners = torch.tensor(np.repeat(np.arange(len(rows)), [len(row[1]) for row in rows]))
        self._log_ms = torch.tensor(log_ms, dtype=torch.float32)
        self._n_kinds = n_kinds

    def member(self, learned: np.ndarray, seed: int) -> Member:
        """learned: [n], the numbers of the rows that are learned from. Returns a fitted sum."""
        generator = torch.Generator().manual_seed(seed)
        first = torch.randn(self._features.shape[1], HIDDEN, generator=generator) * 0.1
        parameters = [
            first, torch.zeros(self._n_kinds, HIDDEN), torch.randn(HIDDEN, generator=generator) * 0.1,
            torch.tensor([-4.0, -2.5, -6.0]).repeat(self._n_kinds, 1), torch.tensor(-6.0),
        ]  # fmt: skip
        for parameter in parameters:
            parameter.requires_grad_()
        kept = self._kept(learned)
        wanted = self._log_ms[torch.as_tensor(learned)]
        optimizer = torch.optim.Adam(parameters, _RATE)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, _RATE, total_steps=self._steps, pct_start=0.2)
        for _ in range(self._steps):
            optimizer.zero_grad()
            errors = self._totals(parameters, kept, len(learned)).log() - wanted
            loss = torch.nn.functional.huber_loss(errors, torch.zeros_like(errors), delta=_HUBER) / _HUBER
            spread = parameters[3] - parameters[3].mean(dim=0, keepdim=True)
            loss = (
                loss + _TIE * spread.square().mean() + _DECAY * (first.square().mean() + parameters[2].square().mean())
            )
            torch.autograd.backward(loss)
            optimizer.step()
            schedule.step()
        made = [parameter.detach().double().numpy() for parameter in parameters]
        return Member(made[0], made[1], made[2], made[3], float(made[4]))

    def log_ms(self, member: Member, rows: np.ndarray) -> np.ndarray:
        """rows: [n] numbers. Returns log ms by the member, [n]."""
        parameters = [
            torch.tensor(a, dtype=torch.float32) for a in (member.first, member.bias, member.second, member.logs)
        ]
        with torch.no_grad():
            totals = self._totals([*parameters, torch.tensor(member.start)], self._kept(rows), len(rows))
        return np.asarray(totals.log().numpy(), float)

    def _kept(self, rows: np.ndarray) -> tuple[Tensor, Tensor]:
        """The numbers of the kernels of these rows, and the place of each one's row among them."""
        place = torch.full((len(self._log_ms),), -1)
        place[torch.as_tensor(rows)] = torch.arange(len(rows))
        owners = place[self._owners]
        kernels = torch.nonzero(owners >= 0).squeeze(1)
        return kernels, owners[kernels]

    def _totals(self, parameters: Sequence[Tensor], kept: tuple[Tensor, Tensor], n: int) -> Tensor:
        first, bias, second, logs, start = parameters
        kernels, owners = kept
        hidden = torch.tanh(self._features[kernels] @ first + bias[self._kinds[kernels]])
        efficiency = (LIMIT * torch.tanh(hidden @ second / LIMIT)).exp()
        rates = logs.exp()[self._kinds[kernels]]
        ms = (self._amounts[kernels] * rates[:, :2]).sum(dim=1) * efficiency + rates[:, 2]
        return torch.zeros(n).index_add(0, owners, ms * self._counts[kernels]) + start.exp()
