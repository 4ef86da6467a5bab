"""Measures graphs and keeps the results: stored measurements are not repeated, and interrupted ones continue.

This is what jobs, searches and compression methods measure with:

    with recording(device, store, options) as recorder:
        ms = recorder.latency_ms(graphs)
        rows = recorder.compare(graphs)
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from time import monotonic

import numpy as np

from hwprof import plugins
from hwprof.data.store import Store, key_of
from hwprof.device import Device
from hwprof.errors import DeviceLostError, HwprofError, InputError, NotConvergedError
from hwprof.graph import Graph, quantizes
from hwprof.interfaces import Backend, TunableBackend
from hwprof.measure import compare as comparing
from hwprof.measure import stop
from hwprof.measure.caveats import caveats
from hwprof.measure.hold import held
from hwprof.measure.machine import Machine, look, require_times
from hwprof.measure.operator_pass import PASSES, passes_in_turns, runs_for, time_operators
from hwprof.measure.rounds import Cohort, CohortRounds, Rounds
from hwprof.measure.transport import LimitedTransport, RestartedWorker, Transport, Worker
from hwprof.measure.weights_identity import weights_identity
from hwprof.measure.worker_process import LOCAL
from hwprof.measurement import (
    Comparison,
    Evidence,
    Measurement,
    OperatorTime,
    Process,
    ProtocolSettings,
    Status,
    at_one_speed,
    estimate,
)
from hwprof.measurement.estimate import Baseline, Clock
from hwprof.onnx_io import inputs_identity

_START_S = 300.0  # to import a runtime and to open a network
_BUDGETS = 10.0  # the slowest networks overrun the budget in their first process
_WITH_OPERATORS = (Evidence.MEASURED, Evidence.ANALYTIC)
_LATENCY_ALONE = "latency alone"  # the context of measurements that a request for operators must not find


def _warn(text: str) -> None:
    warnings.warn(text, stacklevel=2)


@dataclass(frozen=True, slots=True)
class Options:
    """How a measuring job treats what it finds, and where its workers run (`transport`). `rounds` makes what measures
    whole cohorts, from the arguments of `Rounds`, on `machines` machines at once; a fleet gives all three
    (`hwprof.fleet`).

    `limit_s` is the most that a worker may take for one network of one request; by default 300 s and ten times the
    budget. `with_operators`: also everything else that takes time in addition to the latency (the accelerator's
    figures and energy). `fresh` measures again what the store already holds; `keep_unconverged` does not even repeat
    measurements that ended short of their target (a sweep that continues). `on_warning` gets the facts about a result
    that the user must know and that no record holds. `total_s`: the budget of all networks together; those that were
    not reached have an error. `wait_s`: how long to wait for another hwprof that measures on the machine. `label` is
    kept with each measurement, such as the commit. `on_step` takes what the job does now, where that is not measuring.
    """

    settings: ProtocolSettings = field(default_factory=ProtocolSettings)
    allow_unfit: bool = False
    fresh: bool = False
    with_operators: bool = True
    on_progress: Callable[[Cohort], None] = lambda _cohort: None
    on_note: Callable[[str], None] = lambda _text: None
    keep_unconverged: bool = False
    on_warning: Callable[[str], None] = _warn
    transport: Transport = LOCAL
    limit_s: float | None = None
    total_s: float = math.inf
    wait_s: float = 0.0
    label: str = ""
    rounds: Callable[..., CohortRounds] = Rounds
    machines: int = 1
    on_step: Callable[[str], None] = lambda _step: None

    @property
    def answer_limit_s(self) -> float:
        """The most that a worker may take for one network of one request."""
        return self.limit_s if self.limit_s is not None else _START_S + _BUDGETS * self.settings.budget_s

    @property
    def limited_transport(self) -> Transport:
        """Where the workers run, each with its limit."""
        return LimitedTransport(self.transport, self.answer_limit_s)

    def warn_of(self, graphs: Iterable[Graph]) -> None:
        """Passes on the warnings of networks whose figures are not measurements, which hold them; each once."""
        for warning in dict.fromkeys(f"{graph.name}: {text}" for graph in graphs for text in graph.warnings):
            self.on_warning(warning)


@dataclass(frozen=True, slots=True)
class Outcome:
    """The measurement of a graph, or the error that ended it. `stored` is when it was measured, if not now."""

    graph: Graph
    measurement: Measurement | None
    error: HwprofError | None = None
    stored: str | None = None

    def required(self) -> Measurement:
        """Raises the error where there is no measurement."""
        if self.measurement is None:
            raise self.error or HwprofError(f"{self.graph.name}: not measured")
        return self.measurement


def at_one_baseline(outcomes: Sequence[Outcome]) -> list[Outcome]:
    """The outcomes of one job, their measurements as `at_one_speed`: the first ones have not seen the fastest anchors.

    2026-11-29: of 8 sessions of three networks 95 % of pairs agreed within 6.5 % so, and within 9.9 % with the baseline
    that each measurement ended with; with one baseline for all sessions, as a history has it, within 3.8 %."""
    found = iter(at_one_speed([o.measurement for o in outcomes if o.measurement]))
    return [replace(o, measurement=next(found)) if o.measurement else o for o in outcomes]


@contextmanager
def recording(device: Device, store: Store, options: Options) -> Iterator[Recorder]:
    """A recorder that has the device's machine to itself until the context ends.

    Raises EnvironmentUnfitError where another hwprof measures there or the machine is not fit, and what the runtime
    raises where the device is not there.

    What was measured short of its target is measured again when it is asked for again, but not after an interruption:
    the next recording takes over what was measured in one that did not come to its end, be it that its process was
    killed.
    """
    with (
        held(options.limited_transport, device, options.wait_s) as transport,
        RestartedWorker(transport, device) as companion,
    ):
        machine = look(companion, device, options.allow_unfit)
        if not options.with_operators:
            companion.close()
        backend: Backend = plugins.load("backend", device.backend)
        recorder = Recorder(device, store, replace(options, transport=transport), machine, backend, companion)
        yield recorder
        store.release(recorder.begun)


@dataclass(frozen=True, slots=True)
class Recorder:
    """Measures on one device into one store. `recording` opens it.

    companion: a worker that takes no part in the rounds; it looks at the machine and times the operators."""

    device: Device
    store: Store
    options: Options
    machine: Machine
    backend: Backend
    companion: Worker
    begun: set[int] = field(default_factory=set, init=False)  # numbers of the measurements that are its own

    def profile_many(self, graphs: Sequence[Graph]) -> Iterator[Outcome]:
        """Measures graphs in one sweep; yields each as soon as it is done, in the order in which they end. Two that
        are the same measurement are measured once."""
        waiting: dict[str, Graph] = {}
        for graph in graphs:
            key = self._own_key(graph)
            if (done := self._stored(graph, key)) is not None:
                yield done
            else:
                waiting.setdefault(key, graph)
        end = monotonic() + self.options.total_s
        if waiting:
            self._tell_opening(list(waiting.values()))
        for cohort in self._rounds().run([self._cohort((g,), (key,)) for key, g in waiting.items()]):
            yield from self._outcomes(cohort, end)

    def measure(self, graphs: Sequence[Graph]) -> list[Measurement]:
        """The measurements of the graphs, in their order, against one undisturbed machine. Raises the error of the
        first graph that could not be measured."""
        keys = [self._own_key(graph) for graph in graphs]
        found = {self._own_key(outcome.graph): outcome.required() for outcome in self.profile_many(graphs)}
        return at_one_speed([found[key] for key in keys])

    def latency_ms(self, graphs: Sequence[Graph]) -> np.ndarray:
        """[n_graphs], ms: the measured latency of each at the machine's undisturbed speed. Raises as `measure`, and
        InputError for an emulated device."""
        require_times(self.device)
        return np.array([m.normalized.median for m in self.measure(graphs)])

    def compare(
        self, graphs: Sequence[Graph], margin: float = comparing.MARGIN, *, limit: float | None = None,
        again: bool = True,
    ) -> list[Comparison]:  # fmt: skip
        """Each graph against the first, from blocks that alternate in the same processes. Equal ones may be compared.

        limit: measures until it is certain whether each takes at most this share longer than the first, not until the
        verdict is. again: False takes a finished comparison of the same graphs from the store, unless the options ask
        for fresh measurements.
        Raises InputError for fewer than two graphs and for an emulated device, and the error of the first graph that
        could not be measured.
        """
        require_comparable(graphs, self.device)
        context = ",".join(self.key(g) for g in graphs)
        keys = tuple(self.key(graph, f"{context} {place}") for place, graph in enumerate(graphs))
        if not again and (kept := self._compared(graphs, keys)):
            return comparing.compare_all(kept[0], kept[1:], margin)
        cohort = self._cohort(tuple(graphs), keys, is_compared=True)
        cohort.margin, cohort.limit = margin, limit
        end = monotonic() + self.options.total_s
        self._tell_opening(graphs)
        (ended,) = self._rounds(at_least=comparing.FEWEST_ROUNDS).run([cohort])
        outcomes = list(self._outcomes(ended, end))
        for outcome in outcomes:
            if outcome.error:
                raise outcome.error
        first, *others = self._with_passes(graphs, [o.required() for o in outcomes], ended.numbers, end)
        self.store.add_comparison(ended.numbers, margin)
        return comparing.compare_all(first, others, margin)

    def key(self, graph: Graph, context: str = "") -> str:
        """The key of everything that makes two measurements the same one."""
        backend = self.backend
        tuned = backend.tuning(graph, self.device) if isinstance(backend, TunableBackend) else ""
        return key_of(
            {
                "digest": graph.digest,
                "weights": weights_identity(graph),
                "device": self.device.digest,
                "hardware": self.machine.hardware,
                "versions": self.machine.versions,
                "protocol": asdict(self.options.settings),
                "context": context,
                **({"tuning": tuned} if tuned else {}),
                **({"inputs": inputs_identity(graph)} if graph.given else {}),
            }
        )

    def _tell_opening(self, graphs: Sequence[Graph]) -> None:
        """The first process may take minutes, where the runtime compiles."""
        names = " / ".join(dict.fromkeys(graph.name for graph in graphs))
        self.options.on_step(f"opening or compiling {names} on {self.device.name}")

    def _rounds(self, at_least: int = 1) -> CohortRounds:
        settings = self.options.settings
        fewest = min(max(settings.min_processes, at_least), settings.max_processes)
        return self.options.rounds(
            self.device, replace(settings, min_processes=fewest), self._keep, self.options.on_progress,
            self.options.transport, in_detail=self.options.with_operators, total_s=self.options.total_s,
        )  # fmt: skip

    def _keep(self, cohort: Cohort, place: int, process: Process) -> None:
        self.store.add_process(cohort.numbers[place], process)

    def _own_key(self, graph: Graph) -> str:
        """Latency alone has a key of its own; with operators it answers both requests."""
        return self.key(graph) if self.options.with_operators else self.key(graph, _LATENCY_ALONE)

    def _stored(self, graph: Graph, key: str) -> Outcome | None:
        found = None if self.options.fresh else self.store.latest(key) or self.store.latest(self.key(graph))
        if found is None or not (self._is_kept(found[1]) or self._is_interrupted(found[0])):
            return None
        return Outcome(graph, replace(found[1], model=graph.name), stored=found[2])

    def _is_kept(self, found: Measurement) -> bool:
        return self.options.keep_unconverged or found.status is Status.CONVERGED

    def _is_interrupted(self, number: int) -> bool:
        """The job that made the measurement did not come to its end, so this is the same job once more."""
        if number in self.begun or not self.store.take_over(number):
            return False
        self.begun.add(number)
        return True

    def _compared(self, graphs: Sequence[Graph], keys: Sequence[str]) -> list[Measurement]:
        """The measurements of a comparison that ended; empty where one of them is missing or is asked for afresh."""
        found = [] if self.options.fresh else [self.store.latest(key) for key in keys]
        ended = [replace(kept[1], model=graph.name) for graph, kept in zip(graphs, found, strict=False) if kept]
        return ended if len(ended) == len(graphs) else []

    def _cohort(self, graphs: tuple[Graph, ...], keys: Sequence[str], is_compared: bool = False) -> Cohort:
        """With the processes that an earlier, unfinished run of the same job left in the store."""
        numbers = tuple(self._begin(g, key, is_compared) for g, key in zip(graphs, keys, strict=True))
        kept = [self.store.processes(number) for number in numbers]
        common = set.intersection(*({p.round for p in ps} for ps in kept))
        for number in numbers:
            self.store.keep_processes(number, common)
        if common:
            self.options.on_note(f"{graphs[0].name}: continues after {len(common)} stored processes")
        processes = [[p for p in ps if p.round in common] for ps in kept]
        name = key_of({"store": self.store.identity, "numbers": numbers, "keys": keys})
        return Cohort(graphs, processes, numbers, name=name, baseline_of=self._baseline)

    def _begin(self, graph: Graph, key: str, is_compared: bool) -> int:
        self.store.add_graph(graph.digest, graph.to_json())
        number = self.store.begin(
            key, graph.name, graph.digest, self.device.name, self.machine.hardware,
            is_compared=is_compared, fresh=self.options.fresh,
        )  # fmt: skip
        self.begun.add(number)
        return number

    def _outcomes(self, cohort: Cohort, end: float) -> Iterator[Outcome]:
        """The outcome of each graph, all against one undisturbed machine. Processes that were measured before the
        device was lost count."""
        for processes in cohort.processes:
            self.store.lower_baseline(self._machine, estimate.baseline_of(processes))
        for graph, processes, number in zip(cohort.graphs, cohort.processes, cohort.numbers, strict=True):
            if cohort.error and not (processes and isinstance(cohort.error, DeviceLostError)):
                yield Outcome(graph, None, cohort.error)
                continue
            measurement = self._measurement(graph, tuple(processes), cohort.board)
            self.store.finish(number, measurement)
            if self.options.with_operators and self.machine.evidence in _WITH_OPERATORS:
                measurement = self._with_operators(graph, measurement, end)
                self.store.finish(number, measurement)
            yield Outcome(graph, measurement, cohort.error)

    def _with_operators(self, graph: Graph, m: Measurement, end: float) -> Measurement:
        """With the operators' times or, where their pass fails or would come after `end`, a warning: the latency is
        valid nevertheless."""
        try:
            if monotonic() >= end:
                raise NotConvergedError("the budget of the whole run ended first")
            self.options.on_step(f"timing the operators of {graph.name}")
            timed = time_operators(graph, self.device, runs_for(m.latency_ms), self.companion)
        except HwprofError as error:
            return replace(m, warnings=(*m.warnings, f"the operators were not timed: {error}"))
        warnings = (*m.warnings, *_idle(graph, timed.idle))
        return replace(m, operators=timed.kernels, operators_total_ns=timed.profiled_ns, warnings=warnings)

    def _with_passes(
        self, graphs: Sequence[Graph], found: Sequence[Measurement], numbers: Sequence[int], end: float
    ) -> list[Measurement]:
        """The measurements of a comparison; those of a float network and of its quantized forms with their kernels in
        several passes, or with a warning, as `_with_operators`: a single pass does not tell where they differ."""
        changed, made = list(found), [i for i, graph in enumerate(graphs) if quantizes(graphs[0], graph)]
        if not (made and all(m.operators for m in found) and self.machine.evidence is Evidence.MEASURED):
            return changed
        places = [0, *made]
        try:
            for place, kernels in zip(places, self._passes([graphs[i] for i in places], end), strict=True):
                changed[place] = replace(found[place], operator_passes=kernels)
        except HwprofError as error:
            changed[0] = replace(found[0], warnings=(*found[0].warnings, f"the causes were not timed: {error}"))
        for place in places:
            self.store.finish(numbers[place], changed[place])
        return changed

    def _passes(self, graphs: Sequence[Graph], end: float) -> list[tuple[tuple[OperatorTime, ...], ...]]:
        """The kernels of each graph in each pass. Raises NotConvergedError after `end`, and as `time_operators`."""
        names = " / ".join(graph.name for graph in graphs)

        def tell(number: int) -> None:
            if monotonic() >= end:
                raise NotConvergedError("the budget of the whole run ended first")
            self.options.on_step(f"timing the operators of {names}, pass {number} of {PASSES}")

        rounds = passes_in_turns(graphs, self.device, self.options.transport, tell)
        return [tuple(one.kernels for one in own) for own in zip(*rounds, strict=True)]

    def _measurement(self, graph: Graph, processes: tuple[Process, ...], board: str) -> Measurement:
        told = {"label": self.options.label, "board": board}
        baseline = self._baseline(processes)
        measurement = Measurement(
            model=graph.name,
            digest=graph.digest,
            device=self.device,
            hardware=self.machine.hardware,
            evidence=self.machine.evidence,
            versions=self.machine.versions,
            protocol=self.options.settings,
            environment={**self.machine.snapshot, **{name: text for name, text in told.items() if text}},
            processes=processes,
            status=stop.status(processes, self.options.settings, baseline),
            anchor_baseline_ns=baseline.wall_ns,
            anchor_baseline_cpu_ns=baseline.cpu_ns,
            is_baseline_quiet=baseline.is_quiet,
            overhead_ns=self.machine.overhead_ns,
            inputs=inputs_identity(graph),
            network_warnings=graph.warnings,
        )
        return replace(measurement, warnings=(*self.machine.warnings, *caveats(measurement)))

    def _baseline(self, processes: Sequence[Process]) -> Baseline:
        """The undisturbed time on this machine of each anchor of the processes' blocks, these processes included."""
        seen = estimate.baseline_of(processes)
        wall_ns, cpu_ns = (self.store.baseline_ns(self._machine, clock) for clock in (Clock.WALL, Clock.CPU))
        was_quiet = bool(seen.wall_ns) and seen.wall_ns.keys() <= self.store.quiet_anchors(self._machine)
        return Baseline(
            {name: min(ns, wall_ns.get(name, ns)) for name, ns in seen.wall_ns.items()},
            {name: min(ns, cpu_ns.get(name, ns)) for name, ns in seen.cpu_ns.items()},
            seen.is_quiet or was_quiet if seen.is_quiet is not None else None,
        )

    @property
    def _machine(self) -> str:
        """The key of the machine's anchors."""
        return key_of(
            {"hardware": self.machine.hardware, "device": self.device.digest, "versions": self.machine.versions}
        )


def _idle(graph: Graph, operators: Sequence[str]) -> Iterator[str]:
    """The warning about operators that had nothing to do, unless the graph itself says that their results are empty."""
    producers = {node.label: node for node in graph.nodes}
    empty = {t.name for t in graph.values if not t.numel}
    named = [o for o in operators if o not in producers or empty.isdisjoint(producers[o].outputs)]
    if named:
        yield (
            f"{len(named)} operators had nothing to do, their results are empty ({named[0]!r} is the first): the "
            "values of the inputs decide what runs; give real ones with --input NAME=FILE.npy"
        )


def require_comparable(graphs: Sequence[Graph], device: Device) -> None:
    """Raises InputError for fewer than two graphs, and for a device that has no times."""
    if len(graphs) < 2:
        raise InputError("compare needs at least two networks")
    require_times(device)
