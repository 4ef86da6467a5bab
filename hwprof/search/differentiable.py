"""Differentiable architecture search with a latency loss (LA-DARTS, Xu et al., arXiv 2001.06392).

Weights learn on one half of the examples, the architecture on the other, in turns; first order, as in
PC-DARTS. The architecture's loss is the cross-entropy plus a cost of the expected latency.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch.nn import functional

from hwprof.errors import InputError
from hwprof.interfaces import Arch, LatencyFunction
from hwprof.search.supernet import Supernet
from hwprof.search.training import Examples, TrainSettings, WeightTrainer
from hwprof.spaces.darts import EDGES, NONE, OPERATIONS

ExpectedMs = Callable[[torch.Tensor], torch.Tensor]  # probabilities [2, n_edges, n_operations] -> a scalar, ms
LatencyCost = Callable[[torch.Tensor], torch.Tensor]  # ms -> a term of the loss; a `LatencyLoss`
_WITH_WEIGHTS = {choice for choice, name in enumerate(OPERATIONS) if "conv" in name}
_SKIP = OPERATIONS.index("skip_connect")


@dataclass(frozen=True, slots=True)
class SearchSettings:
    """The defaults are those of PC-DARTS, for its 50 epochs; a short search needs a larger `architecture_rate`."""

    weights: TrainSettings = field(default_factory=TrainSettings)
    architecture_rate: float = 6e-4
    architecture_decay: float = 1e-3


@dataclass(frozen=True, slots=True)
class Epoch:
    """Where a search stands. Loss (cross-entropy) and accuracy are means over the validation batches, before
    each was learned from. `skips`: share of skip connections among the derived inputs."""

    number: int
    arch: Arch
    expected_ms: float
    validation_loss: float
    validation_accuracy: float

    @property
    def skips(self) -> float:
        kept = [choice for choice in self.arch if choice != NONE]
        return kept.count(_SKIP) / len(kept)

    @property
    def collapsed(self) -> bool:
        """No operation with weights is left in the normal cells: the network cannot learn much more. A cost
        without a lower end can bring this about; `LatencyLoss` with shape "abs" and a target pulls back."""
        return not _WITH_WEIGHTS & set(self.arch[: len(EDGES)])


@dataclass(frozen=True, slots=True)
class Found:
    """`derived_ms`: of the derived network, by the latency function; `gap_ms`: derived - expected. A large gap
    says that the loss watched networks unlike the one that came out."""

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


def search(
    supernet: Supernet,
    halves: tuple[Examples, Examples],
    expected_ms: ExpectedMs,
    cost: LatencyCost,
    latency_ms: LatencyFunction,
    settings: SearchSettings | None = None,
    on_epoch: Callable[[Epoch], None] = lambda _epoch: None,
) -> Found:
    """Trains the supernet in place and returns what it arrives at.

    halves: for the weights and for the architecture. expected_ms: an `ExpectedLatency` of the supernet's space or
    anything else that maps its probabilities to ms; latency_ms is asked once, at the end. Warm the weights up
    first (`hwprof.search.training.train`), or operations without weights win early. Raises InputError when there
    are no epochs or the expected latency is not finite.
    """
    settings = settings or SearchSettings()
    if settings.weights.epochs < 1:
        raise InputError(f"a search needs at least one epoch, not {settings.weights.epochs}")
    _expect(supernet, expected_ms)
    trainer = WeightTrainer(supernet, settings.weights)
    architect = _Architect(supernet, expected_ms, cost, settings)
    generator = torch.Generator().manual_seed(settings.weights.seed)
    history = []
    for number in range(settings.weights.epochs):
        supernet.train()
        pairs = zip(*(half.batches(settings.weights.batch, generator) for half in halves), strict=False)
        steps = [_step(architect, trainer, *pair) for pair in pairs]
        trainer.end_epoch()
        loss, right = (float(value) for value in torch.tensor(steps).mean(dim=0))
        history.append(Epoch(number, supernet.derive(), _expect(supernet, expected_ms), loss, right))
        on_epoch(history[-1])
    last = history[-1]
    derived_ms = float(latency_ms([supernet.space.graph(last.arch)])[0])
    return Found(last.arch, last.expected_ms, derived_ms, tuple(history))


def _step(architect: _Architect, trainer: WeightTrainer, training: Examples, validation: Examples) -> list[float]:
    figures = architect.step(validation)
    trainer.step(training)
    return figures


class _Architect:
    """Takes the steps of the alphas and betas."""

    def __init__(
        self, supernet: Supernet, expected_ms: ExpectedMs, cost: LatencyCost, settings: SearchSettings
    ) -> None:
        self._supernet = supernet
        self._expected_ms = expected_ms
        self._cost = cost
        self._parameters = supernet.architecture_parameters()
        self._optimizer = torch.optim.Adam(
            self._parameters, settings.architecture_rate, betas=(0.5, 0.999), weight_decay=settings.architecture_decay
        )

    def step(self, batch: Examples) -> list[float]:
        """Returns cross-entropy and accuracy on the batch."""
        logits = self._supernet(batch.images)
        entropy = functional.cross_entropy(logits, batch.labels)
        loss = entropy + self._cost(self._expected_ms(self._supernet.probabilities()))
        self._optimizer.zero_grad()
        loss.backward(inputs=self._parameters)  # type: ignore[no-untyped-call]
        self._optimizer.step()
        return [entropy.item(), float((logits.argmax(-1) == batch.labels).float().mean())]


def _expect(supernet: Supernet, expected_ms: ExpectedMs) -> float:
    with torch.no_grad():
        ms = float(expected_ms(supernet.probabilities()))
    if not 0 < ms < float("inf"):
        raise InputError(f"the expected latency is {ms} ms, not a positive number; check where it comes from")
    return ms
