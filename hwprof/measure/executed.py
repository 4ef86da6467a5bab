"""Which kernels does a device's runtime execute of a network? A worker asks the runtime; nothing is measured."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from hwprof import plugins
from hwprof.data.executed_kernels import KeptKernels
from hwprof.device import Device
from hwprof.errors import EnvironmentUnfitError, HwprofError, InputError
from hwprof.graph import Graph
from hwprof.interfaces import Execute, ExecutedKernel, OptimizingBackend
from hwprof.measure.transport import RestartedWorker, Transport, Worker, ask_once, understood


@contextmanager
def asked(
    device: Device,
    transport: Transport,
    on_note: Callable[[str], None] = lambda _text: None,
    folder: Path | None = None,
) -> Iterator[Execute | None]:
    """Yields a function of a graph that returns the kernels; None instead of the function where the runtime does not
    say what it executes, or is not installed.

    The function raises InputError, the runtime's reason, for a network that the runtime refuses. Where the worker
    failed, it returns None and tells `on_note`. folder: of the data set that the networks belong to, which keeps the
    answers.
    """
    if not _is_told(device):
        yield None
        return
    with RestartedWorker(transport, device) as worker:
        kept = _kept(worker, device, folder)

        def execute(graph: Graph) -> Sequence[ExecutedKernel] | None:
            if kept is not None and graph.digest in kept.kernels:
                return kept.kernels[graph.digest]
            try:
                kernels = _executed(worker, device, graph)
            except InputError:
                raise
            except HwprofError as error:
                on_note(f"{graph.name}: rules tell which kernels are executed, the runtime could not be asked: {error}")
                return None
            if kept is not None:
                kept.keep(graph.digest, kernels)
            return kernels

        try:
            yield execute
        finally:
            if kept is not None:
                kept.write()


def _executed(worker: Worker, device: Device, graph: Graph) -> Sequence[ExecutedKernel]:
    answer = ask_once(worker, "executed", device=device.to_record(with_address=True), graph=graph.to_json())
    with understood("executed"):
        return [ExecutedKernel.of(*fields) for fields in answer["kernels"]]


def _kept(worker: Worker, device: Device, folder: Path | None) -> KeptKernels | None:
    """The answers in the folder; None without a folder, and where the worker does not tell the runtime's versions."""
    if folder is None:
        return None
    try:
        hello = ask_once(worker, "hello", device=device.to_record(with_address=True))
        with understood("hello"):
            return KeptKernels.read(folder, device, hello["versions"])
    except HwprofError:
        return None


def _is_told(device: Device) -> bool:
    try:
        return isinstance(plugins.load("backend", device.backend), OptimizingBackend)
    except EnvironmentUnfitError:
        return False
