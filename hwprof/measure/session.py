"""Measures graphs on a device, round by round: each round is one fresh worker that sees every graph once.

A round visits the groups of graphs in a random order and the next round in the reverse of it, so that
a drift of the machine hits all alike. A sweep thus costs one worker a round, not one a graph.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from time import monotonic
from typing import Any

import numpy as np

from hwprof.device import Device
from hwprof.errors import DeviceLostError, EnvironmentUnfitError, HwprofError
from hwprof.graph import Graph
from hwprof.measure import cores, stop
from hwprof.measure.worker_process import WorkerProcess
from hwprof.measurement import OperatorTime, Process, ProtocolSettings, process_from_record

_LOSSES_UNTIL_GIVEN_UP = 2


@dataclass(slots=True)
class Group:
    """Graphs whose blocks alternate in one process, and what has been measured of each so far.

    `done` decides by the processes of all graphs whether the group needs no further round; the
    default is that each is precise enough.
    """

    graphs: tuple[Graph, ...]
    processes: list[list[Process]] = field(default_factory=list)
    spent_s: float = 0.0
    error: HwprofError | None = None
    losses: int = 0
    ended: bool = False
    done: Callable[[Sequence[Sequence[Process]]], bool] | None = None

    def __post_init__(self) -> None:
        if not self.processes:
            self.processes = [[] for _ in self.graphs]

    @property
    def rounds(self) -> int:
        return min(len(p) for p in self.processes)

    @property
    def next_round(self) -> int:
        return max((p.round + 1 for ps in self.processes for p in ps), default=0)

    def is_done(self, settings: ProtocolSettings) -> bool:
        if self.error or self.rounds >= settings.max_processes:
            return True
        if self.rounds >= settings.min_processes and self.spent_s >= settings.budget_s * len(self.graphs):
            return True
        if self.spent_s >= 3 * settings.budget_s * len(self.graphs):  # too slow for the fewest processes
            return self.rounds > 0
        if self.done is not None:
            return self.done(self.processes)
        return all(stop.is_precise(ps, settings) for ps in self.processes)

    def progress(self, settings: ProtocolSettings) -> float:
        """Share of the way to the target precision, 0 to 1."""
        if self.ended:
            return 1.0
        if self.rounds < 2:
            return 0.02 * self.rounds
        widest = max(stop.half_width(ps) for ps in self.processes)
        by_width = min(1.0, (settings.target / widest) ** 2) if widest > 0 else 1.0
        return min(0.99, by_width * min(1.0, self.rounds / settings.min_processes))


@dataclass(slots=True)
class Session:
    """One job's rounds on one device.

    `on_process(graph, process)` is called as soon as a process' samples of a group are complete (to store
    them; what it raises ends the session); `on_progress(group)` after every visit and when a group has ended.
    `in_detail`: also what costs time beside the latency (`Subject.measure_figures`).
    """

    device: Device
    settings: ProtocolSettings
    on_process: Callable[[Graph, Process], None]
    on_progress: Callable[[Group], None] = lambda _group: None
    worker_command: Sequence[str] = ()
    in_detail: bool = False

    def run(self, groups: Sequence[Group]) -> Iterator[Group]:
        """Measures until every group is done; yields each as it ends. A lost worker is started again;
        a group that loses it twice ends with that error, and the others go on."""
        rng = np.random.default_rng(self.settings.seed)
        yield from self._end([g for g in groups if g.is_done(self.settings)])
        active = [g for g in groups if not g.ended]
        order: list[Group] = []
        while active:
            if order:
                order, visit = [], [g for g in reversed(order) if g in active]
            else:
                order = [active[i] for i in rng.permutation(len(active))]
                visit = order
            yield from self._round(visit)
            active = [g for g in active if not g.ended]

    def _round(self, groups: Sequence[Group]) -> Iterator[Group]:
        waiting = list(groups)
        while waiting:
            start = monotonic()
            with WorkerProcess(cores.choose(self.device), self.worker_command) as worker:
                self._greet(worker)
                start_s = (monotonic() - start) / len(waiting)
                lost = False
                while waiting and not lost:
                    group = waiting.pop(0)
                    lost = not self._visit(worker, group, start_s)
                    if lost and group.error is None:
                        waiting.insert(0, group)
                    self.on_progress(group)
                    if group.is_done(self.settings):
                        yield from self._end([group])

    def _greet(self, worker: WorkerProcess) -> None:
        """Makes sure that the device is still there. What was there when the job began is lost, not unfit."""
        try:
            list(worker.ask("hello", device=self.device.to_record(with_address=True)))
        except EnvironmentUnfitError as error:
            if not self.device.remote:
                raise
            raise DeviceLostError(
                f"device {self.device.name!r} was lost ({error}); what was measured is in the store, "
                "the same command goes on when it is back"
            ) from None

    def _visit(self, worker: WorkerProcess, group: Group, start_s: float) -> bool:
        """One process' samples of the group. Returns False when the worker is gone."""
        start = monotonic()
        try:
            # All answers are read before any is used: what is left in the pipe would be taken for the next group's.
            answers = list(worker.ask("measure", **self._request(group, start_s)))
        except DeviceLostError as error:
            group.losses += 1
            group.error = error if group.losses >= _LOSSES_UNTIL_GIVEN_UP else None
            return False
        except HwprofError as error:
            group.error = error
            return True
        finally:
            group.spent_s += monotonic() - start + start_s
        for answer in answers:
            process = process_from_record(answer["process"])
            group.processes[answer["index"]].append(process)
            self.on_process(group.graphs[answer["index"]], process)
        return True

    def _request(self, group: Group, start_s: float) -> dict[str, Any]:
        return {
            "device": self.device.to_record(with_address=True),
            "settings": asdict(self.settings),
            "graphs": [g.to_json() for g in group.graphs],
            "cores": list(cores.choose(self.device)),
            "round": group.next_round,
            "blocks": self._blocks(group, start_s),
            "anchors_for_ns": _longest_ns(group),
            "in_detail": self.in_detail,
        }

    def _blocks(self, group: Group, start_s: float) -> int:
        """Blocks for the next process: the largest number that one of the graphs asks for."""
        counts = []
        for processes in group.processes:
            if not processes:
                return self.settings.pilot_blocks
            latest = processes[-1]
            fixed_s = start_s + (latest.open_ns + latest.cold_ns + sum(latest.warmup_ns)) / 1e9
            spans = np.diff([b.start_ns for b in latest.blocks])
            block_s = float(np.median(spans)) / 1e9 if len(spans) else self.settings.block_ms / 1e3
            counts.append(stop.blocks_per_process(processes, fixed_s, block_s, self.settings))
        return max(counts)

    def _end(self, groups: Sequence[Group]) -> Iterator[Group]:
        for group in groups:
            group.ended = True
            self.on_progress(group)
            yield group


def _longest_ns(group: Group) -> float | None:
    """Latency of the group's longest network in its first process, by which all its anchors are chosen."""
    if not group.rounds or not all(ps[0].blocks for ps in group.processes):
        return None
    return max(float(np.median(stop.block_medians_ms(ps[0]))) * 1e6 for ps in group.processes)


def operators(graph: Graph, device: Device, runs: int) -> tuple[tuple[OperatorTime, ...], float | None]:
    """The kernels that the runtime executes, timed in a process of their own (none where it cannot tell), and
    the latency of the profiled runs, ns (None where the runtime does not show it)."""
    with WorkerProcess(cores.choose(device)) as worker:
        (answer,) = worker.ask(
            "operators", device=device.to_record(with_address=True), graph=graph.to_json(), runs=runs
        )
    kernels = tuple(OperatorTime(**{**o, "members": tuple(o["members"])}) for o in answer["operators"])
    return kernels, answer["profiled_ns"]
