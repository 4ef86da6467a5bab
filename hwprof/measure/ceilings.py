"""The device's ceilings, measured on the runtime itself: multiply-adds per second and bytes per second."""

from __future__ import annotations

from collections.abc import Callable

from hwprof.builder import GraphBuilder
from hwprof.device import Device
from hwprof.errors import HwprofError
from hwprof.graph import Graph
from hwprof.measure import cores
from hwprof.measure.anchors import copy_graph
from hwprof.measure.worker_process import WorkerProcess
from hwprof.measurement import Peaks

_SIDE = 1024
_COPY_KIB = (512, 4096, 32768, 262144)  # from the second-level cache to far beyond the last


def _product(dtype: str) -> Graph:
    b = GraphBuilder(f"peak-{dtype}")
    x = b.input((_SIDE, _SIDE), dtype)
    return b.build(b.matmul(x, b.weight((_SIDE, _SIDE), dtype)))


def _integer_product() -> Graph:
    b = GraphBuilder("peak-int8")
    x = b.input((_SIDE, _SIDE), "uint8")
    return b.build(b.node("MatMulInteger", [x, b.weight((_SIDE, _SIDE), "int8")], (_SIDE, _SIDE), "int32"))


def _convolution() -> Graph:
    b = GraphBuilder("peak-conv")
    return b.build(b.conv(b.input((1, 256, 32, 32)), 256, 3))


_CONVOLUTION_MACS = 256 * 256 * 9 * 32 * 32
_COMPUTE: dict[str, list[tuple[Callable[[], Graph], int]]] = {
    "float32": [(lambda: _product("float32"), _SIDE**3), (_convolution, _CONVOLUTION_MACS)],
    "int8": [(_integer_product, _SIDE**3)],
}


def measure(device: Device) -> Peaks:
    """The best of a few networks for each element type; a type that the runtime refuses is left out.

    Bandwidths are those of one pass over a tensor, read and written; the memory's that of the largest.
    """
    with WorkerProcess(cores.choose(device)) as worker:
        macs_per_s = {}
        for dtype, candidates in _COMPUTE.items():
            rates = [macs / s for build, macs in candidates if (s := _seconds(worker, device, build()))]
            if rates:
                macs_per_s[dtype] = max(rates)
        moved = {2 * kib * 1024: _seconds(worker, device, copy_graph(kib)) for kib in _COPY_KIB}
    bandwidths = tuple((size, size / s) for size, s in moved.items() if s)
    return Peaks(macs_per_s, bandwidths[-1][1] if bandwidths else float("nan"), bandwidths)


def _seconds(worker: WorkerProcess, device: Device, graph: Graph) -> float | None:
    try:
        (answer,) = worker.ask("peaks", device=device.to_record(with_address=True), graphs=[graph.to_json()])
    except HwprofError:
        return None
    return float(answer["latency_ns"]) / 1e9
