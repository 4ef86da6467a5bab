"""A board that a test plays, with a task and a network that are small enough to be trained in a moment."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from hwprof import cost
from hwprof.builder import GraphBuilder
from hwprof.compress.loop import Job, Settings, prepare
from hwprof.compress.networks import open_network
from hwprof.data.store import Store
from hwprof.device import Device
from hwprof.graph import Graph
from hwprof.latency_table.grouping import operator_nodes
from hwprof.measure.recording import Options
from hwprof.measure.transport import Request
from hwprof.measurement import FAST
from hwprof.tasks import Classification
from hwprof.training import TrainSettings
from tests.measure.scripted import ScriptedTransport
from tests.samples import make_process

DEVICE = Device("board", "roofline")
LAUNCH_NS = 1000
SHORT = TrainSettings(epochs=2, batch_size=16, rate=0.02)


@dataclass
class Board(ScriptedTransport):
    """A multiply-add takes 1 ns, an operator 1 us more; beside another network everything takes `paired` times as
    long."""

    paired: float = 1.0

    def measure(self, request: Request) -> Iterator[Mapping[str, Any]]:
        graphs = [Graph.from_json(text) for text in request["graphs"]]
        factor = self.paired if len(graphs) > 1 else 1.0
        for place, graph in enumerate(graphs):
            process = make_process(request["round"], [factor * latency_ns(graph)] * request["blocks"])
            yield {"index": place, "process": asdict(process)}


@dataclass
class KernelBoard(ScriptedTransport):
    """Times kernels, too: a multiply-add takes 1 ns, or `int8` ns where it is quantized, an operator 1 us more; a
    conversion that no kernel absorbs takes 1 ns for each element. A whole network takes the sum, in pairs `paired`
    times as long."""

    int8: float = 0.25
    paired: float = 1.0

    def measure(self, request: Request) -> Iterator[Mapping[str, Any]]:
        graphs = [Graph.from_json(text) for text in request["graphs"]]
        factor = self.paired if len(graphs) > 1 else 1.0
        for place, graph in enumerate(graphs):
            whole = factor * sum(kernel["ns"] for kernel in self.kernels(graph))
            yield {"index": place, "process": asdict(make_process(request["round"], [whole] * request["blocks"]))}

    def operators(self, request: Request) -> Iterator[Mapping[str, Any]]:
        kernels = self.kernels(Graph.from_json(request["graph"]))
        yield {"operators": kernels, "profiled_ns": sum(k["ns"] for k in kernels), "machine": "aarch64"}

    def kernels(self, graph: Graph) -> list[dict[str, Any]]:
        found = []
        for operator in operator_nodes(graph):
            leading = operator.leading
            kernel = {"name": leading.label, "op": leading.op}
            if leading.op in ("QuantizeLinear", "DequantizeLinear"):
                found.append(
                    kernel | {"members": [leading.label], "ns": float(graph.type_of(leading.outputs[0]).numel)}
                )
                continue
            is_int8 = bool(operator.before and operator.after) and not graph.weight_names.intersection(leading.inputs)
            members = (*operator.before, *operator.nodes, *operator.after) if is_int8 else operator.nodes
            macs = sum(cost.of_node(graph, node).macs for node in operator.nodes)
            ns = LAUNCH_NS + macs * (self.int8 if is_int8 else 1.0)
            found.append(kernel | {"members": [node.label for node in members], "ns": ns})
        return found


def latency_ns(graph: Graph) -> int:
    return cost.of(graph).macs + LAUNCH_NS * len(graph.nodes)


def network(channels: int = 32) -> Graph:
    b = GraphBuilder("small")
    x = b.relu(b.conv(b.input((1, 1, 8, 8)), channels, 3))
    x = b.relu(b.conv(x, channels, 3, stride=2))
    return b.build(b.gemm(b.flatten(b.global_average_pool(x)), 4))


def task(side: int = 8) -> Classification:
    """Which quarter of the picture is bright."""
    parts = {}
    for seed, (part, n) in enumerate({"train": 64, "search": 32, "test": 32}.items()):
        rng = np.random.default_rng(seed)
        targets, half = rng.integers(4, size=n), side // 2
        images = 0.1 * rng.random((n, 1, side, side), dtype=np.float32)
        for image, target in zip(images, targets, strict=True):
            y, x = half * (target // 2), half * (target % 2)
            image[0, y : y + half, x : x + half] += 1
        parts[part] = images, targets
    return Classification("quarters", **parts)


def job(folder: Path, board: Board | None = None, *, graph: Graph | None = None, **changes: Any) -> Job:
    """A job whose store and networks are in the folder; `changes` are those of the settings."""
    told: list[str] = []
    options = Options(FAST, transport=board or Board(), on_note=told.append)
    settings = replace(Settings(tuning=SHORT, training=SHORT), **changes)
    folder.mkdir(exist_ok=True)
    opened = open_network(graph or network(16), task(), DEVICE, folder)
    made = prepare(opened, task(), DEVICE, Store(folder / "s.db"), folder, settings=settings, options=options)
    return replace(made, tell=told.append)
