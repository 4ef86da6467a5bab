"""The backend `tvm`: compiles a graph for the device, checks what it computes, and times it there."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

from hwprof.backends import host_resources
from hwprof.backends.tvm import compiling, database, reference, remote, target, tuning
from hwprof.backends.tvm.library import relax, tvm
from hwprof.backends.tvm.remote import RpcSession, RpcSessions
from hwprof.backends.tvm.timer import TvmTimer
from hwprof.device import Device
from hwprof.errors import EnvironmentUnfitError
from hwprof.graph import Graph
from hwprof.interfaces import TuningProgress
from hwprof.measurement import Evidence

_WEIGHT_COPIES = 4  # the model's, the module's, the compiled network's and the reference's
_QUANTIZING = frozenset({"QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear"})
UNTUNED = (
    "untuned: TVM's default schedules are tens of times slower than a vendor's kernels and say little about TVM; "
    "run hwprof tune first"
)
_FAKE_QUANTIZED = (
    "TVM runs quantized operators as float arithmetic with rounding: this is not the latency of integer kernels"
)


class TvmBackend:
    """Each process compiles again; a tuned network uses the schedules that `hwprof tune` found."""

    evidence = Evidence.MEASURED

    def __init__(self) -> None:
        self._sessions = RpcSessions()

    def versions(self) -> Mapping[str, str]:
        return {"tvm": str(tvm.__version__)}

    def open(self, graph: Graph, device: Device) -> AbstractContextManager[TvmTimer]:
        """Compiles and checks now, loads when the context is entered. Raises InputError for a graph, option or target
        that TVM cannot build, or whose results differ from ONNX Runtime's; EnvironmentUnfitError for too little memory,
        a device that does not answer or a missing compiler; DeviceLostError when the device is lost."""
        built_for = target.of(device)
        host_resources.require_memory(graph, _WEIGHT_COPIES)
        session = self._sessions.of(device) if device.remote else None
        if session is None:
            _take_threads(device)
        number, found = database.of_process(graph, device)
        compiled = compiling.compile_module(graph, compiling.lower(graph, built_for), built_for, found)
        module = (
            session.send(compiled.executable, target.read(device).compiler) if session else compiled.executable.jit()
        )
        loading = _Loading(
            module, session, graph, database.record(graph, device, number), _warnings(graph, device, compiled)
        )
        with loading.opened() as timer:
            reference.require_same(graph, timer.outputs(), reference.outputs(graph))
        return loading.opened()

    def remote_hardware(self, device: Device) -> Mapping[str, Any]:
        """Connects once. Raises as `open` does."""
        self._sessions.of(device)
        return remote.hardware(device)

    def tuning(self, graph: Graph, device: Device) -> str:
        return database.identity(graph, device)

    def tune(self, graph: Graph, device: Device, trials: int, budget_s: float, build: int) -> Iterator[TuningProgress]:
        session = self._sessions.of(device) if device.remote else None
        if session is None:
            _take_threads(device)
        return tuning.tune(graph, device, session, database.folder(graph, device, build), trials, budget_s, build)


class _Loading:
    """A compiled network on its device, which can be loaded any number of times."""

    def __init__(
        self, module: Any, session: RpcSession | None, graph: Graph, build: str, warnings: tuple[str, ...]
    ) -> None:
        self._module = module
        self._session = session
        self._graph = graph
        self._build = build
        self._warnings = warnings

    @contextmanager
    def opened(self) -> Iterator[TvmTimer]:
        guarded = self._session.guarded if self._session else nullcontext
        place = self._session.place if self._session else tvm.cpu()

        def load() -> Any:
            return relax.VirtualMachine(self._module, place)

        clock = "the board's clock" if self._session else ""
        yield TvmTimer(load, place, self._graph, self._build, self._warnings, guarded, clock)


def _take_threads(device: Device) -> None:
    """The library starts its threads once, so the first network's number of threads holds for the whole process."""
    wanted = host_resources.threads(device)
    os.environ["TVM_NUM_THREADS"] = str(wanted)
    granted = int(tvm.get_global_func("runtime.NumThreads")())
    if granted != wanted:
        raise EnvironmentUnfitError(
            f"device {device.name!r} asks for {wanted} threads, but this process has started TVM with {granted}"
        )


def _warnings(graph: Graph, device: Device, compiled: compiling.Compiled) -> tuple[str, ...]:
    found = []
    if not compiled.tuned:
        found.append(UNTUNED)
    elif compiled.tuned < compiled.kernels:
        found.append(
            f"tuned in part: {compiled.kernels - compiled.tuned} of {compiled.kernels} kernels are not tuned yet"
        )
    builds = database.builds(graph, device)
    if builds == 1:
        found.append("only one tuned build: another search would give another latency (use hwprof tune --builds 3)")
    if any(node.op in _QUANTIZING for node in graph.nodes):
        found.append(_FAKE_QUANTIZED)
    return tuple(found)


BACKEND = TvmBackend()
