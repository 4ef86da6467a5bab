"""Does an emulated core rank networks as the board would? Writes reports/emulated-arm.

    python tests/benchmarks/emulated_ranking.py [--data FOLDER] [--x86 FOLDER]

Cells of NAS-Bench-201 are counted on an emulated Cortex-A72 and set against the Raspberry Pi 4 of HW-NAS-Bench in
FOLDER/nb201_latency_ms.parquet (default: ../shared/data beside the repository), beside their multiply-adds and, with
--x86, the latencies of the same cells in a data set of `hwprof collect --space nasbench201 --device cpu-1t`, which
draws the same ones. What is counted is kept in reports/emulated-arm/counts.jsonl: a second run counts only what is
missing. The whole takes about an hour of one core, and no quiet machine.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from hwprof import plugins, workloads
from hwprof.backends.emulator.backend import EmulatorBackend
from hwprof.device import Device
from hwprof.graph import Graph
from hwprof.interfaces import Arch, SearchSpace
from hwprof.jobs.collecting import drawn_archs
from hwprof.spaces.nasbench201 import EDGES
from hwprof.variants.fold import folded
from hwprof.variants.quantize import quantize

ROOT = Path(__file__).parents[2]
OUT = ROOT / "reports" / "emulated-arm"
COUNTS = OUT / "counts.jsonl"
COMMAND = "python tests/benchmarks/emulated_ranking.py"
CORE = "emulated-cortex-a72"
CLEAN, DEAD = 220, 110  # cells
RUNS = 3  # counted inferences of a process, after one that is not; one of a cell
PROCESSES = 5
_LAST = EDGES[-1][1]


@dataclass(frozen=True, slots=True)
class Row:
    """What was counted of one network in one process: instructions of each inference, by class."""

    network: str
    device: str
    process: int
    counts: tuple[dict[str, int], ...]

    @property
    def key(self) -> tuple[str, str, int]:
        return self.network, self.device, self.process


class Counted:
    """The rows of COUNTS, and more of them when asked for one that is missing."""

    def __init__(self) -> None:
        self._rows: dict[tuple[str, str, int], Row] = {}
        self._backend = EmulatorBackend()
        if COUNTS.exists():
            for line in COUNTS.read_text(encoding="utf-8").splitlines():
                record = json.loads(line)
                row = Row(**{**record, "counts": tuple(record["counts"])})
                self._rows[row.key] = row

    def row(self, network: str, graph: Graph, device: str, process: int = 0, runs: int = 1) -> Row:
        key = (network, device, process)
        if key not in self._rows:
            with self._backend.open_counter(graph, Device.load(device)) as counter:
                counter.count(1)
                row = Row(network, device, process, tuple(dict(c) for c in counter.count(runs)))
            self._rows[key] = row
            with COUNTS.open("a", encoding="utf-8") as file:
                file.write(json.dumps(asdict(row), separators=(",", ":")) + "\n")
            print(network, device, process, sum(row.counts[-1].values()), file=sys.stderr)
        return self._rows[key]

    def in_processes(self, network: str, graph: Graph, device: str) -> list[Row]:
        """Each in a fresh process."""
        rows = []
        for process in range(PROCESSES):
            self._backend = EmulatorBackend()
            rows.append(self.row(network, graph, device, process, RUNS))
        return rows


def is_clean(arch: Arch) -> bool:
    """Every edge that is not `none` lies on a path from the cell's input to its output."""
    edges = [edge for edge, choice in zip(EDGES, arch, strict=True) if choice]
    reached, reaching = {0}, {_LAST}
    for _ in EDGES:
        reached |= {to for from_, to in edges if from_ in reached}
        reaching |= {from_ for from_, to in edges if to in reaching}
    return _LAST in reached and all(from_ in reached and to in reaching for from_, to in edges)


def is_connected(arch: Arch) -> bool:
    """There is a path from the cell's input to its output."""
    reached = {0}
    for _ in EDGES:
        reached |= {to for (from_, to), choice in zip(EDGES, arch, strict=True) if choice and from_ in reached}
    return _LAST in reached


def cells(space: SearchSpace) -> tuple[list[Arch], list[Arch]]:
    """`CLEAN` without and `DEAD` with dead edges, in the order in which `hwprof collect` draws them."""
    return (
        list(islice((a for a in _distinct(space) if is_clean(a)), CLEAN)),
        list(islice((a for a in _distinct(space) if is_connected(a) and not is_clean(a)), DEAD)),
    )


def _distinct(space: SearchSpace) -> Iterator[Arch]:
    seen: set[str] = set()
    for arch in drawn_archs(space, 0):
        digest = space.graph(arch).digest
        if digest not in seen:
            seen.add(digest)
            yield arch


def count(space: Any) -> None:
    """Everything that is missing in COUNTS."""
    OUT.mkdir(parents=True, exist_ok=True)
    counted = Counted()
    clean, dead = cells(space)
    for arch in (*clean, *dead):
        counted.row(f"{space.format(arch)} folded", folded(space.graph(arch)), CORE)
    for arch in (*dead, *clean):
        counted.row(space.format(arch), space.graph(arch), CORE)


def networks() -> list[tuple[str, Graph]]:
    graph = workloads.build("mobilenet_v2")
    return [("mobilenet_v2", graph), ("mobilenet_v2-int8", quantize(graph, activation="uint8", weight="int8"))]


if __name__ == "__main__":
    space = plugins.load("space", "nasbench201")
    count(space)
