"""The worker: a fresh process that opens networks on a device and measures them; JSON lines in, JSON lines out.

Run as `python -m hwprof.measure.worker`. A request is {"do": NAME, "device": DEVICE, ...}; the answers to it are
records and then {"done": true}, or {"error": CLASS, "text": ONE LINE}. The protocol is the same whether the pipe
leads to this machine, through SSH or to another node, for the worker alone looks at its machine: it chooses the
cores, checks whether the machine is fit, locks it and tells its hardware.
"""

from __future__ import annotations

from hwprof.backends import lifetime

if __name__ == "__main__":  # before the imports: they take seconds, in which the parent may die
    lifetime.die_with_parent()
    lifetime.end_without_reader()
    lifetime.die_first_without_memory()

import base64
import gc
import json
import os
import platform
import signal
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import asdict, replace
from datetime import UTC, datetime
from time import perf_counter_ns
from typing import Any, TextIO

import numpy as np

from hwprof import errors, plugins
from hwprof.backends.host_timer import HostTimer
from hwprof.backends.options import numbered
from hwprof.device import Device
from hwprof.errors import HwprofError, InputError
from hwprof.files import path_below
from hwprof.graph import Graph
from hwprof.interfaces import (
    AcceleratorBackend,
    Backend,
    BuiltTimer,
    ClockedTimer,
    CountingBackend,
    OperatorTimer,
    OptimizingBackend,
    OutputTimer,
    RemoteBackend,
    Timer,
    TunableBackend,
)
from hwprof.measure import cpu_time, disturbance, environment, timing
from hwprof.measure.anchors import OpenAnchors
from hwprof.measure.steady import Warmup
from hwprof.measure.worker_state import WorkerState, identity
from hwprof.measurement import Evidence, Process, ProtocolSettings

_COUNTED_RUNS = 2
_FEWEST_BLOCKS = 2  # of a process, however soon its time is over
_STARTED_NS = perf_counter_ns()

Answers = Iterator[Mapping[str, Any]]


def measure(request: Mapping[str, Any], state: WorkerState) -> Answers:
    """One process' worth of blocks of each graph of a cohort; the graphs' blocks alternate.

    Graphs that are compared are in one cohort, so that both see the same seconds of the machine.
    """
    end_ns = perf_counter_ns() + request["most_s"] * 1e9
    device, backend = state.pinned(request)
    settings = ProtocolSettings(**request["settings"])
    graphs = [Graph.from_json(text) for text in request["graphs"]]
    started = datetime.now(UTC).isoformat(timespec="seconds")
    if isinstance(backend, CountingBackend):
        yield from _counted(backend, device, graphs, request["round"], started)
        return
    state.start_runtime(backend, device)
    has_memory = state.is_alone and not device.remote
    with ExitStack() as stack:
        stack.enter_context(numbered(request["round"]))  # backends that play a machine vary by it
        memory, subjects = [], []
        for graph in graphs:
            opening = backend.open(graph, device)
            in_use = timing.reset_peak_memory() if has_memory else 0
            subjects.append(_opened(stack, opening, backend, device, settings, state.cores))
            memory.append(timing.peak_memory_bytes() - in_use if has_memory else 0)
        if backend.evidence is Evidence.MEASURED:
            _attach_anchors(state.anchors(backend, device), subjects, request["anchors_for_ns"])
        other_cpus = _alternate(subjects, request["blocks"], request["round"], end_ns)
        for i, subject in enumerate(subjects):
            if backend.evidence is Evidence.MEASURED:
                subject.measure_energy()
                if request["in_detail"]:
                    subject.measure_figures()
            yield {"index": i, "process": asdict(_process(subject, request["round"], started, memory[i], other_cpus))}


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
    has_cpu_time = not is_elsewhere and not _is_on_accelerator(backend, device)
    subject = timing.Subject(timer, settings, cores, timing.clock_tick_ns(), open_ns, is_elsewhere, has_cpu_time)
    if isinstance(timer, BuiltTimer):
        subject.warnings.extend(timer.warnings)
    subject.start_up()
    subject.warm()
    return subject


def _is_on_accelerator(backend: Backend, device: Device) -> bool:
    return isinstance(backend, AcceleratorBackend) and bool(backend.hardware(device))


def _attach_anchors(opened: OpenAnchors, subjects: Sequence[timing.Subject], latency_ns: float | None) -> None:
    """The same anchors for all of a cohort, as long as its longest network (as it was in the first process)."""
    try:
        found = opened.for_latency(latency_ns or max(s.latency_ns for s in subjects))
    except InputError as error:  # a runtime that cannot run a float network, say
        for subject in subjects:
            subject.warnings.append(f"no anchors on this backend: {error}")
        return
    for subject in subjects:
        subject.anchors = found


def _alternate(subjects: Sequence[timing.Subject], count: int, round_number: int, end_ns: float) -> float | None:
    """`count` blocks of each that count (`Subject.counted_blocks`), A B B A ...; at most twice as many tries, and as
    many as fit before `end_ns`. Returns how many CPUs other programs kept busy meanwhile, on average; None where the
    system does not tell."""
    load, start_ns = cpu_time.OtherLoad(), perf_counter_ns()
    order = list(subjects) if round_number % 2 == 0 else list(reversed(subjects))
    for done in range(1, 2 * count + 1):
        for subject in order:
            subject.block(_STARTED_NS)
        order.reverse()
        now_ns = perf_counter_ns()
        is_over = done >= _FEWEST_BLOCKS and now_ns + (now_ns - start_ns) / done / 2 > end_ns
        if is_over or all(s.counted_blocks >= count for s in subjects):
            break
    return load.cpus()


def _process(
    subject: timing.Subject, round_number: int, started: str, peak_memory_bytes: int, other_cpus: float | None
) -> Process:
    return Process(
        round=round_number,
        started=started,
        open_ns=subject.open_ns,
        cold_ns=subject.cold_ns,
        warmup_ns=tuple(subject.warmup_ns),
        warmup=str(subject.warmup),
        blocks=disturbance.without_own_waits(subject.blocks, len(subject.cores), other_cpus),
        peak_memory_bytes=peak_memory_bytes,
        energy_mj=float(np.median(subject.energy_mj)) if subject.energy_mj else None,
        warnings=tuple(subject.warnings),
        figures=subject.figures,
        build=subject.timer.build if isinstance(subject.timer, BuiltTimer) else "",
        cores=len(subject.cores),
        cpu_time=subject.cpu_time,
        other_cpus=None if subject.is_elsewhere else other_cpus,
        clock=subject.timer.clock if isinstance(subject.timer, ClockedTimer) else "",
    )


def operators(request: Mapping[str, Any], state: WorkerState) -> Answers:
    """A profiled pass of one graph: its kernels, and the latency of the profiled runs, ns per inference."""
    device, backend = state.pinned(request)
    with backend.open(Graph.from_json(request["graph"]), device) as timer:
        timer(1)  # the profiled pass has a warm-up of its own
        kernels = timer.operators(int(request["runs"])) if isinstance(timer, OperatorTimer) else ()
        yield {
            "operators": [asdict(k) for k in kernels], "profiled_ns": getattr(timer, "profiled_ns", None),
            "machine": platform.machine(), "idle": getattr(timer, "idle", ()),
        }  # fmt: skip


def opening(request: Mapping[str, Any], state: WorkerState) -> Answers:
    """Opens one graph and runs it once, to see that the device can."""
    device, backend = state.pinned(request)
    graph = Graph.from_json(request["graph"])
    if isinstance(backend, CountingBackend):
        with backend.open_counter(graph, device):
            pass
    else:
        with backend.open(graph, device) as timer:
            timer(1)
    yield {"opened": True}


def executed(request: Mapping[str, Any], state: WorkerState) -> Answers:
    """The kernels that the runtime executes of one graph: the operator, nodes, moved tensor, implementation and work of
    each."""
    device, backend = state.pinned(request)
    if not isinstance(backend, OptimizingBackend):
        raise InputError(f"backend {device.backend!r} of device {device.name!r} does not say what it executes")
    yield {"kernels": [list(kernel) for kernel in backend.executed(Graph.from_json(request["graph"]), device)]}


def output_error(request: Mapping[str, Any], state: WorkerState) -> Answers:
    """Over the float outputs of two graphs: the sum of the squared differences, and that of the first one's squares;
    null where it is not finite."""
    device, backend = state.pinned(request)
    outputs = []
    for text in request["graphs"]:
        with backend.open(Graph.from_json(text), device) as timer:
            if not isinstance(timer, OutputTimer):
                raise InputError(f"backend {device.backend!r} does not show the outputs of a network")
            timer(1)
            outputs.append([np.asarray(y, np.float64) for y in timer.outputs().values() if y.dtype.kind == "f"])
    squares = sum(float(np.square(b - a).sum()) for a, b in zip(*outputs, strict=True))
    reference = sum(float(np.square(a).sum()) for a in outputs[0])
    yield {"squares": _finite_or_null(squares), "reference": _finite_or_null(reference)}


def _finite_or_null(value: float) -> float | None:
    return value if np.isfinite(value) else None


def overhead(request: Mapping[str, Any], state: WorkerState) -> Answers:
    """The times of a function and of a network that do nothing, ns: a stamp for each run, and one for all of them."""
    device, backend = state.pinned(request)
    empty = HostTimer(lambda: None, dict)
    yield {"empty_ns": _stamped_and_plain(empty)}
    try:
        with backend.open(identity(), replace(device, batch=1)) as timer:
            yield {"identity_ns": _stamped_and_plain(timer)}
    except InputError:
        yield {"identity_ns": None}


def _stamped_and_plain(timer: Callable[..., Sequence[int]], runs: int = 2000) -> list[float]:
    timer(runs)
    stamped = [float(np.mean(timer(runs))) for _ in range(5)]
    plain = [sum(timer(runs, each=False)) / runs for _ in range(5)]
    return [float(np.median(stamped)), float(np.median(plain))]


def peaks(request: Mapping[str, Any], state: WorkerState) -> Answers:
    """Median latency, ns, of each of the given graphs: the device's ceilings are read off networks of known work."""
    device, backend = state.pinned(request)
    for text in request["graphs"]:
        with backend.open(Graph.from_json(text), replace(device, batch=1)) as timer:
            timer(3)
            yield {"latency_ns": float(np.min(timer(15)))}


def tune(request: Mapping[str, Any], state: WorkerState) -> Answers:
    """Searches for fast kernels of one graph; an answer for each step."""
    device, backend = state.pinned(request)
    if not isinstance(backend, TunableBackend):
        raise InputError(f"backend {device.backend!r} of device {device.name!r} has nothing to tune")
    graph = Graph.from_json(request["graph"])
    for progress in backend.tune(graph, device, request["trials"], request["budget_s"], request["build"]):
        yield asdict(progress)


def hello(request: Mapping[str, Any], state: WorkerState) -> Answers:
    """The runtime's versions, what its times are worth, the hardware that the device's networks run on with its
    fingerprint, and the state of its accelerator."""
    device, backend = state.pinned(request)
    told: AcceleratorBackend | None = backend if isinstance(backend, AcceleratorBackend) else None
    its_own = _remote_hardware(backend, device) if device.remote else environment.hardware()
    accelerator = dict(told.hardware(device)) if told else {}
    seen = told.state(device) if told else None
    yield {
        "versions": dict(backend.versions()),
        "evidence": str(backend.evidence),
        "hardware": {**its_own, **accelerator},
        "fingerprint": environment.fingerprint({**its_own, **accelerator}),
        "accelerator_hardware": accelerator,
        "state": asdict(seen) if seen else None,
        "pid": os.getpid(),
    }


def _remote_hardware(backend: Backend, device: Device) -> dict[str, Any]:
    if not isinstance(backend, RemoteBackend):
        raise InputError(f"device {device.name!r} is remote; backend {device.backend!r} runs on this machine only")
    return dict(backend.remote_hardware(device))


def receive(request: Mapping[str, Any], state: WorkerState) -> Answers:
    """Writes the files that a graph of a later request names, for a worker on another machine than they: tells their
    folder, which goes with the worker. "files": base64 by relative name. Raises InputError for another name."""
    folder = state.new_folder()
    for name, text in request["files"].items():
        path = path_below(folder, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(base64.b64decode(text))
    yield {"folder": str(folder)}


def hold(request: Mapping[str, Any], state: WorkerState) -> Answers:
    """Keeps other hwprof processes from measuring on this machine until the worker ends, where the device's times are
    measured on it."""
    device = Device.from_record(request["device"])
    backend: Backend = plugins.load("backend", device.backend)
    is_measured_here = backend.evidence is Evidence.MEASURED and not device.remote
    if is_measured_here:
        state.lock_machine()
    yield {"is_held": is_measured_here}


def preflight(request: Mapping[str, Any], state: WorkerState) -> Answers:
    """Whether this machine is fit to measure the device: an answer for each check."""
    state.unpin()
    for check in environment.preflight(Device.from_record(request["device"])):
        yield asdict(check)


def snapshot(request: Mapping[str, Any], state: WorkerState) -> Answers:
    """The environment that is stored with a measurement, without the hardware, which `hello` tells."""
    state.unpin()
    yield environment.snapshot(Device.from_record(request["device"]))


_REQUESTS: dict[str, Callable[[Mapping[str, Any], WorkerState], Answers]] = {
    request.__name__: request
    for request in (
        hello, hold, preflight, snapshot, overhead, measure, opening, executed, operators, output_error, peaks, receive,
        tune,
    )
}  # fmt: skip


def serve(lines: TextIO, answers: TextIO) -> None:
    """Answers every request on `lines` until it ends."""
    with WorkerState() as state:
        for line in lines:
            for record in answer(json.loads(line), state):
                answers.write(json.dumps(record) + "\n")
                answers.flush()
            gc.collect()


def answer(request: Mapping[str, Any], state: WorkerState) -> Answers:
    """The answers to one request, the last of which says that it is done or why not."""
    try:
        yield from _REQUESTS[request["do"]](request, state)
        yield {"done": True}
    except HwprofError as error:
        yield {"error": type(error).__name__, "text": str(error)}
    except MemoryError:
        yield {"error": errors.EnvironmentUnfitError.__name__, "text": "out of memory"}
    except Exception as error:  # noqa: BLE001 -- the border of the process: whatever a runtime throws is one line
        text = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else 'no message'}"
        yield {"error": errors.HwprofError.__name__, "text": text}


def main() -> None:
    """Serves standard input, keeps standard output for answers alone, and dies with its parent."""
    lifetime.die_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what a library prints must not land among the answers
    gc.disable()
    serve(sys.stdin, answers)


if __name__ == "__main__":
    main()
