"""Which kernels does a device's runtime execute of a network? A worker asks the runtime; nothing is measured."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from hwprof import plugins
from hwprof.device import Device
from hwprof.errors import EnvironmentUnfitError, HwprofError
from hwprof.graph import Graph
from hwprof.interfaces import Execute, ExecutedKernel, OptimizingBackend, Work
from hwprof.measure.transport import RestartedWorker, Transport, ask_once, understood


@contextmanager
def asked(device: Device, transport: Transport) -> Iterator[Execute | None]:
    """Yields a function of a graph that returns the kernels, or None for a network that the runtime refuses; None
    instead of the function where the runtime does not say what it executes, or is not installed."""
    if not _is_told(device):
        yield None
        return
    with RestartedWorker(transport, device) as worker:

        def execute(graph: Graph) -> Sequence[ExecutedKernel] | None:
            record = device.to_record(with_address=True)
            try:
                answer = ask_once(worker, "executed", device=record, graph=graph.to_json())
            except HwprofError:
                return None
            with understood("executed"):
                return [_kernel(*fields) for fields in answer["kernels"]]

        yield execute


def _kernel(op: Any, nodes: Any, moved: Any, work: Any = None) -> ExecutedKernel:
    """From what a worker answers."""
    if work is None:
        return ExecutedKernel(str(op), tuple(nodes), str(moved))
    kind, sizes = work
    return ExecutedKernel(
        str(op), tuple(nodes), str(moved), Work(str(kind), {str(name): float(size) for name, size in sizes.items()})
    )


def _is_told(device: Device) -> bool:
    try:
        return isinstance(plugins.load("backend", device.backend), OptimizingBackend)
    except EnvironmentUnfitError:
        return False
