"""Training of weights: of a supernet before its search, and of the networks that are derived from it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch.nn import functional

from hwprof.errors import InputError
from hwprof.torch_io.trainable import TrainableGraph as Network

_EVALUATED_AT_ONCE = 500


@dataclass(frozen=True, slots=True)
class Examples:
    """images: [n, 3, height, width], float; labels: [n], int64."""

    images: torch.Tensor
    labels: torch.Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def halves(self, seed: int = 0) -> tuple[Examples, Examples]:
        """Two disjoint random halves. Raises InputError for fewer than two examples."""
        if len(self) < 2:
            raise InputError(f"{len(self)} examples have no halves")
        order = torch.randperm(len(self), generator=torch.Generator().manual_seed(seed))
        return self._at(order[: len(self) // 2]), self._at(order[len(self) // 2 :])

    def batches(self, size: int, generator: torch.Generator) -> Iterator[Examples]:
        """All examples once, in random order; a last batch that would be smaller is left out, unless it is the only
        one."""
        order = torch.randperm(len(self), generator=generator)
        whole = max(len(self) - len(self) % size, min(size, len(self)))
        yield from (self._at(part) for part in torch.split(order[:whole], size))

    def _at(self, index: torch.Tensor) -> Examples:
        return Examples(self.images[index], self.labels[index])


@dataclass(frozen=True, slots=True)
class TrainSettings:
    """Stochastic gradient descent with momentum and a cosine from `rate` to `least_rate`, as DARTS trains."""

    epochs: int = 50
    batch: int = 64
    rate: float = 0.025
    least_rate: float = 0.001
    momentum: float = 0.9
    decay: float = 3e-4
    gradient_norm: float = 5.0
    seed: int = 0


class WeightTrainer:
    """Takes the steps of a training: `step` for each batch, `end_epoch` after the last one of an epoch."""

    def __init__(self, network: Network, settings: TrainSettings) -> None:
        self.network = network
        self.settings = settings
        self._weights = network.weights()
        self._optimizer = torch.optim.SGD(
            self._weights, settings.rate, momentum=settings.momentum, weight_decay=settings.decay
        )
        self._schedule = torch.optim.lr_scheduler.CosineAnnealingLR(
            self._optimizer, settings.epochs, eta_min=settings.least_rate
        )

    def step(self, batch: Examples) -> None:
        loss = functional.cross_entropy(self.network(batch.images), batch.labels)
        self._optimizer.zero_grad()
        loss.backward(inputs=self._weights)  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self._weights, self.settings.gradient_norm)
        self._optimizer.step()

    def end_epoch(self) -> None:
        self._schedule.step()


def train(network: Network, examples: Examples, settings: TrainSettings) -> None:
    """Trains the weights in place; an architecture that is still open stays as it is."""
    trainer = WeightTrainer(network, settings)
    generator = torch.Generator().manual_seed(settings.seed)
    network.train()
    for _ in range(settings.epochs):
        for batch in examples.batches(settings.batch, generator):
            trainer.step(batch)
        trainer.end_epoch()


def accuracy(network: Network, examples: Examples) -> float:
    """Share of the examples that the network labels right. Raises InputError when there is none."""
    if not len(examples):
        raise InputError("there is no example to measure the accuracy on")
    network.eval()
    with torch.no_grad():
        guessed = torch.cat([network(part).argmax(-1) for part in torch.split(examples.images, _EVALUATED_AT_ONCE)])
    return float((guessed == examples.labels).float().mean())
