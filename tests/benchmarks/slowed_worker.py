"""A worker whose networks named "...+5%" are slowed down by a busy-wait of 5 % of each inference's CPU time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from time import thread_time_ns

from hwprof import plugins
from hwprof.backends.host_timer import HostTimer
from hwprof.backends.onnxruntime import BACKEND
from hwprof.device import Device
from hwprof.graph import Graph
from hwprof.interfaces import Timer
from hwprof.measure import worker

SUFFIX = "+5%"


class SlowedBackend:
    """ONNX Runtime, with the injected slowdown."""

    evidence = BACKEND.evidence

    def versions(self) -> Mapping[str, str]:
        return BACKEND.versions()

    @contextmanager
    def open(self, graph: Graph, device: Device) -> Iterator[Timer]:
        with BACKEND.open(graph, device) as timer:
            yield _slowed(timer) if graph.name.endswith(SUFFIX) else timer


def _slowed(timer: HostTimer) -> Timer:
    run = timer._run

    def slow_run() -> None:
        start = thread_time_ns()
        run()
        now = thread_time_ns()
        until = now + 0.05 * (now - start)
        while thread_time_ns() < until:
            pass

    timer._run = slow_run
    return timer


if __name__ == "__main__":
    plugins.load = lambda kind, name: SlowedBackend()
    worker.main()
