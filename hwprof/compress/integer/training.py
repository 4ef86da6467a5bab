"""Trains classifiers: a float network, and then its simulation in integers, whose weights it fine-tunes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from hwprof.errors import InputError

Labelled = Iterable[tuple[Tensor, Tensor]]  # inputs [batch, ...] and labels [batch], int64; a DataLoader is one


@dataclass(frozen=True, slots=True)
class TrainSettings:
    """Adam with a cosine from `rate` to 0; gradients longer than `gradient_norm` are shortened to it."""

    epochs: int = 3
    rate: float = 2e-3
    gradient_norm: float = 1.0


FINE_TUNING = TrainSettings(epochs=1, rate=3e-4)


def train(network: nn.Module, batches: Labelled, settings: TrainSettings = TrainSettings()) -> None:
    """Trains in place. batches: gone through once for each epoch.

    Raises InputError without a batch, and where the loss is not finite any more.
    """
    optimizer = torch.optim.Adam(network.parameters(), settings.rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, settings.epochs)
    network.train()
    for _ in range(settings.epochs):
        loss = None
        for x, labels in batches:
            loss = functional.cross_entropy(network(x), labels)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(network.parameters(), settings.gradient_norm)
            optimizer.step()
        if loss is None:
            raise InputError("there is no batch to train on")
        schedule.step()
        if not torch.isfinite(loss):
            raise InputError(
                "the loss is not finite any more: lower the rate, or look for values that are not in the data"
            )


def accuracy(network: nn.Module, batches: Labelled) -> float:
    """Share of the examples that the network labels right. Raises InputError when there is none."""
    network.eval()
    right = total = 0
    with torch.no_grad():
        for x, labels in batches:
            right += int((network(x).argmax(-1) == labels).sum())
            total += len(labels)
    if not total:
        raise InputError("there is no example to measure the accuracy on")
    return right / total
