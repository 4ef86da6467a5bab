"""Made-up measurements with the shape of real ones, from a seeded generator; and eyes for figures."""

import xml.etree.ElementTree as ET
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from hwprof.builder import GraphBuilder
from hwprof.device import Device
from hwprof.graph import Graph
from hwprof.measurement import (
    Comparison,
    Evidence,
    Measurement,
    OperatorTime,
    Peaks,
    Process,
    ProtocolSettings,
    Status,
    TimedBlock,
)


class Image:
    """A figure, which must be well-formed and hold no coordinate that is not a number."""

    def __init__(self, drawn: str) -> None:
        assert "nan" not in drawn
        assert '"inf' not in drawn
        self._root = ET.fromstring(drawn)

    @property
    def tips(self) -> list[str]:
        return [e.text or "" for e in self._root.iter("title")]

    @property
    def words(self) -> list[str]:
        return [e.text or "" for e in self._root.iter("text")]

    def marks(self, class_: str) -> list[ET.Element]:
        return [e for e in self._root.iter() if class_ in e.get("class", "").split()]


MeasurementMaker = Callable[..., Measurement]
BASELINE_NS = {"compute": 200_000.0, "copy-1024k": 250_000.0}


def make_block(rng: np.random.Generator, ms: float, j: int, slow: float, rejected: str) -> TimedBlock:
    samples = ms * 1e6 * slow * (1 + rng.gamma(1.5, 0.004, size=12))
    anchors = {name: ns * slow * (1 + rng.normal(0, 0.004)) for name, ns in BASELINE_NS.items()}
    ns = tuple(int(v) for v in samples)
    return TimedBlock(2_000_000_000 + j * int(ms * 3e7), ns, 1, anchors, sum(ns), rejected)


def make_process(rng: np.random.Generator, ms: float, i: int, slow_process: int = 2) -> Process:
    level = ms * (1 + rng.normal(0, 0.003))
    blocks = [make_block(rng, level, j, 1.06 if i == slow_process and j > 6 else 1.0, "") for j in range(10)]
    if i % 2:
        blocks[4] = replace(blocks[4], rejected="preempted")
    if i == slow_process:
        blocks[7] = replace(blocks[7], rejected="steal")
    warm = level * 1e6 * (1 + 0.4 * np.exp(-np.arange(40) / 6) + rng.normal(0, 0.004, 40))
    return Process(
        round=i,
        started=f"2026-11-20T10:{i:02d}:00+00:00",
        open_ns=int(8e7 * (1 + rng.normal(0, 0.05))),
        cold_ns=int(level * 3.1e6),
        warmup_ns=tuple(int(v) for v in warm),
        warmup="warm-up" if i % 3 else "flat",
        blocks=tuple(blocks),
        peak_memory_bytes=61_000_000 + 400_000 * i,
    )


def small_graph() -> Graph:
    """Conv 3 -> 8 on 8 x 8, Relu, then 512 -> 10: 13 824 + 5 120 multiply-adds."""
    b = GraphBuilder("small")
    x = b.relu(b.conv(b.input((1, 3, 8, 8)), 8, 3))
    return b.build(b.gemm(b.flatten(x), 10))


def kernel_times(graph: Graph, ms: float) -> tuple[OperatorTime, ...]:
    """Conv with its Relu takes 60 % of the plain run, Gemm 25 %, Flatten 5 %; the rest is outside."""
    conv, relu, flatten, gemm = (n.name for n in graph.nodes)
    total = ms * 1e6
    return (
        OperatorTime(conv, "FusedConv", 0.60 * total, (conv, relu)),
        OperatorTime(flatten, "Flatten", 0.05 * total, (flatten,)),
        OperatorTime(gemm, "Gemm", 0.25 * total, (gemm,)),
    )


@pytest.fixture
def image() -> type[Image]:
    return Image


@pytest.fixture
def graph() -> Graph:
    return small_graph()


@pytest.fixture
def graphs(graph: Graph) -> dict[str, Graph]:
    return {graph.digest: graph}


@pytest.fixture
def peaks() -> Peaks:
    return Peaks({"float32": 5e10, "int8": 1.5e11}, 1.2e10)


@pytest.fixture
def measurement(graph: Graph) -> MeasurementMaker:
    """Makes a measurement of about `ms`; further arguments replace its fields."""

    def make(ms: float = 12.3, seed: int = 0, processes: int = 5, inflation: float = 1.15, **changes) -> Measurement:
        rng = np.random.default_rng(seed)
        made = Measurement(
            model="small",
            digest=graph.digest,
            device=Device("cpu-1t", "onnxruntime"),
            hardware="0123456789ab",
            evidence=Evidence.MEASURED,
            versions={"onnxruntime": "1.23.0"},
            protocol=ProtocolSettings(),
            environment={
                "hardware": {"cpu": "A Processor", "cores": 2, "caches": ["L1 Data 48K"]},
                "checks": [{"name": "governor", "fitness": "warning", "found": "powersave"}],
            },
            processes=tuple(make_process(rng, ms, i) for i in range(processes)),
            status=Status.CONVERGED,
            anchor_baseline_ns=BASELINE_NS,
            operators_total_ns=ms * 1e6 * inflation,
        )
        return replace(made, **{"operators": kernel_times(graph, made.latency_ms), **changes})

    return make


@pytest.fixture
def comparison(measurement: MeasurementMaker) -> Comparison:
    a, b = measurement(12.3, model="fp32"), measurement(7.4, seed=1, model="int8")
    return Comparison(a, b, "faster", 0.602, 0.598, 0.607, 42, 0.02)


def without_spread(m: Measurement) -> Measurement:
    """The same with all latencies equal and no anchors."""
    processes = tuple(
        replace(p, blocks=tuple(replace(b, samples_ns=(10**7,) * 3, anchors_ns={}) for b in p.blocks))
        for p in m.processes
    )
    return replace(m, processes=processes, anchor_baseline_ns={})


@pytest.fixture(params=["one process", "twenty processes", "microseconds", "seconds", "without spread"])
def extreme(request: pytest.FixtureRequest, measurement: MeasurementMaker) -> Measurement:
    """Measurements at the edge, each of which every figure must draw."""
    return {
        "one process": lambda: measurement(processes=1),
        "twenty processes": lambda: measurement(processes=20),
        "microseconds": lambda: measurement(ms=0.004),
        "seconds": lambda: measurement(ms=4000.0),
        "without spread": lambda: without_spread(measurement()),
    }[request.param]()
