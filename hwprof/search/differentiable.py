"""Differentiable architecture search with a latency loss (LA-DARTS, Xu et al., arXiv 2001.06392).

Any `hwprof.interfaces.Supernet` can be searched; `hwprof.search.supernet` is that of the darts space. The weights learn
from the task's part "train", the architecture from its part "search", in turns; first order, as in PC-DARTS (arXiv
1907.05737). The architecture's loss is the task's plus a cost of the expected latency.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import torch
from torch import nn

from hwprof.errors import InputError
from hwprof.interfaces import AnnealedSupernet, Arch, Batch, LatencyFunction, Supernet, Task
from hwprof.spaces.darts import EDGES, NONE, OPERATIONS
from hwprof.training import EpochResult, History, Hooks, TrainSettings, fit
from hwprof.training.loop import device_of, on_device, output_of

Probabilities: TypeAlias = "torch.Tensor | Sequence[torch.Tensor]"  # as `Supernet.probabilities` gives them
ExpectedMs = Callable[[Probabilities], torch.Tensor]  # to a scalar, ms
LatencyCost = Callable[[torch.Tensor], torch.Tensor]  # ms -> a term of the loss; a `LatencyLoss`
DARTS_WEIGHTS = TrainSettings(
    least_rate=0.001, weight_decay=3e-4, max_gradient_norm=5.0, validation=None
)  # as DARTS (arXiv 1806.09055) trains weights: SGD, rate 0.025, momentum 0.9
_WITH_WEIGHTS = {choice for choice, name in enumerate(OPERATIONS) if "conv" in name}
_SKIP = OPERATIONS.index("skip_connect")


@dataclass(frozen=True, slots=True)
class SearchSettings:
    """The defaults are those of PC-DARTS, for its 50 epochs; a short search needs a larger `architecture_rate`.

    stop_early: the search of a darts space ends when its network has collapsed (see `Epoch`), and finds what the last
    epoch before that derived (early stopping as in DARTS+, Liang et al., arXiv 1909.06035).
    harden_from: the share of the search after which an `AnnealedSupernet` starts to harden. An operation that
    sparsestmax has excluded has no gradient, and no loss brings it back: a later start lets the operations learn first.

    Raises InputError for a share that is not from 0 to below 1.
    """

    weights: TrainSettings = DARTS_WEIGHTS
    architecture_rate: float = 6e-4
    architecture_decay: float = 1e-3
    stop_early: bool = False
    harden_from: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.harden_from < 1:
            raise InputError(f"a search hardens from a share of 0 to below 1, not {self.harden_from}")


@dataclass(frozen=True, slots=True)
class Epoch:
    """The state of a search after an epoch; `skips` and `collapsed` are for the darts space.

    validation_loss and validation_metric, in the task's unit: means over the batches of the part "search", each before
    the architecture learned from it.
    """

    number: int
    arch: Arch
    expected_ms: float
    validation_loss: float
    validation_metric: float

    @property
    def skips(self) -> float:
        """The share of skip connections among the derived inputs."""
        kept = [choice for choice in self.arch if choice != NONE]
        return kept.count(_SKIP) / len(kept)

    @property
    def collapsed(self) -> bool:
        """Whether no operation with weights is left in the normal cells, so that the network cannot learn much more.
        A cost without a minimum can cause this; `LatencyLoss` with shape "abs" and a target pulls back."""
        return not _WITH_WEIGHTS & set(self.arch[: len(EDGES)])


@dataclass(frozen=True, slots=True)
class Found:
    """derived_ms: the latency function's value for the derived network; gap_ms: derived - expected. A large gap means
    that the loss looked at networks unlike the one that was derived."""

    arch: Arch
    expected_ms: float
    derived_ms: float
    history: tuple[Epoch, ...]

    @property
    def gap_ms(self) -> float:
        return self.derived_ms - self.expected_ms

    @property
    def collapsed(self) -> bool:
        return self.history[-1].collapsed


def warm_up(supernet: Supernet, task: Task, settings: TrainSettings = DARTS_WEIGHTS) -> History:
    """Trains the weights of the supernet in place; its architecture stays unchanged. Raises as `fit`."""
    return fit(_module(supernet), task, settings, parameters=weights_of(supernet))


def search(
    supernet: Supernet,
    task: Task,
    expected_ms: ExpectedMs,
    cost: LatencyCost,
    latency_ms: LatencyFunction,
    settings: SearchSettings | None = None,
    on_epoch: Callable[[Epoch], None] = lambda _epoch: None,
) -> Found:
    """Trains the supernet in place and returns the architecture that it arrives at.

    expected_ms: an `ExpectedLatency` of the supernet's space or anything else that maps its probabilities to a scalar,
    ms; latency_ms is called once, at the end. `warm_up` the weights first, or
    operations without weights win early. Raises InputError where the expected latency is not finite, and as `fit`.
    """
    settings = settings or SearchSettings()
    _expect(supernet, expected_ms)
    architect = _Architect(supernet, task, expected_ms, cost, settings, on_epoch)
    weights = replace(settings.weights, validation=None, keep="last")  # the architect validates on every batch
    fit(_module(supernet), task, weights, [architect], parameters=weights_of(supernet))
    last = architect.found()
    derived_ms = float(latency_ms([supernet.space.graph(last.arch)])[0])
    return Found(last.arch, last.expected_ms, derived_ms, tuple(architect.history))


def weights_of(supernet: Supernet) -> list[nn.Parameter]:
    """The parameters that training changes, without those of the architecture."""
    open_ones = {id(parameter) for parameter in supernet.architecture_parameters()}
    return [p for p in _module(supernet).parameters() if p.requires_grad and id(p) not in open_ones]


def _module(supernet: Supernet) -> nn.Module:
    if not isinstance(supernet, nn.Module):
        raise InputError(f"a supernet is a torch.nn.Module, not a {type(supernet).__name__}")
    return supernet


class _Architect(Hooks):
    """Takes a step of the alphas and betas before each step of the weights."""

    def __init__(
        self,
        supernet: Supernet,
        task: Task,
        expected_ms: ExpectedMs,
        cost: LatencyCost,
        settings: SearchSettings,
        on_epoch: Callable[[Epoch], None],
    ) -> None:
        self.history: list[Epoch] = []
        self._supernet, self._task, self._expected_ms, self._cost = supernet, task, expected_ms, cost
        self._on_epoch = on_epoch
        self._parameters = list(supernet.architecture_parameters())
        self._stop_early, self._epochs = settings.stop_early, settings.weights.epochs
        self._harden_from = settings.harden_from
        self._optimizer = torch.optim.Adam(
            self._parameters, settings.architecture_rate, betas=(0.5, 0.999), weight_decay=settings.architecture_decay
        )
        self._batches = _endless_batches(task, settings.weights)
        self._figures: list[tuple[float, float]] = []

    def found(self) -> Epoch:
        """The last epoch; where the search stops early, the last one before the collapse, if there is one."""
        usable = [epoch for epoch in self.history if not (self._stop_early and epoch.collapsed)]
        return (usable or self.history)[-1]

    def before_step(self, step: int) -> None:  # noqa: ARG002
        network = _module(self._supernet)
        batch = on_device(next(self._batches), device_of(network))
        output = output_of(network, self._task, batch)
        loss = self._task.loss(output, batch.targets)
        self._figures.append((loss.item(), self._task.metric(output.detach(), batch.targets)))
        total = loss + self._cost(self._expected_ms(self._supernet.probabilities()))
        self._optimizer.zero_grad()
        total.backward(inputs=self._parameters)  # type: ignore[no-untyped-call]
        self._optimizer.step()

    def penalty(self, progress: float) -> float:
        self._anneal(progress)
        return 0.0

    def should_stop(self, epochs: Sequence[EpochResult]) -> bool:  # noqa: ARG002
        return self._stop_early and self.history[-1].collapsed

    def after_epoch(self, epoch: int) -> None:
        self._anneal((epoch + 1) / self._epochs)
        loss, metric = (_mean(values) for values in zip(*self._figures, strict=True))
        expected_ms = _expect(self._supernet, self._expected_ms)
        self.history.append(Epoch(epoch, self._supernet.derive(), expected_ms, loss, metric))
        self._figures.clear()
        self._on_epoch(self.history[-1])

    def _anneal(self, progress: float) -> None:
        """progress: 0 to 1, the share of the search that is done."""
        if isinstance(self._supernet, AnnealedSupernet):
            self._supernet.anneal(max(0.0, (progress - self._harden_from) / (1 - self._harden_from)))


def _endless_batches(task: Task, settings: TrainSettings) -> Iterator[Batch]:
    """Raises InputError, when the first batch is asked for, where there is none."""
    examples = task.examples("search")
    if not examples.n_batches(settings.batch_size):
        raise InputError(f"task {task.name!r} has no batch in its part 'search' for the architecture to learn from")
    order = torch.Generator().manual_seed(settings.seed)
    while True:
        yield from examples.batches(settings.batch_size, order)


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _expect(supernet: Supernet, expected_ms: ExpectedMs) -> float:
    with torch.no_grad():
        ms = float(expected_ms(supernet.probabilities()))
    if not 0 < ms < float("inf"):
        raise InputError(f"the expected latency is {ms} ms, not a positive number; check where it comes from")
    return ms
