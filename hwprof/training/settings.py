"""How a network is trained: optimizer, rate, batches, which epoch is kept."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, TypeAlias

from hwprof.errors import InputError
from hwprof.interfaces import Part

OptimizerName: TypeAlias = Literal["sgd", "adam", "adamw"]
OPTIMIZERS: tuple[OptimizerName, ...] = ("sgd", "adam", "adamw")


@dataclass(frozen=True, slots=True)
class TrainSettings:
    """Raises InputError for values that cannot be.

    rate: of the optimizer, constant or, after each epoch, on a half cosine that would reach `least_rate` after the
    last one; it grows in even steps during the first `warmup_epochs`. momentum: of "sgd". max_gradient_norm: gradients
    of the network's parameters are scaled down to this length, together; None leaves them. validation: the part on
    which the metric is taken after each epoch; None takes none. keep: the state of the last epoch, or of the epoch
    with the best metric. seed: decides the order of the examples and all that PyTorch draws.
    """

    epochs: int = 50
    batch_size: int = 64
    optimizer: OptimizerName = "sgd"
    rate: float = 0.025
    least_rate: float = 0.0
    schedule: Literal["cosine", "constant"] = "cosine"
    warmup_epochs: float = 0
    momentum: float = 0.9
    weight_decay: float = 0.0
    decay_biases_and_norms: bool = True
    max_gradient_norm: float | None = None
    validation: Part | None = "search"
    keep: Literal["last", "best"] = "last"
    seed: int = 0

    def __post_init__(self) -> None:
        _require(self.epochs >= 1, f"training needs at least one epoch, not {self.epochs}")
        _require(self.batch_size >= 1, f"a batch needs at least one example, not {self.batch_size}")
        _one_of("optimizer", self.optimizer, OPTIMIZERS)
        _one_of("schedule", self.schedule, ("cosine", "constant"))
        _one_of("state to keep", self.keep, ("last", "best"))
        _require(0 < self.rate < math.inf, f"the rate must be a positive number, not {self.rate}")
        for name in ("least_rate", "warmup_epochs", "momentum", "weight_decay"):
            value = getattr(self, name)
            _require(0 <= value < math.inf, f"{name} must be a number of at least 0, not {value}")
        norm = self.max_gradient_norm
        _require(norm is None or norm > 0, f"max_gradient_norm must be positive or None, not {norm}")
        _require(self.keep == "last" or self.validation is not None, "keep='best' needs a part for validation")

    def rate_share(self, epochs_done: float) -> float:
        """The rate after this many epochs, as a share of `rate`."""
        warm = min(1.0, epochs_done / self.warmup_epochs) if self.warmup_epochs else 1.0
        if self.schedule == "constant":
            return warm
        least = self.least_rate / self.rate
        return warm * (least + (1 - least) * (1 + math.cos(math.pi * int(epochs_done) / self.epochs)) / 2)


def _require(condition: bool, text: str) -> None:
    if not condition:
        raise InputError(text)


def _one_of(what: str, value: str, known: tuple[str, ...]) -> None:
    _require(value in known, f"no {what} is named {value!r}; known: {', '.join(known)}")
