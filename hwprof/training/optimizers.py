"""The optimizers of a training: the network's parameters in one, those of hooks in others."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import nn
from torch.optim import SGD, Adam, AdamW, Optimizer

from hwprof.training.hooks import ParamGroup
from hwprof.training.settings import OptimizerName, TrainSettings

_FULL_RATE = "full_rate"  # in a group: the rate that the schedule is a share of


class Optimizers:
    """One for each kind of optimizer that is asked for.

    network: the parameters that the settings train, without those in `groups`; `parameters`: all that learn.
    """

    def __init__(self, network: Iterable[nn.Parameter], groups: Sequence[ParamGroup], settings: TrainSettings) -> None:
        claimed = {id(parameter) for group in groups for parameter in group.parameters}
        self.network = [p for p in network if p.requires_grad and id(p) not in claimed]
        self.parameters = self.network + [p for group in groups for p in group.parameters]
        self._settings = settings
        by_kind: dict[OptimizerName, list[dict[str, Any]]] = {}
        for group in (*_network_groups(self.network, settings), *groups):
            made = {"params": list(group.parameters), "lr": group.rate, _FULL_RATE: group.rate}
            by_kind.setdefault(group.optimizer or settings.optimizer, []).append(
                made | {"weight_decay": group.weight_decay}
            )
        self.each = [_optimizer(kind, made, settings) for kind, made in by_kind.items()]

    def set_rates(self, epochs_done: float) -> None:
        share = self._settings.rate_share(epochs_done)
        for group in (group for optimizer in self.each for group in optimizer.param_groups):
            group["lr"] = share * group[_FULL_RATE]

    def zero_grad(self) -> None:
        for optimizer in self.each:
            optimizer.zero_grad()

    def step(self) -> None:
        """Clips the network's gradients, then steps."""
        if self._settings.max_gradient_norm is not None:
            torch.nn.utils.clip_grad_norm_(self.network, self._settings.max_gradient_norm)
        for optimizer in self.each:
            optimizer.step()


def _network_groups(parameters: Sequence[nn.Parameter], settings: TrainSettings) -> list[ParamGroup]:
    decayed = [p for p in parameters if settings.decay_biases_and_norms or p.ndim > 1]
    others = [p for p in parameters if not settings.decay_biases_and_norms and p.ndim <= 1]
    groups = [ParamGroup(decayed, settings.rate, settings.weight_decay), ParamGroup(others, settings.rate)]
    return [group for group in groups if group.parameters]


def _optimizer(kind: OptimizerName, groups: list[dict[str, Any]], settings: TrainSettings) -> Optimizer:
    if kind == "sgd":
        return SGD(groups, settings.rate, momentum=settings.momentum)
    return (Adam if kind == "adam" else AdamW)(groups, settings.rate)
