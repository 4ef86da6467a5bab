"""The device's ceilings, measured on the runtime itself: multiply-adds per second and bytes per second."""

from __future__ import annotations

from collections.abc import Callable

from hwprof.builder import GraphBuilder
from hwprof.device import Device
from hwprof.errors import HwprofError
from hwprof.graph import BITS_PER_ELEMENT, Graph
from hwprof.measure.anchors import copy_graph, quantized_copy_graph
from hwprof.measure.transport import RestartedWorker, Transport, Worker, ask_once, understood
from hwprof.measure.worker_process import LOCAL
from hwprof.measurement import Peaks
from hwprof.variants.for_device import computed_type
from hwprof.variants.quantize import quantize

_SIDES = (1024, 2048, 4096, 8192)  # of square matrices: larger ones until a product lasts long enough
_LONG_ENOUGH_S = 2e-3  # starting a kernel takes a negligible part of it
_COPY_KIB = (512, 4096, 32768, 262144)  # from the second-level cache to far beyond the last
_CONVOLUTION_MACS = 256 * 256 * 9 * 32 * 32


def _product(side: int) -> Graph:
    b = GraphBuilder("peak-float32")
    x = b.input((side, side))
    return b.build(b.matmul(x, b.weight((side, side))))


def _integer_product(side: int) -> Graph:
    b = GraphBuilder("peak-int8")
    x = b.input((side, side), "uint8")
    return b.build(b.node("MatMulInteger", [x, b.weight((side, side), "int8")], (side, side), "int32"))


def _convolution() -> Graph:
    b = GraphBuilder("peak-conv")
    return b.build(b.conv(b.input((1, 256, 32, 32)), 256, 3))


def measure_peaks(device: Device, transport: Transport = LOCAL) -> Peaks:
    """The best of a few networks for each element type, by the type that the device computes in; one that the
    runtime refuses is left out.

    Bandwidths are those of one pass over a tensor, read and written; the memory's that of the largest.
    """
    floats = computed_type(device)
    with RestartedWorker(transport, device) as worker:
        products = {
            floats: _product_rates(worker, device, _product),
            "int8": [
                *_product_rates(worker, device, _integer_product),
                *_product_rates(worker, device, lambda side: quantize(_product(side))),
            ],
        }
        if seconds := _seconds(worker, device, _convolution()):
            products[floats].append(_CONVOLUTION_MACS / seconds)
        element = BITS_PER_ELEMENT[floats] / BITS_PER_ELEMENT["float32"]
        moved = {round(2 * kib * 1024 * element): _copied_s(worker, device, kib) for kib in _COPY_KIB}
    bandwidths = tuple((size, size / s) for size, s in moved.items() if s)
    macs_per_s = {dtype: max(rates) for dtype, rates in products.items() if rates}
    return Peaks(macs_per_s, bandwidths[-1][1] if bandwidths else float("nan"), bandwidths)


def _product_rates(worker: Worker, device: Device, build: Callable[[int], Graph]) -> list[float]:
    """Multiply-adds per second of products of growing size."""
    rates = []
    for side in _SIDES:
        seconds = _seconds(worker, device, build(side))
        if seconds is None:
            break
        rates.append(side**3 / seconds)
        if seconds > _LONG_ENOUGH_S:
            break
    return rates


def _copied_s(worker: Worker, device: Device, kib: int) -> float | None:
    """Seconds of a float copy or, where the runtime refuses floats, of one through integers."""
    return _seconds(worker, device, copy_graph(kib)) or _seconds(worker, device, quantized_copy_graph(kib))


def _seconds(worker: Worker, device: Device, graph: Graph) -> float | None:
    try:
        answer = ask_once(worker, "peaks", device=device.to_record(with_address=True), graphs=[graph.to_json()])
        with understood("peaks"):
            return float(answer["latency_ns"]) / 1e9
    except HwprofError:
        return None
