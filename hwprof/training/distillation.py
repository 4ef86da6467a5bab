"""A network learns from another one's outputs (Hinton et al., Distilling the Knowledge in a Neural Network, arXiv
1503.02531, section 2)."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn
from torch.nn import functional

from hwprof.errors import InputError
from hwprof.interfaces import Batch
from hwprof.training.hooks import Hooks


class Distillation(Hooks):
    """Adds `weight` times the cross-entropy of softened classes, those of the teacher and of the network.

    teacher: maps the task's inputs [n, ...] to scores [n, n_classes]; it is copied and does not learn. temperature: the
    scores are divided by it, and the cross-entropy is multiplied by its square, so that its gradients keep their size.
    """

    def __init__(self, teacher: nn.Module, weight: float = 1.0, temperature: float = 4.0) -> None:
        """Raises InputError for a temperature or weight that is not positive."""
        if temperature <= 0 or weight <= 0:
            raise InputError(f"distillation needs a positive temperature and weight, not {temperature} and {weight}")
        self._teacher = copy.deepcopy(teacher).eval().requires_grad_(False)
        self._weight, self._temperature = weight, temperature

    def batch_loss(self, batch: Batch, output: Tensor) -> Tensor:
        """output: [n, n_classes], scores. Returns a scalar."""
        inputs = batch.inputs if isinstance(batch.inputs, tuple) else (batch.inputs,)
        with torch.no_grad():
            taught = (self._teacher(*inputs) / self._temperature).softmax(-1)
        loss = functional.cross_entropy(output / self._temperature, taught)
        return self._weight * self._temperature**2 * loss
