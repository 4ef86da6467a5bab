"""Measures graphs on a device, round by round: each round is one fresh worker that sees every graph once.

A round visits the cohorts of graphs in a random order and the next round in the reverse of it, so that a drift of the
machine affects all alike. A sweep thus costs one worker a round, not one a graph.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from time import monotonic
from typing import Any

import numpy as np

from hwprof.device import Device
from hwprof.errors import DeviceLostError, EnvironmentUnfitError, HwprofError, NotConvergedError, TimeLimitError
from hwprof.graph import Graph
from hwprof.measure import compare, stop
from hwprof.measure.transport import STARTS, Answer, Request, Transport, Worker, understood
from hwprof.measure.worker_process import LOCAL
from hwprof.measurement import Process, ProtocolSettings, estimate, process_from_record
from hwprof.measurement.estimate import Baseline

_LOSSES_UNTIL_GIVEN_UP = 2
_FEWEST_PROCESSES = 3  # the interval of two is four times as wide as that of three
_PATIENCE = 4  # budgets, for a comparison that hangs on one round


@dataclass(slots=True, eq=False)
class Cohort:
    """Graphs whose blocks alternate in one process, and what has been measured of each so far.

    `numbers` are the caller's own, one for each graph: a graph is known by its place, for two may be equal.
    `margin`: the cohort needs no further round when each graph is decided against the first one with this margin
    (`compare`), or against a gate's `limit`; by default, when each is as precise as it needs to be or as the load lets
    it be, against the undisturbed anchors that `baseline_of` tells from its processes. `done` decides otherwise, by the
    processes of all graphs. `name` stays the same when an interrupted job goes on. `board`: the one of a fleet that
    measured it.
    """

    graphs: tuple[Graph, ...]
    processes: list[list[Process]] = field(default_factory=list)
    numbers: tuple[int, ...] = ()
    spent_s: float = 0.0
    error: HwprofError | None = None
    losses: int = 0
    ended: bool = False
    done: Callable[[Sequence[Sequence[Process]]], bool] | None = None
    margin: float | None = None
    limit: float | None = None
    name: str = ""
    board: str = ""
    baseline_of: Callable[[Sequence[Process]], Baseline] = estimate.baseline_of

    def __post_init__(self) -> None:
        if not self.processes:
            self.processes = [[] for _ in self.graphs]
        if not self.numbers:
            self.numbers = tuple(range(len(self.graphs)))

    @property
    def rounds(self) -> int:
        return min(len(p) for p in self.processes)

    @property
    def next_round(self) -> int:
        return max((p.round + 1 for ps in self.processes for p in ps), default=0)

    def is_done(self, settings: ProtocolSettings) -> bool:
        if self.error or self._is_at_its_end(settings):
            return True
        if self.done is not None:
            return self.done(self.processes)
        if self.margin is not None:
            return compare.are_decided(self.processes, settings, self.margin, self.limit)
        return all(stop.is_enough(ps, settings, self.baseline_of(ps)) for ps in self.processes)

    def left_s(self, settings: ProtocolSettings) -> float:
        """Seconds that are left of the budget of all graphs together."""
        return settings.budget_s * len(self.graphs) - self.spent_s

    def _is_at_its_end(self, settings: ProtocolSettings) -> bool:
        """Whether the limit of processes or of time is reached. A comparison that hangs on one round gets more of both:
        as many rounds as outweigh that one, in up to four times the budget."""
        if not self.rounds:
            return settings.max_processes < 1
        if self.rounds < settings.max_processes and not self._is_out_of_time(settings):
            return False
        if self.margin is None or self.spent_s >= _PATIENCE * settings.budget_s * len(self.graphs):
            return True
        return not compare.hang_on_one_round(self.processes, settings, self.margin, self.limit)

    def _is_out_of_time(self, settings: ProtocolSettings) -> bool:
        """Whether most of another process would come after the end of the budget, which is three times as long for the
        processes that an interval needs."""
        fewest = _FEWEST_PROCESSES if self.margin is None else compare.FEWEST_ROUNDS
        if self.rounds < min(fewest, settings.min_processes):
            return self.spent_s >= 3 * settings.budget_s * len(self.graphs)
        return self.left_s(settings) < self.spent_s / self.rounds / 2

    def progress(self, settings: ProtocolSettings) -> float:
        """Share of the way to the target precision, 0 to 1."""
        if self.ended:
            return 1.0
        if self.rounds < 2:
            return 0.02 * self.rounds
        by_width = min(stop.progress(ps, settings, self.baseline_of(ps)) for ps in self.processes)
        return min(0.99, by_width * min(1.0, self.rounds / settings.min_processes))


@dataclass(slots=True)
class CohortRounds(ABC):
    """Measures the cohorts of one job on one device: `Rounds`, or the boards of a fleet.

    `on_process(cohort, place, process)` is called as soon as a process' samples of a cohort are complete (to store
    them; what it raises ends the rounds), `place` being that of the graph in the cohort; `on_progress(cohort)` after
    every visit and when a cohort has ended. `in_detail`: also the figures that take time in addition to the latency
    (`Subject.measure_figures`). `total_s`: after which no further cohort is visited; nor is one when `is_over` says so.
    """

    device: Device
    settings: ProtocolSettings
    on_process: Callable[[Cohort, int, Process], None]
    on_progress: Callable[[Cohort], None] = lambda _cohort: None
    transport: Transport = LOCAL
    in_detail: bool = False
    total_s: float = math.inf
    is_over: Callable[[], bool] = lambda: False

    @abstractmethod
    def run(self, cohorts: Sequence[Cohort]) -> Iterator[Cohort]:
        """Measures until every cohort has ended; yields each as it ends."""

    def _keep(self, cohort: Cohort, place: int, process: Process) -> None:
        cohort.processes[place].append(process)
        self.on_process(cohort, place, process)

    def _ended(self, cohort: Cohort) -> Cohort:
        cohort.ended = True
        self.on_progress(cohort)
        return cohort

    def _out_of_time(self, cohort: Cohort) -> Cohort:
        """Ends a cohort after `total_s`; one that was not measured has that as its error."""
        if not cohort.rounds:
            cohort.error = NotConvergedError("not measured: the budget of the whole run ended first")
        return self._ended(cohort)


@dataclass(slots=True)
class Rounds(CohortRounds):
    """Each round is a fresh worker of this job's transport, one after another."""

    def run(self, cohorts: Sequence[Cohort]) -> Iterator[Cohort]:
        """A lost worker is started again; a cohort that loses it twice, or exceeds the limit of a request, ends with
        that error; the others continue."""
        rng = np.random.default_rng(self.settings.seed)
        yield from map(self._ended, [c for c in cohorts if c.is_done(self.settings)])
        active = [c for c in cohorts if not c.ended]
        order: list[Cohort] = []
        end = monotonic() + self.total_s
        while active and self._has_time(end):
            if order:
                order, visit = [], [c for c in reversed(order) if c in active]
            else:
                order = [active[i] for i in rng.permutation(len(active))]
                visit = order
            yield from self._round(visit, end)
            active = [c for c in active if not c.ended]
        yield from map(self._out_of_time, active)

    def _has_time(self, end: float) -> bool:
        return monotonic() < end and not self.is_over()

    def _round(self, cohorts: Sequence[Cohort], end: float) -> Iterator[Cohort]:
        waiting = list(cohorts)
        while waiting and self._has_time(end):
            start = monotonic()
            with ExitStack() as stack:
                worker = self._greeted(stack)
                start_s = (monotonic() - start) / len(waiting)
                lost = False
                while waiting and not lost and self._has_time(end):
                    cohort = waiting.pop(0)
                    lost = not self._visit(worker, cohort, start_s, end)
                    if lost and cohort.error is None:
                        waiting.insert(0, cohort)
                    self.on_progress(cohort)
                    if cohort.is_done(self.settings):
                        yield self._ended(cohort)

    def _greeted(self, stack: ExitStack) -> Worker:
        """A worker that is ready to measure, until the stack closes. One that is lost before is started again."""
        for start in range(1, STARTS + 1):
            try:
                with ExitStack() as opened:
                    worker = opened.enter_context(self.transport.open(self.device))
                    self._greet(worker)
                    stack.push(opened.pop_all())
                    return worker
            except DeviceLostError:
                if start == STARTS:
                    raise
        raise AssertionError

    def _greet(self, worker: Worker) -> None:
        """Makes sure that the device is still there. What was there when the job began is lost, not unfit."""
        try:
            list(worker.ask("hello", device=self.device.to_record(with_address=True)))
        except EnvironmentUnfitError as error:
            if not self.device.remote:
                raise
            raise DeviceLostError(
                f"device {self.device.name!r} was lost ({error}); its measurements are in the store, "
                "and the same command continues them when the device is back"
            ) from None

    def _visit(self, worker: Worker, cohort: Cohort, start_s: float, end: float) -> bool:
        """One process' samples of the cohort. Returns False when the worker is gone."""
        start = monotonic()
        try:
            # All answers are read before any is used: one left in the pipe would pass for the next cohort's.
            request = self._request(cohort, start_s, end - start)
            processes = _processes(list(worker.ask("measure", **request)), request)
        except DeviceLostError as error:
            cohort.losses += 1
            is_hopeless = isinstance(error, TimeLimitError) or cohort.losses >= _LOSSES_UNTIL_GIVEN_UP
            cohort.error = error if is_hopeless else None
            return False
        except HwprofError as error:
            cohort.error = error
            return True
        finally:
            cohort.spent_s += monotonic() - start + start_s
        for place, process in enumerate(processes):
            self._keep(cohort, place, process)
        return True

    def _request(self, cohort: Cohort, start_s: float, left_s: float) -> dict[str, Any]:
        return {
            "device": self.device.to_record(with_address=True),
            "settings": asdict(self.settings),
            "graphs": [g.to_json() for g in cohort.graphs],
            "round": cohort.next_round,
            "blocks": self._blocks(cohort, start_s),
            "most_s": min(self._most_s(cohort, start_s), left_s),
            "anchors_for_ns": _longest_ns(cohort),
            "in_detail": self.in_detail,
        }

    def _blocks(self, cohort: Cohort, start_s: float) -> int:
        """Blocks for the next process: the largest number that one of the graphs asks for."""
        counts = []
        for processes in cohort.processes:
            if not processes:
                return self.settings.pilot_blocks
            latest = processes[-1]
            fixed_s = start_s + (latest.open_ns + latest.cold_ns + sum(latest.warmup_ns)) / 1e9
            spans = np.diff([b.start_ns for b in latest.blocks])
            # The clock of a worker elsewhere may not move.
            block_s = max(1.0, np.median(spans)) / 1e9 if len(spans) else self.settings.block_ms / 1e3
            counts.append(stop.blocks_per_process(processes, fixed_s, block_s, self.settings))
        return max(counts)

    def _most_s(self, cohort: Cohort, start_s: float) -> float:
        """How long the next process may take, so that the budget lasts for the fewest."""
        needed = max(1, self.settings.min_processes - cohort.rounds)
        return max(0.0, cohort.left_s(self.settings) / needed - start_s)


def _processes(answers: Sequence[Answer], request: Request) -> list[Process]:
    """The process of each graph of a request to measure, in their order. Raises DeviceLostError where one is missing,
    there twice, of another round or none."""
    with understood("measure"):
        found = {int(answer["index"]): process_from_record(answer["process"]) for answer in answers}
    expected = range(len(request["graphs"]))
    if sorted(found) != [*expected] or len(answers) != len(expected):
        raise DeviceLostError(
            f"the worker measured {len(answers)} of {len(expected)} networks and said that it is done"
        )
    if any(process.round != request["round"] for process in found.values()):
        raise DeviceLostError("the worker answered with the samples of another round")
    return [found[place] for place in expected]


def _longest_ns(cohort: Cohort) -> float | None:
    """Latency of the cohort's longest network in its first process, which decides its anchors; None before."""
    if not cohort.rounds or not all(ps[0].blocks for ps in cohort.processes):
        return None
    first = [processes[:1] for processes in cohort.processes]
    return max(float(np.median(estimate.block_medians_ms(ps, estimate.clock(ps))[0])) * 1e6 for ps in first)
