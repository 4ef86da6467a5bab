"""Hooks: the additions of a method to the training loop."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from hwprof.interfaces import Batch
from hwprof.training.history import EpochResult
from hwprof.training.settings import OptimizerName


@dataclass(frozen=True, slots=True, eq=False)
class ParamGroup:
    """Parameters with a rate of their own, which follows the schedule of the settings; they are not clipped.

    optimizer: None for that of the settings.
    """

    parameters: Sequence[nn.Parameter]
    rate: float
    weight_decay: float = 0.0
    optimizer: OptimizerName | None = None


class Hooks:
    """Does nothing; a method overrides what it needs. Within a step the hooks of a training are called in their order:

    `before_step`, forward, `batch_loss` and `penalty`, backward, `after_backward`, clipping, the optimizers,
    `after_step`. After the last step of an epoch: `after_epoch`, validation, `may_be_kept`, `should_stop`.

    Steps are counted from 0 over the whole training. Whatever a hook keeps in the network (parameters, buffers,
    parametrizations) is kept, restored and written with the network; the rest goes through `state` and `restore`.
    """

    def parameters(self) -> Sequence[ParamGroup]:
        """Parameters that are trained along, be they part of the network or not. Asked once, before the first step."""
        return ()

    def before_step(self, step: int) -> None:
        """For drawing a sub-network, for masks, for a step of another optimizer on other examples."""

    def batch_loss(self, batch: Batch, output: Tensor) -> Tensor | float:  # noqa: ARG002 -- for those that override it
        """output: [n, ...], the network's for batch.inputs. Returns a scalar, added to the loss: distillation."""
        return 0.0

    def penalty(self, progress: float) -> Tensor | float:  # noqa: ARG002
        """progress: share of all steps that is done, 0 to 1. Returns a scalar, added to the loss: latency, size."""
        return 0.0

    def after_backward(self, step: int) -> None:
        """For changing gradients, which `grad` of each parameter holds."""

    def after_step(self, step: int) -> None:
        """For projecting the weights: a truncated decomposition, clusters, a grid."""

    def after_epoch(self, epoch: int) -> None:
        """For annealing. What it does to the network is part of the state that is validated and kept."""

    def may_be_kept(self) -> bool:
        """Whether the state after this epoch may be the best: False while a constraint is not met."""
        return True

    def should_stop(self, epochs: Sequence[EpochResult]) -> bool:  # noqa: ARG002
        """epochs: all so far. The training ends where one hook says so."""
        return False

    def state(self) -> Mapping[str, Tensor]:
        """The tensors [...] that a continued training needs from this hook; by default those of `parameters`."""
        own = (parameter for group in self.parameters() for parameter in group.parameters)
        return {str(i): parameter.detach() for i, parameter in enumerate(own)}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Restores the result of `state`: tensors [...] of the same names, shapes and types, on the CPU."""
        with torch.no_grad():
            for name, tensor in self.state().items():
                tensor.copy_(state[name])


class EarlyStop(Hooks):
    """Ends a training whose metric has not become better for `patience` epochs."""

    def __init__(self, patience: int) -> None:
        self.patience = patience

    def should_stop(self, epochs: Sequence[EpochResult]) -> bool:
        scores = [epoch.score for epoch in epochs if epoch.score is not None]
        return len(scores) - 1 - scores.index(max(scores)) >= self.patience if scores else False
