"""The one run of all searches: it scores what a search asks for, within a number of evaluations and a latency.

A search asks, the run answers with trials. What is above the latency limit is refused before it is scored; what was
scored before is answered from memory. Evaluations are the different architectures that a run needs scored, whether or
not an earlier run paid for the score, so that two searches are compared at equal evaluations.

2026-11-29, how a killed run goes on. Nothing of a search is stored but the scores. A search that starts again with the
same seed asks the same questions and gets the stored scores at once, until it is where it was. The alternative, to
store the state of every search, would need a format for each of them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, as_completed
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np

from hwprof.errors import InputError
from hwprof.interfaces import Arch, Search, SearchSpace, Trial
from hwprof.objective.arch_latency import ArchLatency
from hwprof.objective.budget import Budget

Score: TypeAlias = Callable[[Arch], float]  # larger is better
BATCH = 8
_MOST_FRUITLESS = 500  # calls of `ask` in a row without an architecture to score, before a run ends


@dataclass(frozen=True, slots=True)
class Limit:
    """latency_ms: maps [n_archs, n_positions] to ms, [n_archs]. Networks above `ms` are refused."""

    latency_ms: Callable[[np.ndarray], np.ndarray]
    ms: float = math.inf

    @classmethod
    def of(cls, budget: Budget, space: SearchSpace) -> Limit:
        """The latencies are those that networks stay below with the confidence of the budget."""
        return cls(ArchLatency(budget.upper_ms, space, budget.takes), budget.ms)


@dataclass(frozen=True, slots=True)
class Plan:
    """evaluations: how many different architectures are scored. batch: for how many a search is asked at once; unlike
    the number of workers it changes what a search finds."""

    evaluations: int
    batch: int = BATCH

    def __post_init__(self) -> None:
        if self.evaluations < 1 or self.batch < 1:
            raise InputError(
                f"a search needs at least one evaluation and a batch of one, not {self.evaluations} and {self.batch}"
            )


@dataclass(frozen=True, slots=True)
class Searched:
    """trials: all that were scored, in the order in which they were asked for, without repeats. refused: how many
    different architectures were above the limit."""

    trials: tuple[Trial, ...]
    refused: int

    def best(self) -> list[Trial]:
        """The trials, best score first; of equal ones the faster first."""
        return sorted(self.trials, key=lambda trial: (-(trial.score or 0.0), trial.latency_ms))


def run(
    search: Search,
    score: Score,
    limit: Limit,
    plan: Plan,
    *,
    executor: Executor | None = None,
    known: Mapping[Arch, float] | None = None,
    keep: Callable[[Arch, float], None] = lambda _arch, _score: None,
    on_trial: Callable[[Trial], None] = lambda _trial: None,
) -> Searched:
    """Asks, scores and tells until the evaluations are spent or the search has nothing new to propose.

    executor: scores the architectures of a batch at once, in threads, processes or elsewhere; the result is the same
    without it. known: scores from earlier runs. keep: called with each score as soon as it is there, in the thread of
    the caller. on_trial: called with each scored trial, in order.

    Raises InputError, naming the architecture, for a score that is not finite; and, saying the least latency found,
    where no architecture is within the limit.
    """
    scoring = _Scoring(score, executor, dict(known or {}), keep)
    told = _Told(limit, plan.evaluations)
    fruitless = 0
    while told.left and fruitless < _MOST_FRUITLESS:
        asked = search.ask(min(plan.batch, told.left))
        if not asked:
            break
        wanted = told.wanted(asked)
        for arch, value in zip(wanted, scoring.scores(wanted), strict=True):
            on_trial(told.add(arch, value))
        fruitless = 0 if wanted else fruitless + 1
        search.tell([told.trial(arch) for arch in asked])
    return told.searched()


@dataclass(slots=True)
class _Told:
    """All trials of a run."""

    limit: Limit
    evaluations: int
    trials: dict[Arch, Trial] = field(default_factory=dict)  # scored ones, in order
    refused: dict[Arch, Trial] = field(default_factory=dict)
    ms: dict[Arch, float] = field(default_factory=dict)

    @property
    def left(self) -> int:
        return self.evaluations - len(self.trials)

    def wanted(self, asked: Sequence[Arch]) -> list[Arch]:
        """The architectures to score. The others have been scored or are refused."""
        new = [arch for arch in dict.fromkeys(asked) if arch not in self.ms]
        if not new:
            return []
        for arch, ms in zip(new, self.limit.latency_ms(np.array(new)), strict=True):
            self.ms[arch] = _checked(arch, float(ms), "latency")
        fits = [arch for arch in new if self.ms[arch] <= self.limit.ms]
        for arch in new:
            if self.ms[arch] > self.limit.ms:
                self.refused[arch] = Trial(arch, None, self.ms[arch])
        return fits

    def add(self, arch: Arch, score: float) -> Trial:
        self.trials[arch] = Trial(arch, score, self.ms[arch])
        return self.trials[arch]

    def trial(self, arch: Arch) -> Trial:
        return self.trials[arch] if arch in self.trials else self.refused[arch]

    def searched(self) -> Searched:
        """Raises InputError where nothing was scored."""
        if self.trials:
            return Searched(tuple(self.trials.values()), len(self.refused))
        if not self.refused:
            raise InputError("the search proposed no architecture; try another strategy, such as random")
        least = min(self.refused.values(), key=lambda trial: trial.latency_ms)
        raise InputError(
            f"none of {len(self.refused)} architectures is within {self.limit.ms:g} ms; the least latency found is "
            f"{least.latency_ms:.4g} ms, of {'-'.join(map(str, least.arch))}: allow at least that"
        )


@dataclass(frozen=True, slots=True)
class _Scoring:
    score: Score
    executor: Executor | None
    known: dict[Arch, float]
    keep: Callable[[Arch, float], None]

    def scores(self, archs: Sequence[Arch]) -> list[float]:
        """The scores of the architectures, each kept as soon as it is there."""
        for arch, value in self._new([arch for arch in archs if arch not in self.known]):
            self.known[arch] = _checked(arch, float(value), "score")
            self.keep(arch, self.known[arch])
        return [self.known[arch] for arch in archs]

    def _new(self, archs: Sequence[Arch]) -> Iterator[tuple[Arch, float]]:
        if self.executor is None:
            yield from ((arch, self.score(arch)) for arch in archs)
            return
        futures = {self.executor.submit(self.score, arch): arch for arch in archs}
        try:
            for future in as_completed(futures):
                yield futures[future], future.result()
        finally:
            for future in futures:
                future.cancel()


def _checked(arch: Arch, value: float, what: str) -> float:
    if not math.isfinite(value):
        raise InputError(f"the {what} of architecture {'-'.join(map(str, arch))} is {value}; a search needs numbers")
    return value
