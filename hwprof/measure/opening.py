"""Can a device run a network? A worker opens the network and runs it once; nothing is measured."""

from __future__ import annotations

from hwprof import plugins
from hwprof.builder import GraphBuilder
from hwprof.device import Device
from hwprof.graph import Graph
from hwprof.interfaces import OneVariantBackend
from hwprof.measure.transport import Transport, Worker, ask_once


def require_runnable(graph: Graph, device: Device, transport: Transport) -> None:
    """Raises the reason for which the device cannot run the network: what the runtime raises, DeviceLostError where it
    crashes, and TimeLimitError."""
    with transport.open(device) as worker:
        open_once(worker, graph, device)


def open_once(worker: Worker, graph: Graph, device: Device) -> None:
    """Raises as `require_runnable`."""
    ask_once(worker, "opening", device=device.to_record(with_address=True), graph=graph.to_json())


def smallest(device: Device) -> Graph:
    """A tiny network in the variant that the device's runtime takes."""
    b = GraphBuilder("dense")
    graph = b.build(b.gemm(b.input((1, 8)), 4))
    backend = plugins.load("backend", device.backend)
    if not isinstance(backend, OneVariantBackend):
        return graph
    from hwprof.variants.spec import change  # a worker, which imports this file, starts in half the time without it

    return change(backend.variant)(graph)
