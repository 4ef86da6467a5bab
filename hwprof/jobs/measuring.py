"""Measuring jobs: profile, compare, operators, explain."""

from __future__ import annotations

import hashlib
import math
import platform
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import asdict, dataclass, field, replace
from functools import lru_cache, partial
from pathlib import Path
from tempfile import TemporaryDirectory
from types import ModuleType
from typing import Any

import numpy as np

from hwprof import onnx_io, plugins, workloads
from hwprof.data.store import Store, key_of
from hwprof.device import Device
from hwprof.errors import DeviceLostError, HwprofError, InputError
from hwprof.graph import Graph
from hwprof.interfaces import Backend, TunableBackend
from hwprof.measure import compare as comparing
from hwprof.measure import cores, environment, stop
from hwprof.measure.exclusive import machine_to_ourselves
from hwprof.measure.peaks import measure_peaks
from hwprof.measure.session import Group, Session
from hwprof.measure.session import operators as time_operators
from hwprof.measure.worker_process import WorkerProcess
from hwprof.measurement import (
    Comparison,
    Evidence,
    Measurement,
    OperatorTime,
    Peaks,
    Process,
    ProtocolSettings,
    Status,
    slowdown,
)
from hwprof.report import explanation as explaining
from hwprof.report.explanation import Explanation
from hwprof.variants.apply import apply_variant
from hwprof.variants.spec import Variant

Shapes = Mapping[str, Sequence[int]]
_OPERATOR_PASS_NS = 500_000_000
_MOST_OPERATOR_RUNS = 500
_EXPLAIN_RUNS = 50
_FACTORY = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*")
_WITH_OPERATORS = (Evidence.MEASURED, Evidence.ANALYTIC)


def resolve(
    model: object, shapes: Shapes | None = None, folder: Path | None = None, example_inputs: object = None
) -> Graph:
    """A graph as it is, an .onnx file by its path, a reference network by its name; or a PyTorch module, itself with
    `example_inputs` or as package.module:factory, traced into a file in `folder`. Raises InputError."""
    if isinstance(model, Graph):
        return model
    if not isinstance(model, str | Path):
        return _traced(model, example_inputs, folder)
    path = Path(model)
    if path.suffix == ".onnx" or path.exists():
        return onnx_io.load(path, shapes)
    if str(model) in workloads.names():
        if shapes:
            raise InputError(f"the shapes of workload {str(model)!r} are fixed; --shape is for .onnx files")
        return workloads.build(str(model))
    if _FACTORY.fullmatch(str(model)):
        made, inputs = _torch_io().from_factory(str(model), shapes)
        return _traced(made, inputs, folder, str(model).rpartition(":")[2])
    known = ", ".join(workloads.names())
    raise InputError(f"{str(model)!r} is neither an .onnx file nor a workload; workloads: {known}")


def _traced(module: object, example_inputs: object, folder: Path | None, name: str = "") -> Graph:
    if folder is None:
        raise InputError("a PyTorch module can be profiled and compared; for the rest give an .onnx file or a workload")
    place = folder / f"traced-{len(list(folder.iterdir()))}.pt2"
    graph: Graph = _torch_io().export(module, example_inputs, place, name)
    return graph


def _torch_io() -> ModuleType:
    with plugins.optional_library("measuring a PyTorch module"):
        from hwprof import torch_io
    return torch_io


@dataclass(frozen=True, slots=True)
class Options:
    """How a measuring job treats what it finds. `with_operators`: also all else that costs time beside the latency
    (the accelerator's figures and energy). `fresh` measures again what the store already holds;
    `keep_unconverged` does not even measure again what ended short of its target (a sweep that goes on)."""

    settings: ProtocolSettings = field(default_factory=ProtocolSettings)
    allow_unfit: bool = False
    fresh: bool = False
    with_operators: bool = True
    on_progress: Callable[[Group], None] = lambda _group: None
    on_note: Callable[[str], None] = lambda _text: None
    keep_unconverged: bool = False


@dataclass(frozen=True, slots=True)
class Outcome:
    """Of one graph: its measurement, or the error that ended it. `stored` is when it was measured, if not now."""

    graph: Graph
    measurement: Measurement | None
    error: HwprofError | None = None
    stored: str | None = None


def profile(
    model: object,
    device: Device | str,
    *,
    shapes: Shapes | None = None,
    example_inputs: object = None,
    store: Store | None = None,
    options: Options | None = None,
) -> Measurement:
    """Measures one network: a Graph, an .onnx file, a workload or package.module:factory by name, or a torch.nn.Module
    with its `example_inputs` (a tensor, a sequence of arguments, or a mapping of keyword arguments).

    Raises HwprofError when it cannot; a measurement that did not converge says so in its status."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="hwprof-")))
        graph = resolve(model, shapes, folder, example_inputs)
        opened = store or stack.enter_context(Store())
        (outcome,) = profile_many([graph], _device(device), opened, options or Options())
    if outcome.measurement is None:
        raise outcome.error or HwprofError(f"{graph.name}: not measured")
    return outcome.measurement


def profile_many(graphs: Sequence[Graph], device: Device, store: Store, options: Options) -> Iterator[Outcome]:
    """Measures graphs in one sweep; yields each as soon as it is done, in the order in which they end."""
    with _undisturbed(device):
        job = _Job.start(device, store, options)
        waiting: dict[str, Graph] = {}  # by key: nothing is measured twice
        for graph in graphs:
            if (done := job.stored(graph)) is not None:
                yield done
            else:
                waiting.setdefault(job.key(graph), graph)
        groups = [job.group((graph,)) for graph in waiting.values()]
        for group in job.session().run(groups):
            yield from job.outcomes(group)


def compare(
    graphs: Sequence[Graph], device: Device, store: Store, options: Options, margin: float = comparing.MARGIN
) -> list[Comparison]:
    """Each graph against the first, from blocks that alternate in the same processes. Raises InputError
    below two graphs, and the error of the first graph that could not be measured."""
    if len(graphs) < 2:
        raise InputError("compare needs at least two networks")
    require_times(device)
    with _undisturbed(device):
        job = _Job.start(device, store, options)
        distinct = tuple(replace(g) for g in graphs)  # a network may be compared to itself
        group = job.group(distinct, context=",".join(job.key(g) for g in graphs))
        group.done = partial(_all_decided, settings=options.settings, margin=margin)
        (ended,) = job.session().run([group])
        outcomes = list(job.outcomes(ended))
    for outcome in outcomes:
        if outcome.error or outcome.measurement is None:
            raise outcome.error or HwprofError(f"{outcome.graph.name}: not measured")
    job.keep_comparison(distinct, margin)
    first, *others = [o.measurement for o in outcomes if o.measurement is not None]
    return comparing.compare_all(first, others, margin)


def _all_decided(processes: Sequence[Sequence[Process]], settings: ProtocolSettings, margin: float) -> bool:
    first, *others = processes
    return all(comparing.is_decided(first, other, settings, margin) for other in others)


def operators(graph: Graph, device: Device, latency_ms: float) -> tuple[tuple[OperatorTime, ...], float | None]:
    """The kernels of one inference, from a separate profiled process, and the latency of its runs, ns."""
    runs = int(np.clip(_OPERATOR_PASS_NS / (latency_ms * 1e6), 5, _MOST_OPERATOR_RUNS))
    return time_operators(graph, device, runs)


def peaks(device: Device) -> Peaks | None:
    """The device's measured ceilings; None for an emulated core, which has no speed."""
    if _evidence(device) is Evidence.EMULATED:
        return None
    with _undisturbed(device):
        return measure_peaks(device)


def variant(
    graph: Graph, spec: str | Variant, folder: Path, calibration: Path | None = None
) -> tuple[Graph, list[str]]:  # fmt: skip
    """The graph of a quantized, pruned, ... variant written to `folder`, and warnings for its user."""
    return apply_variant(graph, spec, folder, calibration)


def require_times(device: Device) -> None:
    """Raises InputError for a device whose instructions are counted: nothing there is in ms."""
    if _evidence(device) is Evidence.EMULATED:
        raise InputError(
            f"a latency is wanted, and device {device.name!r} is emulated: it counts instructions "
            "(hwprof profile, explain, collect; hwprof train --counts makes latencies of them)"
        )


def hardware(device: Device) -> str:
    """Fingerprint of what runs the device's networks: this machine with its accelerator, or a remote one. Raises what
    the backend raises where it is not there."""
    with WorkerProcess(cores.choose(device)) as worker:
        (hello,) = worker.ask("hello", device=device.to_record(with_address=True))
    return environment.fingerprint(_hardware(hello))


def _hardware(hello: Mapping[str, Any]) -> dict[str, Any]:
    remote = hello["remote_hardware"]
    its_own: dict[str, Any] = environment.hardware() if remote is None else dict(remote)
    return {**its_own, **hello["accelerator_hardware"]}


def _undisturbed(device: Device) -> AbstractContextManager[None]:
    """The machine to ourselves, where its own speed is what is measured."""
    is_here = _evidence(device) is Evidence.MEASURED and not device.remote
    return machine_to_ourselves() if is_here else nullcontext()


def _evidence(device: Device) -> Evidence:
    backend: Backend = plugins.load("backend", device.backend)
    return backend.evidence


def _device(device: Device | str) -> Device:
    return device if isinstance(device, Device) else Device.load(device)


@dataclass(slots=True)
class _Job:
    """What the measurements of one job share: the machine, the runtime's versions, the store."""

    device: Device
    store: Store
    options: Options
    hardware: str
    snapshot: dict[str, object]
    versions: dict[str, str]
    evidence: Evidence
    overhead_ns: float | None
    warnings: tuple[str, ...]
    numbers: dict[int, int] = field(default_factory=dict)  # of id(graph): two variants may share a digest

    @classmethod
    def start(cls, device: Device, store: Store, options: Options) -> _Job:
        checks = environment.preflight(device)
        warnings = environment.require_fit(checks, options.allow_unfit)
        with WorkerProcess(cores.choose(device)) as worker:
            (hello,) = worker.ask("hello", device=device.to_record(with_address=True))
            overhead = {
                k: v
                for answer in worker.ask("overhead", device=device.to_record(with_address=True))
                for k, v in answer.items()
            }
        evidence = Evidence(hello["evidence"])
        if evidence is not Evidence.MEASURED:
            figures = "instructions counted" if evidence is Evidence.EMULATED else "times"
            warnings = [f"{evidence}: the {figures} for device {device.name!r} are not measured on it"]
        warnings = [
            *warnings,
            *environment.require_fit(environment.accelerator_checks(hello["state"]), options.allow_unfit),
        ]
        told = {"overhead": overhead, "accelerator": hello["state"]}
        snapshot = environment.snapshot(device, _hardware(hello)) | told
        stamped, plain = overhead["empty_ns"]
        return cls(
            device, store, options, environment.fingerprint(snapshot["hardware"]), snapshot, hello["versions"],
            evidence, max(0.0, stamped - plain), tuple(warnings),
        )  # fmt: skip

    def session(self) -> Session:
        return Session(
            self.device, self.options.settings, self._keep, self.options.on_progress,
            in_detail=self.options.with_operators,
        )  # fmt: skip

    def group(self, graphs: tuple[Graph, ...], context: str = "") -> Group:
        """With the processes that an earlier, unfinished run of the same job left in the store."""
        kept = []
        for place, graph in enumerate(graphs):
            key = self.key(graph, f"{context} {place}" if context else "")
            number = self.store.begin(
                key, graph.name, graph.digest, self.device.name, self.hardware,
                is_compared=bool(context), fresh=self.options.fresh,
            )  # fmt: skip
            self.store.add_graph(graph.digest, graph.to_json())
            self.numbers[id(graph)] = number
            kept.append(self.store.processes(number))
        common = set.intersection(*({p.round for p in ps} for ps in kept))
        group = Group(graphs, [[p for p in ps if p.round in common] for ps in kept])
        if common:
            self.options.on_note(f"{graphs[0].name}: goes on after {len(common)} stored processes")
        return group

    def keep_comparison(self, graphs: Sequence[Graph], margin: float) -> None:
        self.store.add_comparison([self.numbers[id(g)] for g in graphs], margin)

    def _keep(self, graph: Graph, process: Process) -> None:
        self.store.add_process(self.numbers[id(graph)], process)

    def stored(self, graph: Graph) -> Outcome | None:
        found = None if self.options.fresh else self.store.latest(self.key(graph))
        if found is None or not (self.options.keep_unconverged or found[1].status is Status.CONVERGED):
            return None
        return Outcome(graph, replace(found[1], model=graph.name), stored=found[2])

    def outcomes(self, group: Group) -> Iterator[Outcome]:
        for graph, processes in zip(group.graphs, group.processes, strict=True):
            if group.error and not (processes and isinstance(group.error, DeviceLostError)):
                yield Outcome(graph, None, group.error)
                continue
            measurement = self._measurement(graph, tuple(processes))
            self.store.finish(self.numbers[id(graph)], measurement)
            if self.options.with_operators and self.evidence in _WITH_OPERATORS:
                measurement = self._with_operators(graph, measurement)
                self.store.finish(self.numbers[id(graph)], measurement)
            yield Outcome(graph, measurement, group.error)

    def _with_operators(self, graph: Graph, m: Measurement) -> Measurement:
        """With the operators' times or, where their pass fails, a warning: the latency is measured all the same."""
        try:
            kernels, profiled_ns = operators(graph, self.device, m.latency_ms)
        except HwprofError as error:
            return replace(m, warnings=(*m.warnings, f"operators not timed: {error}"))
        return replace(m, operators=kernels, operators_total_ns=profiled_ns)

    def _measurement(self, graph: Graph, processes: tuple[Process, ...]) -> Measurement:
        machine = key_of({"hardware": self.hardware, "device": self.device.digest, "versions": self.versions})
        self.store.lower_baseline(machine, undisturbed_ns(processes))
        baseline = self.store.baseline_ns(machine)
        names = {name for p in processes for b in p.blocks for name in b.anchors_ns}
        measurement = Measurement(
            model=graph.name,
            digest=graph.digest,
            device=self.device,
            hardware=self.hardware,
            evidence=self.evidence,
            versions=self.versions,
            protocol=self.options.settings,
            environment=self.snapshot,
            processes=processes,
            status=stop.status(processes, self.options.settings),
            anchor_baseline_ns={name: ns for name, ns in baseline.items() if name in names},
            overhead_ns=self.overhead_ns,
        )
        return replace(measurement, warnings=(*self.warnings, *_warnings(measurement)))

    def key(self, graph: Graph, context: str = "") -> str:
        """Over everything that makes two measurements the same one."""
        backend: Backend = plugins.load("backend", self.device.backend)
        tuned = backend.tuning(graph, self.device) if isinstance(backend, TunableBackend) else ""
        return key_of(
            {
                "digest": graph.digest,
                "weights": _weights_identity(graph),
                "device": self.device.digest,
                "hardware": self.hardware,
                "versions": self.versions,
                "protocol": asdict(self.options.settings),
                "context": context,
                **({"tuning": tuned} if tuned else {}),
            }
        )


def _weights_identity(graph: Graph) -> str:
    """Of the values that run: a variant made again has another file but the same content."""
    if graph.source is None:
        return "seed 0"
    if graph.source.endswith(".pt2"):
        return str(_torch_io().content_digest(Path(graph.source)))
    facts = Path(graph.source).stat()
    return _content_digest(graph.source, facts.st_size, facts.st_mtime_ns)


@lru_cache(maxsize=256)
def _content_digest(path: str, _size: int, _mtime_ns: int) -> str:
    """Of the file, and of the sizes and times of the files beside it that hold its large weights."""
    with Path(path).open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256")
    for beside in onnx_io.external_files(Path(path)):
        facts = beside.stat()
        digest.update(f"{beside.name} {facts.st_size} {facts.st_mtime_ns}".encode())
    return digest.hexdigest()


def undisturbed_ns(processes: Sequence[Process]) -> dict[str, float]:
    """The first decile of each anchor's times."""
    times: dict[str, list[float]] = {}
    for process in processes:
        for block in process.blocks:
            for name, ns in block.anchors_ns.items():
                times.setdefault(name, []).append(ns)
    return {name: float(np.quantile(values, 0.1)) for name, values in times.items()}


def _warnings(m: Measurement) -> Iterator[str]:
    yield from dict.fromkeys(w for p in m.processes for w in p.warnings)
    if m.is_counted:
        if m.status is Status.BUDGET:
            yield f"counted in {len(m.processes)} processes; two must agree within {stop.COUNT_TOLERANCE:.1%}"
        return
    if m.rejected_share > m.protocol.max_rejected_share:
        causes = sorted({b.rejected for p in m.processes for b in p.blocks if b.rejected})
        yield f"{m.rejected_share:.0%} of the blocks were disturbed ({', '.join(causes)})"
    slow = [p.round for p in m.processes if _slowdown(m, p) > 1 + m.protocol.anchor_tolerance]
    if slow:
        worst = max(_slowdown(m, p) for p in m.processes)
        yield (
            f"in {len(slow)} of {len(m.processes)} processes the machine ran up to {worst - 1:.0%} slower "
            "than undisturbed (see the normalized latency)"
        )
    averaged = max((b.runs_per_sample for p in m.processes for b in p.blocks), default=1)
    if averaged > 1:
        yield f"too short for a stamp each: p90, p99 and min are those of averages of {averaged} inferences"
    if m.status is Status.NOT_STEADY:
        yield "the latency never became steady during warm-up"
    elif m.status is Status.BUDGET:
        advice = "raise --budget" if len(m.processes) < m.protocol.max_processes else "the machine varies too much"
        width, target = m.statistics.relative_half_width, f"+-{m.protocol.target:.1%}"
        reached = "unknown" if math.isnan(width) else f"+-{width:.1%}"
        missed = f"not {target}" if not width <= m.protocol.target else f"but not twice in a row within {target}"
        yield f"the interval is {reached} after {len(m.processes)} processes, {missed}: {advice}"


def _slowdown(m: Measurement, process: Process) -> float:
    return float(np.median([slowdown(b, m.anchor_baseline_ns) for b in process.blocks]))


def explain(before: Graph, after: Graph, device: Device) -> Explanation:
    """Where `after` (a quantized `before`) loses, from both graphs and from the kernels that the device runs.

    Raises InputError for a device that runs nothing.
    """
    backend: Backend = plugins.load("backend", device.backend)
    if backend.evidence is not Evidence.MEASURED:
        raise InputError(f"explain needs a device that runs networks; {device.name!r} is {backend.evidence}")
    with machine_to_ourselves():
        slow, fast = (time_operators(graph, device, _EXPLAIN_RUNS)[0] for graph in (before, after))
    return explaining.explain(before, after, slow, fast, platform.machine())
