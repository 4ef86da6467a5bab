"""Anchors: two small networks of known work that are timed before and after every block.

One is bound by arithmetic, one by memory. Both run on the device and runtime under test, so that
whatever slows the machine down slows them too: a block is judged by how far they are off their
undisturbed time, and its latency can be corrected by it. An anchor much shorter than the network samples another
stretch of the machine's noise and is worse than none, so it is repeated (arithmetic) or enlarged (memory) until it
lasts as long. A runtime that refuses float networks gets quantized ones.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Self

import numpy as np

from hwprof.builder import GraphBuilder
from hwprof.device import Device
from hwprof.errors import InputError
from hwprof.graph import Graph
from hwprof.interfaces import Backend, Timer
from hwprof.measure.sampling import CPU_SAMPLE_NS, stamped

_COPY_KIB = (64, 256, 1024, 4096, 16384, 65536)
_COPY_BYTES_PER_NS = 8  # assumed, to pick a size; nothing else depends on it


def compute_graph() -> Graph:
    """Four products of 64 x 256 by 256 x 256: 16.8 million multiply-adds on 1.1 MB, which most caches hold."""
    b = GraphBuilder("anchor-compute")
    x = b.input((64, 256))
    for _ in range(4):
        x = b.relu(b.matmul(x, b.weight((256, 256))))
    return b.build(x)


def copy_graph(kib: int) -> Graph:
    """Reads and writes `kib` KiB each, one operation an element."""
    b = GraphBuilder(f"anchor-copy-{kib}k")
    return b.build(b.unary("Neg", b.input((kib, 256))))


def quantized_compute_graph() -> Graph:
    """The same products on integers."""
    return _quantized(compute_graph())


def quantized_copy_graph(kib: int) -> Graph:
    """Reads and writes `kib` KiB of floats each, and a table's results in between."""
    b = GraphBuilder(f"anchor-copy-{kib}k")
    return _quantized(b.build(b.unary("Sigmoid", b.input((kib, 256)))))


def _quantized(graph: Graph) -> Graph:
    from hwprof.variants.quantize import quantize  # a worker starts in half the time without it

    return quantize(graph)


@dataclass(frozen=True, slots=True)
class AnchorTime:
    """The time of one run by the wall clock and by the CPU clock, ns."""

    wall_ns: float
    cpu_ns: float


@dataclass(frozen=True, slots=True)
class Anchor:
    """An open anchor. Its name identifies its baseline; `estimate_ns` of one run sizes its slices."""

    name: str
    timer: Timer
    estimate_ns: float

    def time_per_run_ns(self, duration_ns: float) -> float:
        """Runs for about `duration_ns` and returns the mean time of one run."""
        n = max(1, round(duration_ns / self.estimate_ns))
        return sum(self.timer(n, each=False)) / n

    def time_of_a_run(self, duration_ns: float, sample_ns: float) -> AnchorTime:
        """Runs for about `duration_ns`. The median over stretches as long as the network's samples (`sample_ns`): an
        interruption then shows as often in the anchor as in the network."""
        n = max(1, round(duration_ns / self.estimate_ns))
        group = min(n, max(1, math.ceil(CPU_SAMPLE_NS / self.estimate_ns)))
        samples = stamped(self.timer, group, max(1, round(n / group)))
        stretch = min(len(samples.ns), max(1, round(sample_ns / self.estimate_ns)))
        whole = np.asarray(samples.ns[: len(samples.ns) // stretch * stretch], float).reshape(-1, stretch)
        cpu_ns = np.median(samples.cpu_ns) / samples.cpu_runs
        return AnchorTime(float(np.median(whole.mean(axis=1))), float(cpu_ns))


class OpenAnchors:
    """A context manager that opens each anchor once, however many networks a process measures."""

    def __init__(self, backend: Backend, device: Device) -> None:
        self._backend = backend
        self._device = device
        self._stack = ExitStack()
        self._open: dict[str, Anchor] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def for_latency(self, latency_ns: float) -> tuple[Anchor, ...]:
        """Both anchors, fit for a network of the given latency. Raises as the backend's `open` does."""
        kib = min(_COPY_KIB, key=lambda k: abs(2 * k * 1024 / _COPY_BYTES_PER_NS - latency_ns))
        copies = partial(copy_graph, kib), partial(quantized_copy_graph, kib)
        return self._anchor("compute", compute_graph, quantized_compute_graph), self._anchor(f"copy-{kib}k", *copies)

    def _anchor(self, name: str, build: Callable[[], Graph], build_quantized: Callable[[], Graph]) -> Anchor:
        if name not in self._open:
            try:
                timer = self._stack.enter_context(self._backend.open(build(), self._device))
            except InputError:
                timer = self._stack.enter_context(self._backend.open(build_quantized(), self._device))
            timer(1)
            self._open[name] = Anchor(name, timer, min(timer(3)))
        return self._open[name]
