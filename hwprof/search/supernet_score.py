"""Scores from the shared weights of a trained supernet (Bender et al., ICML 2018; Guo et al., arXiv 1904.00420)."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice

from hwprof import plugins
from hwprof.errors import InputError
from hwprof.interfaces import Arch, Part, Supernet, Task, higher_is_better

with plugins.optional_library("a score by a supernet"):
    import torch
    from torch import nn

    from hwprof.torch_io.functions import BatchNorm
    from hwprof.training import evaluate
    from hwprof.training.loop import output_of

_MEMBERS = ("space", "probabilities", "derive", "at", "architecture_parameters")


@dataclass(frozen=True, slots=True, eq=False)
class SupernetScore:
    """The task's metric of an architecture with the weights of the supernet, on the part "search"; minus it, where
    smaller ones are better.

    The statistics of batch norms belong to one architecture, so that they are taken again for each, from `batches` of
    the part "train" (as Guo et al. do); 0 leaves them. The supernet itself is not changed.
    """

    supernet: Supernet
    task: Task
    batches: int = 4
    batch_size: int = 128

    def __call__(self, arch: Arch) -> float:
        """Raises InputError for an architecture outside of the space."""
        metric = self._metric(arch, "search")
        return metric if higher_is_better(self.task) else -metric

    def final(self, arch: Arch) -> float:
        """The metric on the part "test"."""
        return self._metric(arch, "test")

    def _metric(self, arch: Arch, part: Part) -> float:
        network = copy.deepcopy(self.supernet.at(arch))
        if self.batches:
            calibrate_norms(network, self.task, self.batches, self.batch_size)
        return evaluate(network, self.task, part)


def load_supernet(reference: str) -> Supernet:
    """The trained supernet of package.module:OBJECT or file.py:OBJECT, or what the function there returns. Raises
    InputError for an object that is not a supernet."""
    made = plugins.user_object(reference)
    if callable(made) and not isinstance(made, nn.Module):
        made = made()
    missing = [member for member in _MEMBERS if not hasattr(made, member)]
    if missing or not isinstance(made, nn.Module):
        raise InputError(
            f"{reference!r} is a {type(made).__name__} without {', '.join(missing) or 'being a torch.nn.Module'}; a "
            f"supernet has {', '.join(_MEMBERS)}"
        )
    found: Supernet = made  # type: ignore[assignment]  # it has all members
    return found


def calibrate_norms(network: nn.Module, task: Task, batches: int, batch_size: int = 128) -> None:
    """Takes the statistics of batch norms again, as the mean over batches of the part "train", in place; the network
    ends in evaluation mode."""
    with torch.no_grad(), _averaging(network) as set_share:
        for number, batch in enumerate(islice(task.examples("train").batches(batch_size), batches)):
            set_share(1 / (number + 1))
            output_of(network, task, batch)
    network.eval()


@contextmanager
def _averaging(network: nn.Module) -> Iterator[Averaging]:
    """Only batch norms are in training mode, so that a dropout does not drop."""
    network.eval()
    norms = [m for m in network.modules() if isinstance(m, BatchNorm | nn.modules.batchnorm._BatchNorm)]
    before = [norm.momentum for norm in norms]
    for norm in norms:
        norm.train()
    yield Averaging(norms)
    for norm, momentum in zip(norms, before, strict=True):
        norm.momentum = momentum


@dataclass(frozen=True, slots=True)
class Averaging:
    """Sets the share of the next batch in the statistics."""

    norms: list[BatchNorm | nn.modules.batchnorm._BatchNorm]

    def __call__(self, share: float) -> None:
        for norm in self.norms:
            norm.momentum = share
