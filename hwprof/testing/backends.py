"""Contracts of backends: `check_backend`, `check_counting_backend`, `check_waits`."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from time import perf_counter_ns
from typing import TypeAlias

import numpy as np

from hwprof.builder import OPSET, GraphBuilder
from hwprof.device import Device
from hwprof.graph import Graph
from hwprof.instructions import CLASSES, spread
from hwprof.interfaces import Backend, CountingBackend, OperatorTimer, OutputTimer, Timer
from hwprof.measurement import Evidence
from hwprof.testing.rules import require, require_refusal

_RUNS = 5
_SIDES = (768, 1536, 3072)  # of matrix products: larger ones where a device finishes too soon
_LONG_ENOUGH_NS = 200_000  # compared with which launching the work and reading the clock are short
_WAITING_NS = 100_000_000
_FEWEST_ACCOUNTED = 0.5
_COUNTS_AGREE = 0.01  # for tiny networks, whose call from Python takes about as many instructions
_EXACT_CLASSES = ("simd", "fma", "dot")
_Open: TypeAlias = Callable[[Graph, Device], AbstractContextManager[object]]


def check_backend(backend: Backend, device: Device, graphs: Sequence[Graph] | None = None) -> None:
    """Opens and times each graph (default: `reference_graphs`) and checks that the backend rejects bad input."""
    require(isinstance(backend.evidence, Evidence), f"evidence is {backend.evidence!r}, not an Evidence")
    versions = backend.versions()
    require(
        all(isinstance(v, str) and v for v in versions.values()), f"a version in {versions!r} is not a non-empty string"
    )
    opened = tuple(reference_graphs() if graphs is None else graphs)
    for graph in opened:
        digest = graph.digest
        _check_graph(backend, device, graph)
        require(graph.digest == digest, f"opening {graph.name!r} changed its digest")
    _check_refusals(backend.open, device, opened[0])
    if graphs is None and backend.evidence is Evidence.MEASURED:
        check_waits(backend, device)  # with its own network, which not every backend can run


def check_counting_backend(backend: CountingBackend, device: Device, graphs: Sequence[Graph] | None = None) -> None:
    """Opens and counts each graph (default: `reference_graphs`), and checks that the backend rejects bad input,
    above all requests for a latency."""
    require(
        backend.evidence is Evidence.EMULATED,
        f"evidence is {backend.evidence!r}, but this backend does not measure time",
    )
    for graph in reference_graphs() if graphs is None else graphs:
        with backend.open_counter(graph, device) as counter, backend.open_counter(graph, device) as other:
            one, two = (list(opened.count(_RUNS))[-1] for opened in (counter, other))
        for counts in (one, two):
            require(list(counts) == list(CLASSES), f"{graph.name}: the classes are {list(counts)}")
            require(min(counts.values()) >= 0 and sum(counts.values()) > 0, f"{graph.name}: counted {dict(counts)}")
        apart = spread((one, two))
        require(apart < _COUNTS_AGREE, f"{graph.name}: opened twice, the counts are {apart:.2%} apart")
        for name in _EXACT_CLASSES:
            require(one[name] == two[name], f"{graph.name}: opened twice, {name} are {one[name]} and {two[name]}")
    open_ = getattr(backend, "open", backend.open_counter)
    _refuses(open_, reference_graphs()[0], device, "a latency of an emulated core")
    _check_refusals(backend.open_counter, device, reference_graphs()[0])


def reference_graphs() -> tuple[Graph, ...]:
    """Small networks of several kinds: convolutions with a residual, an embedding with integer input, two outputs."""
    return _residual_graph(), _embedding_graph(), _two_output_graph()


def _residual_graph() -> Graph:
    b = GraphBuilder("residual")
    x = b.relu(b.conv(b.input((1, 3, 16, 16)), 8, 3, stride=2, bias=True))
    y = b.relu6(b.batch_norm(b.conv(x, 8, 3)))
    return b.build(b.gemm(b.flatten(b.global_average_pool(b.add(x, y))), 5))


def _embedding_graph() -> Graph:
    b = GraphBuilder("embedding")
    x = b.embedding(b.input((2, 6), "int64"), rows=11, width=16)
    return b.build(b.softmax(b.linear(b.layer_norm(x), 4)))


def _two_output_graph() -> Graph:
    b = GraphBuilder("two-outputs")
    x = b.input((3, 8))
    left, right = b.split(b.linear(x, 8), (4, 4), axis=1)
    return b.build(b.unary("Sigmoid", left), b.unary("Tanh", right))


def _check_graph(backend: Backend, device: Device, graph: Graph) -> None:
    with backend.open(graph, device) as timer:
        _check_latencies(timer, graph)
        _check_operators(timer, graph)
        # Sweeps and comparisons hold several networks open, sometimes the same one twice.
        with backend.open(graph, device) as other:
            _check_latencies(other, graph)
            _check_outputs(timer, other, graph)


def _check_latencies(timer: Timer, graph: Graph) -> None:
    samples = list(timer(_RUNS))
    require(len(samples) == _RUNS, f"{graph.name}: {_RUNS} runs gave {len(samples)} latencies")
    together = list(timer(_RUNS, each=False))
    require(len(together) == 1, f"{graph.name}: each=False gave {len(together)} numbers instead of one total")
    for ns in (*samples, *together):
        require(isinstance(ns, int) and ns > 0, f"{graph.name}: latency {ns!r} is not a whole number of ns above 0")


def _check_operators(timer: Timer, graph: Graph) -> None:
    if not isinstance(timer, OperatorTimer):
        return
    kernels = timer.operators(_RUNS)
    known = {node.label for node in graph.nodes}
    for kernel in kernels:
        require(math.isfinite(kernel.ns) and kernel.ns >= 0, f"{graph.name}: {kernel.name} took {kernel.ns} ns")
        strangers = set(kernel.members) - known
        require(
            not strangers,
            f"{graph.name}: {kernel.name} has members that are not nodes of the graph: {sorted(strangers)}",
        )
    require(not kernels or sum(k.ns for k in kernels) > 0, f"{graph.name}: the operators took no time at all")


def _check_outputs(timer: Timer, other: Timer, graph: Graph) -> None:
    if not isinstance(timer, OutputTimer) or not isinstance(other, OutputTimer):
        return
    outputs = {name: np.array(value) for name, value in timer.outputs().items()}
    require(set(outputs) == set(graph.outputs), f"{graph.name}: outputs {sorted(outputs)}, not {graph.outputs}")
    for name, value in outputs.items():
        require(value.shape == graph.shape(name), f"{graph.name}: output {name} has shape {value.shape}")
        require(bool(np.isfinite(value).all()), f"{graph.name}: output {name} is not finite")
    _check_same(outputs, timer.outputs(), f"{graph.name}: a second run of one timer gave other outputs")
    _check_same(outputs, other.outputs(), f"{graph.name}: opened again, the same graph gave other outputs")


def _check_same(one: Mapping[str, np.ndarray], two: Mapping[str, np.ndarray], text: str) -> None:
    require(all(np.allclose(one[name], two[name], rtol=1e-5, atol=1e-6) for name in one), text)


def check_waits(backend: Backend, device: Device) -> None:
    """The latencies of n runs account for the time until the outputs of the last one can be read.

    A timer that measures only the launch of the work (it forgot to synchronize) leaves most of that time to the
    reading. A timer without outputs cannot be checked.
    """
    for side in _SIDES:
        with backend.open(_waiting_graph(side), device) as timer:
            if not isinstance(timer, OutputTimer):
                return
            timer(1)
            one_ns = _until_read_ns(timer, 0, True)[1]
            if one_ns >= _LONG_ENOUGH_NS or side == _SIDES[-1]:
                _check_accounts(timer, int(np.clip(_WAITING_NS / one_ns, 3, 200)))
                return


def _check_accounts(timer: OutputTimer, n: int) -> None:
    for each in (True, False):
        told_ns, spent_ns = _until_read_ns(timer, n, each)
        require(
            told_ns > _FEWEST_ACCOUNTED * spent_ns * n / (n + 1),
            f"{n} runs and one more took {spent_ns / 1e6:.3g} ms until their outputs could be read, but the "
            f"timer (each={each}) reports {told_ns / 1e6:.3g} ms: it does not wait for the device",
        )


def _waiting_graph(side: int) -> Graph:
    """Matrix products that take far longer than their launch, with a small output."""
    b = GraphBuilder("waiting")
    x = b.input((side, side))
    for features in (side, side, side, 8):
        x = b.matmul(x, b.weight((side, features)))
    return b.build(x)


def _until_read_ns(timer: OutputTimer, n: int, each: bool) -> tuple[int, int]:
    """The reported time of n runs, and the time until the outputs of one more run are available."""
    start = perf_counter_ns()
    told_ns = sum(timer(n, each)) if n else 0  # type: ignore[operator]  # an OutputTimer is a Timer
    timer.outputs()
    return told_ns, perf_counter_ns() - start


def _check_refusals(open_: _Open, device: Device, graph: Graph) -> None:
    _refuses(open_, graph, device.with_options(no_such_option=1), "an unknown option")
    _refuses(open_, graph, replace(device, precision="float3"), "an unknown precision")
    b = GraphBuilder("custom-operator")
    (y,) = b.nodes("NoSuchOperator", [b.input((1, 4))], [("float32", (1, 4))], domain="no.such.domain")
    custom = replace(b.build(y), opsets=(("", OPSET), ("no.such.domain", 1)))
    _refuses(open_, custom, device, "a custom operator")


def _refuses(open_: _Open, graph: Graph, device: Device, what: str) -> None:
    def opened() -> None:
        with open_(graph, device):
            pass

    require_refusal(opened, what)
