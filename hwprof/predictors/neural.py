"""Shared by the neural regressors: cross-validated errors, units, repeatable training, weights as safetensors."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, TypeVar

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load as tensors_from_bytes
from safetensors.torch import save as tensors_to_bytes
from torch import nn

from hwprof.errors import InputError
from hwprof.predictors import base
from hwprof.predictors.base import Target, fold_numbers
from hwprof.predictors.foothill import foothill

FOLDS = 3
_LEAST = 1e-3  # of a positive target, in units of its mean
_EXACT_SHARE, _LEAST_BEND = 0.1, 1e-6
_PRECISION = 0.05  # relative error up to which the loss of a positive target is quadratic
M = TypeVar("M", bound=nn.Module)
LossName: TypeAlias = Literal["smooth_l1", "l1", "l2", "foothill"]


def _foothill_loss(output: torch.Tensor, target: torch.Tensor, precision: float) -> torch.Tensor:
    """Its curve bends from that of a square into a line at the precision, or at the error that a tenth of the targets
    do not exceed where that is smaller: with heavy tails the line is what is right."""
    errors = output - target
    bend = errors.detach().abs().quantile(_EXACT_SHARE).clamp(_LEAST_BEND, precision)
    return foothill(errors, 1.0, 2 / float(bend)).mean()


# By name: of output and target, [n], and the error up to which a loss is quadratic, to a scalar.
_LOSSES: Mapping[LossName, Callable[[torch.Tensor, torch.Tensor, float], torch.Tensor]] = {
    "smooth_l1": lambda output, target, precision: nn.functional.smooth_l1_loss(output, target, beta=precision),
    "l1": lambda output, target, _: nn.functional.l1_loss(output, target),
    "l2": lambda output, target, _: nn.functional.mse_loss(output, target),
    "foothill": _foothill_loss,
}


@dataclass(frozen=True, slots=True)
class Units:
    """The units in which a network sees its target: a positive one in units of its mean, another one standardized."""

    centre: float
    spread: float
    positive: bool

    @classmethod
    def of(cls, values: np.ndarray, target: Target) -> Units:
        """values: [n], of the training networks."""
        if target.positive:
            return cls(0.0, float(values.mean()), True)
        return cls(float(values.mean()), float(values.std()), False)

    @classmethod
    def from_settings(cls, settings: Mapping[str, Any]) -> Units:
        """The inverse of `settings`. Raises KeyError or ValueError for others."""
        if "scale_ms" in settings:
            return cls(0.0, float(settings["scale_ms"]), True)
        return cls(float(settings["centre"]), float(settings["spread"]), False)

    def settings(self) -> dict[str, float]:
        """The units for a file, JSON-ready."""
        return {"scale_ms": self.spread} if self.positive else {"centre": self.centre, "spread": self.spread}

    def to_units(self, values: np.ndarray) -> torch.Tensor:
        """values: [n]. Returns [n], float32."""
        return as_tensor((values - self.centre) / self.spread)

    def from_units(self, output: torch.Tensor) -> np.ndarray:
        """output: [n], of a network. Returns [n], in the units of the target, and positive where that is."""
        values = output.numpy().astype(float)
        return np.asarray(self.centre + self.spread * (np.maximum(values, _LEAST) if self.positive else values))

    def loss(self, output: torch.Tensor, target: torch.Tensor, kind: LossName = "smooth_l1") -> torch.Tensor:
        """output, target: [n], in these units. Returns a scalar: the mean loss, of the relative error where the target
        is positive. Raises InputError for an unknown kind."""
        if kind not in _LOSSES:
            raise InputError(f"no loss of predictors is named {kind!r}; known: {', '.join(_LOSSES)}")
        if not self.positive:
            return _LOSSES[kind](output, target, 1.0)
        relative = output / target
        return _LOSSES[kind](relative, torch.ones_like(relative), _PRECISION)


def left_out_errors(
    fit_and_predict: Callable[[np.ndarray, np.ndarray], np.ndarray], values: np.ndarray, target: Target, seed: int
) -> np.ndarray:
    """values: [n], in the units of the target.

    fit_and_predict(train, test), both [n] of bool, returns the predictions of the test rows in these units, [n_test].
    Returns [n]: value minus prediction on the target's scale, by networks that did not see the row.
    """

    def scaled(train: np.ndarray, test: np.ndarray) -> np.ndarray:
        return target.to_scale(fit_and_predict(train, test))

    return base.left_out_errors(scaled, target.to_scale(values), fold_numbers(len(values), seed, FOLDS))


def train(module: nn.Module, loss: Callable[[int], torch.Tensor], steps: int, learning_rate: float) -> None:
    """Takes `steps` of Adam with a cosine schedule on loss(step), a scalar, with gradients clipped to norm 1."""
    optimizer = torch.optim.Adam(module.parameters(), lr=learning_rate, weight_decay=1e-5)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for step in range(steps):
        optimizer.zero_grad()
        loss(step).backward()  # type: ignore[no-untyped-call] # torch has no type here
        nn.utils.clip_grad_norm_(module.parameters(), 1.0)
        optimizer.step()
        schedule.step()


def seeded(seed: int, build: Callable[[], M]) -> M:
    """Returns the module, initialized from the seed; the caller's random state does not change."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build()


def weights_of(module: nn.Module) -> bytes:
    """Returns the weights in the safetensors format."""
    return bytes(tensors_to_bytes({name: tensor.contiguous() for name, tensor in module.state_dict().items()}))


def restored(build: Callable[[], M], stored: bytes) -> M:
    """The module with the weights of a file. It is built without memory, whatever sizes the file claims. Raises
    ValueError for the weights of another network."""
    try:
        with torch.device("meta"):
            module = build()
        module.load_state_dict(tensors_from_bytes(stored), assign=True)
    except (RuntimeError, SafetensorError) as error:
        raise ValueError(f"its weights are those of another network: {str(error).splitlines()[0]}") from None
    return module


def as_tensor(values: np.ndarray | Sequence[Any]) -> torch.Tensor:
    """values: [...]. Returns [...], float32."""
    return torch.as_tensor(np.asarray(values, np.float32))
