"""Scores by a short training with the one loop of `hwprof.training`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

from hwprof import plugins
from hwprof.interfaces import Arch, Part, Task, higher_is_better
from hwprof.spaces.varied import VariedSpace

with plugins.optional_library("a score by training"):
    import torch

    from hwprof import tasks
    from hwprof.torch_io.trainable import trainable
    from hwprof.training import TrainSettings, evaluate, fit

SHORT = TrainSettings(epochs=3, rate=0.1, validation=None)


@dataclass(frozen=True, slots=True)
class TrainingScore:
    """The task's metric after a short training of the architecture's network; as a score minus it, where smaller ones
    are better.

    Space and task are given by reference, so that a score can be sent to another process. The number of threads is
    fixed, since it changes sums in their last bits: a score is the same however many workers there are. Raises
    InputError where the network does not fit the task.
    """

    space: str
    task: str
    variant: str = ""
    settings: TrainSettings = SHORT
    threads: int = 1

    def __call__(self, arch: Arch) -> float:
        """On the part "search"."""
        task = tasks.load(self.task)
        metric = self._trained(task, arch, "search")
        return metric if higher_is_better(task) else -metric

    def final(self, arch: Arch) -> float:
        """The metric on the part "test", after the same training."""
        return self._trained(tasks.load(self.task), arch, "test")

    @property
    def higher_is_better(self) -> bool:
        """Whether larger metrics are."""
        return higher_is_better(tasks.load(self.task))

    def identity(self) -> dict[str, Any]:
        """Everything that decides the scores, JSON-ready."""
        return {"score": "training", **asdict(self), **({} if self.higher_is_better else {"higher_is_better": False})}

    def _trained(self, task: Task, arch: Arch, part: Part) -> float:
        network = trainable(VariedSpace(self.space, self.variant).graph(arch), seed=self.settings.seed)
        with _threads(self.threads):
            fit(network, task, self.settings)
            return evaluate(network, task, part)


@contextmanager
def _threads(n: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(n)
    try:
        yield
    finally:
        torch.set_num_threads(before)
