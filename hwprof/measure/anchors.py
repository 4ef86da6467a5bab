"""Anchors: two small networks of known work that are timed beside every block.

One is bound by arithmetic, one by memory. Both run on the device and runtime under test, so that
whatever slows the machine down slows them too: a block is judged by how far they are off their
undisturbed time, and its latency can be corrected by it. An anchor much shorter than the network
beside it samples another stretch of the machine's noise and is worse than none, so it is repeated
(arithmetic) or enlarged (memory) until it lasts as long.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from hwprof.builder import GraphBuilder
from hwprof.device import Device
from hwprof.graph import Graph
from hwprof.interfaces import Backend, Timer

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


@dataclass(frozen=True, slots=True)
class Anchor:
    """An open anchor. Its name identifies its baseline."""

    name: str
    timer: Timer

    def time_per_run_ns(self, duration_ns: float, estimate_ns: float) -> float:
        """Runs for about `duration_ns` and returns the mean time of one run."""
        n = max(1, round(duration_ns / estimate_ns))
        return sum(self.timer(n, each=False)) / n


@contextmanager
def opened(backend: Backend, device: Device, latency_ns: float) -> Iterator[tuple[Anchor, ...]]:
    """Both anchors, fit for a network of the given latency."""
    kib = min(_COPY_KIB, key=lambda k: abs(2 * k * 1024 / _COPY_BYTES_PER_NS - latency_ns))
    with ExitStack() as stack:
        yield tuple(
            Anchor(graph.name.removeprefix("anchor-"), stack.enter_context(backend.open(graph, device)))
            for graph in (compute_graph(), copy_graph(kib))
        )
