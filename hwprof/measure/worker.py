"""The worker: a fresh process that opens networks on a device and measures them, one JSON line in, JSON lines out.

Run as `python -m hwprof.measure.worker`. A request is {"do": NAME, ...}; the answers to it are
records and then {"done": true}, or {"error": CLASS, "text": ONE LINE}. The protocol is the same
whether the pipe leads to this machine, through SSH or to another node.
"""

from __future__ import annotations

import gc
import json
import os
import signal
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, suppress
from dataclasses import asdict, replace
from datetime import UTC, datetime
from time import perf_counter_ns
from typing import Any, Self, TextIO

import numpy as np

from hwprof import errors, plugins
from hwprof.backends import host_resources
from hwprof.backends.host_timer import HostTimer
from hwprof.builder import GraphBuilder
from hwprof.device import Device
from hwprof.errors import HwprofError, InputError
from hwprof.graph import Graph
from hwprof.interfaces import (
    AcceleratorBackend,
    Backend,
    BuiltTimer,
    CountingBackend,
    RemoteBackend,
    Timer,
    TunableBackend,
)
from hwprof.measure import anchors, timing
from hwprof.measure.steady import Warmup
from hwprof.measurement import Evidence, Process, ProtocolSettings

_COUNTED_RUNS = 2
_STARTED_NS = perf_counter_ns()

Answers = Iterator[Mapping[str, Any]]


class Bench:
    """What one worker process keeps between requests: a runtime that has started, and anchors once they are open."""

    def __init__(self) -> None:
        self._anchors: dict[str, anchors.OpenAnchors] = {}
        self._started: set[str] = set()
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def start_runtime(self, backend: Backend, device: Device) -> None:
        """Once per device: or the first network's memory would hold what the runtime takes to start."""
        if device.digest not in self._started:
            self._started.add(device.digest)
            with suppress(InputError), backend.open(_identity(), replace(device, batch=1)) as timer:
                timer(1)

    def anchors(self, backend: Backend, device: Device) -> anchors.OpenAnchors:
        if device.digest not in self._anchors:
            self._anchors[device.digest] = self._stack.enter_context(
                anchors.OpenAnchors(backend, replace(device, batch=1))
            )
        return self._anchors[device.digest]


def measure(request: Mapping[str, Any], bench: Bench) -> Answers:
    """One process' worth of blocks of each graph of a group; the graphs' blocks alternate.

    Graphs that are compared stand in one group, so that both see the same seconds of the machine.
    """
    device = Device.from_record(request["device"])
    settings = ProtocolSettings(**request["settings"])
    backend: Backend = plugins.load("backend", device.backend)
    graphs = [Graph.from_json(text) for text in request["graphs"]]
    os.environ["HWPROF_PROCESS"] = str(request["round"])  # backends that play a machine vary by it
    started = datetime.now(UTC).isoformat(timespec="seconds")
    if isinstance(backend, CountingBackend):
        yield from _counted(backend, device, graphs, request["round"], started)
        return
    bench.start_runtime(backend, device)
    with ExitStack() as stack:
        memory, subjects = [], []
        for graph in graphs:
            opening = backend.open(graph, device)
            in_use = timing.reset_peak_memory()
            subjects.append(_opened(stack, opening, backend, device, settings, request["cores"]))
            memory.append(0 if device.remote else timing.peak_memory_bytes() - in_use)
        if backend.evidence is Evidence.MEASURED:
            _attach_anchors(bench.anchors(backend, device), subjects, request["anchors_for_ns"])
        _alternate(subjects, request["blocks"], request["round"])
        for i, subject in enumerate(subjects):
            if backend.evidence is Evidence.MEASURED:
                subject.measure_energy()
                if request["in_detail"]:
                    subject.measure_figures()
            yield {"index": i, "process": asdict(_process(subject, request["round"], started, memory[i]))}


def _counted(
    backend: CountingBackend, device: Device, graphs: Sequence[Graph], round_number: int, started: str
) -> Answers:
    """The instructions of each graph. Nothing disturbs a count: no blocks, no anchors."""
    for i, graph in enumerate(graphs):
        start = perf_counter_ns()
        with backend.open_counter(graph, device) as counter:
            open_ns = perf_counter_ns() - start
            cold, *counts = counter.count(1 + _COUNTED_RUNS)
        del cold  # the first inference allocates
        process = Process(
            round=round_number, started=started, open_ns=open_ns, cold_ns=0, warmup_ns=(), warmup=str(Warmup.FLAT),
            blocks=(), peak_memory_bytes=0, instructions=tuple(counts),
        )  # fmt: skip
        yield {"index": i, "process": asdict(process)}


def _opened(
    stack: ExitStack, opening: AbstractContextManager[Timer], backend: Backend, device: Device,
    settings: ProtocolSettings, cores: Sequence[int],
) -> timing.Subject:  # fmt: skip
    start = perf_counter_ns()
    timer = stack.enter_context(opening)
    open_ns = perf_counter_ns() - start
    is_elsewhere = backend.evidence is not Evidence.MEASURED or bool(device.remote)
    subject = timing.Subject(timer, settings, cores, timing.clock_tick_ns(), open_ns, is_elsewhere)
    if isinstance(timer, BuiltTimer):
        subject.warnings.extend(timer.warnings)
    subject.start_up()
    subject.warm()
    return subject


def _attach_anchors(opened: anchors.OpenAnchors, subjects: Sequence[timing.Subject], latency_ns: float | None) -> None:
    """The same anchors for all of a group, as long as its longest network (as it was in the first process)."""
    try:
        found = opened.for_latency(latency_ns or max(s.latency_ns for s in subjects))
    except InputError as error:  # a runtime that cannot run a float network, say
        for subject in subjects:
            subject.warnings.append(f"no anchors on this backend: {error}")
        return
    for subject in subjects:
        subject.anchors = found


def _alternate(subjects: Sequence[timing.Subject], count: int, round_number: int) -> None:
    """`count` blocks of each that count, A B B A ...; at most twice as many tries."""
    order = list(subjects) if round_number % 2 == 0 else list(reversed(subjects))
    for _ in range(2 * count):
        for subject in order:
            subject.block(_STARTED_NS)
        order.reverse()
        if all(sum(not b.rejected for b in s.blocks) >= count for s in subjects):
            break


def _process(subject: timing.Subject, round_number: int, started: str, peak_memory_bytes: int) -> Process:
    return Process(
        round=round_number,
        started=started,
        open_ns=subject.open_ns,
        cold_ns=subject.cold_ns,
        warmup_ns=tuple(subject.warmup_ns),
        warmup=str(subject.warmup),
        blocks=tuple(subject.blocks),
        peak_memory_bytes=peak_memory_bytes,
        energy_mj=float(np.median(subject.energy_mj)) if subject.energy_mj else None,
        warnings=tuple(subject.warnings),
        figures=subject.figures,
        build=subject.timer.build if isinstance(subject.timer, BuiltTimer) else "",
    )


def operators(request: Mapping[str, Any], _: Bench) -> Answers:
    """A profiled pass of one graph: its kernels, and the latency of the profiled runs, ns per inference."""
    device = Device.from_record(request["device"])
    backend: Backend = plugins.load("backend", device.backend)
    with backend.open(Graph.from_json(request["graph"]), device) as timer:
        timer(int(request["runs"]))  # warm
        profiled = getattr(timer, "operators", None)
        kernels = profiled(int(request["runs"])) if profiled else []
        yield {"operators": [asdict(k) for k in kernels], "profiled_ns": getattr(timer, "profiled_ns", None)}


def overhead(request: Mapping[str, Any], _: Bench) -> Answers:
    """What a stamp costs: a function that does nothing and a network that does nothing, each stamped and in a block."""
    device = Device.from_record(request["device"])
    backend: Backend = plugins.load("backend", device.backend)
    empty = HostTimer(lambda: None, dict)
    yield {"empty_ns": _stamped_and_plain(empty)}
    try:
        with backend.open(_identity(), replace(device, batch=1)) as timer:
            yield {"identity_ns": _stamped_and_plain(timer)}
    except InputError:
        yield {"identity_ns": None}


def _identity() -> Graph:
    """A network that does nothing."""
    b = GraphBuilder("identity")
    return b.build(b.unary("Identity", b.input((1,))))


def _stamped_and_plain(timer: Callable[..., Sequence[int]], runs: int = 2000) -> list[float]:
    timer(runs)
    stamped = [float(np.mean(timer(runs))) for _ in range(5)]
    plain = [sum(timer(runs, each=False)) / runs for _ in range(5)]
    return [float(np.median(stamped)), float(np.median(plain))]


def peaks(request: Mapping[str, Any], _: Bench) -> Answers:
    """Median latency, ns, of each of the given graphs: the device's ceilings are read off networks of known work."""
    device = Device.from_record(request["device"])
    backend: Backend = plugins.load("backend", device.backend)
    for text in request["graphs"]:
        with backend.open(Graph.from_json(text), replace(device, batch=1)) as timer:
            timer(3)
            yield {"latency_ns": float(np.min(timer(15)))}


def tune(request: Mapping[str, Any], _: Bench) -> Answers:
    """Searches for fast kernels of one graph; an answer for each step."""
    device = Device.from_record(request["device"])
    backend: Backend = plugins.load("backend", device.backend)
    if not isinstance(backend, TunableBackend):
        raise InputError(f"backend {device.backend!r} of device {device.name!r} has nothing to tune")
    graph = Graph.from_json(request["graph"])
    for progress in backend.tune(graph, device, request["trials"], request["budget_s"], request["build"]):
        yield asdict(progress)


def hello(request: Mapping[str, Any], _: Bench) -> Answers:
    """The runtime's versions, the worth of its times, a remote device's hardware, and the accelerator behind it."""
    device = Device.from_record(request["device"])
    backend: Backend = plugins.load("backend", device.backend)
    remote_hardware = None
    if device.remote:
        if not isinstance(backend, RemoteBackend):
            raise InputError(f"device {device.name!r} is remote; backend {device.backend!r} runs on this machine only")
        remote_hardware = dict(backend.remote_hardware(device))
    told: AcceleratorBackend | None = backend if isinstance(backend, AcceleratorBackend) else None
    state = told.state(device) if told else None
    yield {
        "versions": dict(backend.versions()),
        "evidence": str(backend.evidence),
        "remote_hardware": remote_hardware,
        "accelerator_hardware": dict(told.hardware(device)) if told else {},
        "state": asdict(state) if state else None,
        "pid": os.getpid(),
    }


_REQUESTS: dict[str, Callable[[Mapping[str, Any], Bench], Answers]] = {
    "hello": hello, "measure": measure, "operators": operators, "overhead": overhead, "peaks": peaks, "tune": tune,
}  # fmt: skip


def serve(lines: TextIO, answers: TextIO) -> None:
    """Answers every request on `lines` until it ends."""
    with Bench() as bench:
        for line in lines:
            _answer(json.loads(line), bench, answers)
            gc.collect()


def _answer(request: Mapping[str, Any], bench: Bench, answers: TextIO) -> None:
    try:
        for answer in _REQUESTS[request["do"]](request, bench):
            _send(answers, answer)
        _send(answers, {"done": True})
    except HwprofError as error:
        _send(answers, {"error": type(error).__name__, "text": str(error)})
    except MemoryError:
        _send(answers, {"error": errors.EnvironmentUnfitError.__name__, "text": "out of memory"})
    except Exception as error:  # noqa: BLE001 -- the border of the process: whatever a runtime throws is one line
        text = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else 'no message'}"
        _send(answers, {"error": errors.HwprofError.__name__, "text": text})


def _send(answers: TextIO, record: Mapping[str, Any]) -> None:
    answers.write(json.dumps(record) + "\n")
    answers.flush()


def main() -> None:
    """Settles into its cores, keeps standard output for answers alone, and dies with its parent."""
    host_resources.die_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    if len(sys.argv) > 1:
        os.sched_setaffinity(0, {int(c) for c in sys.argv[1].split(",")})
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what a library prints must not land among the answers
    gc.disable()
    serve(sys.stdin, answers)


if __name__ == "__main__":
    main()
