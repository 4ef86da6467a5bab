"""What the neural predictors share: cross-validated errors, repeatable training, weights as safetensors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np
import torch
from safetensors.torch import load as tensors_from_bytes
from safetensors.torch import save as tensors_to_bytes
from torch import nn

from hwprof.predictors.base import fold_numbers

FOLDS = 3
M = TypeVar("M", bound=nn.Module)


def left_out_errors(
    fit_and_predict: Callable[[np.ndarray, np.ndarray], np.ndarray], latencies_ms: np.ndarray, seed: int
) -> np.ndarray:
    """fit_and_predict(train, test), both [n] of bool, gives ms for the test rows. Returns [n]:
    log(measured / predicted) by networks that did not see the row."""
    folds = fold_numbers(len(latencies_ms), seed, FOLDS)
    errors = np.empty(len(latencies_ms))
    for fold in range(folds.max() + 1):
        out = folds == fold
        errors[out] = np.log(latencies_ms[out] / fit_and_predict(~out, out))
    return errors


def train(module: nn.Module, loss: Callable[[int], torch.Tensor], steps: int, learning_rate: float) -> None:
    """`steps` of Adam with a cosine schedule on loss(step); the norm of the gradient is clipped to 1."""
    optimizer = torch.optim.Adam(module.parameters(), lr=learning_rate, weight_decay=1e-5)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for step in range(steps):
        optimizer.zero_grad()
        loss(step).backward()  # type: ignore[no-untyped-call] # torch has no type here
        nn.utils.clip_grad_norm_(module.parameters(), 1.0)
        optimizer.step()
        schedule.step()


def seeded(seed: int, build: Callable[[], M]) -> M:
    """The module, initialized from the seed; the caller's random state stays untouched."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build()


def weights_of(module: nn.Module) -> bytes:
    """In the safetensors format."""
    return bytes(tensors_to_bytes({name: tensor.contiguous() for name, tensor in module.state_dict().items()}))


def restore_weights(module: nn.Module, stored: bytes) -> None:
    """Raises ValueError for weights of another network."""
    try:
        module.load_state_dict(tensors_from_bytes(stored))
    except RuntimeError as error:
        raise ValueError(f"its weights are those of another network: {str(error).splitlines()[0]}") from None


def as_tensor(values: np.ndarray | Sequence[Any]) -> torch.Tensor:
    """Of float32."""
    return torch.as_tensor(np.asarray(values, np.float32))
