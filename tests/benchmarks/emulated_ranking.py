"""Does an emulated core rank networks as the board would? Writes reports/emulated-arm.

    python tests/benchmarks/emulated_ranking.py [--data FOLDER] [--x86 FOLDER]

Cells of NAS-Bench-201 are counted on an emulated Cortex-A72 and set against the Raspberry Pi 4 of HW-NAS-Bench in
FOLDER/nb201_latency_ms.parquet (default: ../shared/data beside the repository), beside their multiply-adds and, with
--x86, the latencies of the same cells in a data set of `hwprof collect --space nasbench201 --device cpu-1t`, which
draws the same ones. What is counted is kept in reports/emulated-arm/counts.jsonl: a second run counts only what is
missing. The whole takes about an hour of one core, and no quiet machine.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from hwprof import cost, instructions, metrics, plugins, workloads
from hwprof.backends.emulator import location
from hwprof.backends.emulator.backend import EmulatorBackend
from hwprof.data import dataset
from hwprof.device import Device
from hwprof.encoders.physical import PhysicalEncoder
from hwprof.graph import Graph
from hwprof.instructions import CLASSES
from hwprof.interfaces import Arch, SearchSpace
from hwprof.jobs.collecting import drawn_archs
from hwprof.predictors.physical import PhysicalPredictor
from hwprof.spaces.nasbench201 import EDGES
from hwprof.variants.fold import cut, folded
from hwprof.variants.quantize import quantize

ROOT = Path(__file__).parents[2]
OUT = ROOT / "reports" / "emulated-arm"
COUNTS = OUT / "counts.jsonl"
COMMAND = "python tests/benchmarks/emulated_ranking.py"
CORE = "emulated-cortex-a72"
CLEAN, DEAD = 220, 110  # cells
RUNS = 3  # counted inferences of a process, after one that is not; one of a cell
PROCESSES = 5
PAIR_DEVICES = ("emulated-cortex-a72", "emulated-cortex-a76")
BOARD = "raspi4"
SIZES = (10, 20, 50)
SEEDS = 10
RESAMPLES = 300
FEWEST_RANKED = 50
Model = Callable[[np.ndarray, np.ndarray], np.ndarray]
_LAST = EDGES[-1][1]


@dataclass(frozen=True, slots=True)
class Row:
    """What was counted of one graph in one process: instructions of each inference, by class."""

    digest: str
    device: str
    process: int
    counts: tuple[dict[str, int], ...]


class Counted:
    """The rows of COUNTS, and more of them when asked for one that is missing."""

    def __init__(self) -> None:
        self._rows: dict[tuple[str, str, int], Row] = {}
        self._backend = EmulatorBackend()
        if COUNTS.exists():
            for line in COUNTS.read_text(encoding="utf-8").splitlines():
                record = json.loads(line)
                self._keep(Row(**{**record, "counts": tuple(record["counts"])}))

    def row(self, graph: Graph, device: str = CORE, process: int = 0, runs: int = 1) -> Row:
        """Counts it where that was not done before."""
        key = (graph.digest, device, process)
        if key not in self._rows:
            with self._backend.open_counter(graph, Device.load(device)) as counter:
                counter.count(1)
                row = Row(*key, tuple(dict(c) for c in counter.count(runs)))
            with COUNTS.open("a", encoding="utf-8") as file:
                file.write(json.dumps(asdict(row), separators=(",", ":")) + "\n")
            self._keep(row)
            print(graph.name, device, process, sum(row.counts[-1].values()), file=sys.stderr)
        return self._rows[key]

    def cell(self, graph: Graph) -> dict[str, float] | None:
        """By class, on CORE; None where it was not counted."""
        row = self._rows.get((graph.digest, CORE, 0))
        return instructions.median(row.counts) if row else None

    def in_processes(self, graph: Graph, device: str) -> list[Row]:
        """Each in a fresh process."""
        rows = []
        for process in range(PROCESSES):
            self._backend = EmulatorBackend()
            rows.append(self.row(graph, device, process, RUNS))
        return rows

    def _keep(self, row: Row) -> None:
        self._rows[row.digest, row.device, row.process] = row


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


def count(space: Any) -> Counted:
    """Everything that is missing in COUNTS."""
    OUT.mkdir(parents=True, exist_ok=True)
    counted = Counted()
    clean, dead = cells(space)
    for _, graph in networks():
        for device in PAIR_DEVICES:
            counted.in_processes(graph, device)
    for change, archs in ((cut, dead), (cut, clean), (folded, clean), (folded, dead)):
        for arch in archs:
            counted.row(change(space.graph(arch)).renamed(f"{space.format(arch)} {change.__name__}"))
    return counted


def networks() -> list[tuple[str, Graph]]:
    """Those that are counted in several processes, on both cores."""
    graph = workloads.build("mobilenet_v2")
    return [("mobilenet_v2", graph), ("mobilenet_v2-int8", quantize(graph, activation="uint8", weight="int8"))]


# -- ranking -------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Cell:
    """One cell. Instructions of one inference, by class, of the graph cut and folded; multiply-adds of the graph cut
    and as built. None and nan: not counted, not in the data set."""

    arch: str
    is_clean: bool
    board_ms: float
    cut: dict[str, float] | None
    folded: dict[str, float] | None
    macs: int
    macs_built: int
    x86_ms: float


@dataclass(frozen=True, slots=True)
class Ranking:
    """How a score orders n cells as the board does, with 95 % bootstrap intervals over the cells."""

    cells: str
    score: str
    n: int
    spearman: float
    spearman_low: float
    spearman_high: float
    kendall: float
    kendall_low: float
    kendall_high: float


@dataclass(frozen=True, slots=True)
class Fit:
    """Mean error, percent, on the cells that were not learned from, over `SEEDS` training sets; its deviation."""

    cells: str
    model: str
    n: int
    mape: float
    deviation: float


def read_cells(space: Any, counted: Counted, data: Path, x86: Path | None) -> list[Cell]:
    """Every counted cell of which the board's latency is known."""
    table = pq.read_table(data / "nb201_latency_ms.parquet", columns=["arch", BOARD]).to_pylist()
    board_ms = {row["arch"]: row[BOARD] for row in table}
    x86_ms = {}
    if x86 is not None:
        found = dataset.read(x86)
        x86_ms = dict(zip(map(space.format, found.archs), found.normalized_ms.tolist(), strict=True))
    clean, dead = cells(space)
    made = []
    for arch in (*clean, *dead):
        text, graph = space.format(arch), space.graph(arch)
        made.append(
            Cell(
                arch=text,
                is_clean=is_clean(arch),
                board_ms=board_ms[text],
                cut=counted.cell(cut(graph)),
                folded=counted.cell(folded(graph)),
                macs=cost.of(cut(graph)).macs,
                macs_built=cost.of(graph).macs,
                x86_ms=x86_ms.get(text, math.nan),
            )
        )
    return made


def rank(found: Sequence[Cell]) -> list[Ranking]:
    """Every score on both kinds of cells; one that few cells have is left out."""
    rows = []
    for kind, wanted in (("without dead edges", True), ("with dead edges", False)):
        these = [c for c in found if c.is_clean is wanted]
        for name, score in SCORES.items():
            pairs = [(c.board_ms, value) for c in these if not math.isnan(value := score(c))]
            if len(pairs) >= FEWEST_RANKED:
                rows.append(_ranking(kind, name, np.array(pairs)))
    return rows


def _ranking(kind: str, name: str, pairs: np.ndarray) -> Ranking:
    """pairs: [n, 2], the board's ms and the score."""
    rng = np.random.default_rng(0)
    drawn = [pairs[rng.integers(len(pairs), size=len(pairs))] for _ in range(RESAMPLES)]
    figures = []
    for figure in (metrics.spearman, metrics.kendall):
        low, high = np.quantile([figure(*d.T) for d in drawn], [0.025, 0.975]).tolist()
        figures += [figure(*pairs.T), low, high]
    return Ranking(kind, name, len(pairs), *figures)


def _total(counts: Mapping[str, float] | None) -> float:
    return math.nan if counts is None else sum(counts.values())


SCORES: dict[str, Callable[[Cell], float]] = {
    "instructions, emulated, graph cut": lambda c: _total(c.cut),
    "instructions, emulated, graph folded": lambda c: _total(c.folded),
    "multiply-adds, graph cut": lambda c: c.macs,
    "multiply-adds, graph as built": lambda c: c.macs_built,
    "latency of ONNX Runtime on x86, graph as built": lambda c: c.x86_ms,
}


# -- fit to few measurements ---------------------------------------------------------------------------


def fits(space: Any, found: Sequence[Cell]) -> list[Fit]:
    """MAPE of models that learned the board's latency from few cells, on the others."""
    counted = [c for c in found if c.cut is not None]
    kinds = {"without dead edges": [c for c in counted if c.is_clean], "all": counted}
    rows = []
    for kind, these in kinds.items():
        ms = np.array([c.board_ms for c in these])
        for name, model in _models(space, these, ms).items():
            for n in SIZES:
                errors = []
                for seed in range(SEEDS):
                    order = np.random.default_rng([seed, n]).permutation(len(ms))
                    errors.append(metrics.mape(ms[order[n:]], model(order[:n], order[n:])))
                rows.append(Fit(kind, name, n, float(np.mean(errors)), float(np.std(errors))))
                print(rows[-1], file=sys.stderr)
    return rows


def _models(space: Any, found: Sequence[Cell], ms: np.ndarray) -> dict[str, Model]:
    """Each learns from the cells of the first numbers, and predicts those of the second, ms."""
    encoded = PhysicalEncoder().transform([space.graph(space.parse(c.arch)) for c in found])
    counts = np.stack([instructions.vector(c.cut or {}) for c in found])
    total, both = counts.sum(axis=1), np.hstack([encoded, counts])
    return {
        "instructions, one slope": lambda train, test: _slope(total[train], ms[train]) * total[test],
        "operator counts": lambda train, test: (
            PhysicalPredictor().fit(encoded[train], ms[train]).predict(encoded[test])
        ),
        "operator counts and instructions": lambda train, test: (
            PhysicalPredictor(counted=True).fit(both[train], ms[train]).predict(both[test])
        ),
    }


def _slope(x: np.ndarray, y: np.ndarray) -> float:
    """The least squares of relative errors: y = slope * x."""
    return float((x / y).sum() / ((x / y) ** 2).sum())


# -- repeatability, and int8 against float -------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Repeated:
    """One network on one core in `PROCESSES` processes: medians by class, and the spread (largest over smallest,
    minus 1) of the total and of each class; 0 is the same number each time."""

    network: str
    device: str
    counts: dict[str, float]
    spread: float
    class_spread: dict[str, float]


def repeated(counted: Counted) -> list[Repeated]:
    """Of each network that was counted in several processes."""
    made = []
    for name, graph in networks():
        for device in PAIR_DEVICES:
            rows = [instructions.median(row.counts) for row in counted.in_processes(graph, device)]
            by_class = {k: [row[k] for row in rows] for k in CLASSES}
            spreads = {k: max(v) / min(v) - 1 if min(v) else float(max(v) > 0) for k, v in by_class.items()}
            made.append(Repeated(name, device, instructions.median(rows), instructions.spread(rows), spreads))
    return made


# -- the report ----------------------------------------------------------------------------------------


def summary(
    found: Sequence[Cell], rankings: Sequence[Ranking], fitted: Sequence[Fit], pairs: Sequence[Repeated]
) -> str:
    """Markdown."""
    has_x86 = any(not math.isnan(c.x86_ms) for c in found)
    lines = [
        f"`{COMMAND}{' --x86 FOLDER' if has_x86 else ''}`",
        "",
        "# An emulated ARM core",
        "",
        "Everything here that is counted is **emulated**, in **instructions** of one inference: ONNX Runtime's AArch64 "
        "wheel under qemu. No figure is a time of an ARM core but the latencies of the Raspberry Pi 4, which others "
        "measured (HW-NAS-Bench, TensorFlow Lite).",
        "",
        "## Does the count repeat?",
        "",
        f"{PROCESSES} fresh processes, {RUNS} inferences each; spread: largest over smallest median, minus 1.",
        "",
        "| network | emulated core | M instructions | spread of the total | of simd, fma, dot | largest of a class |",
        "|---|---|---|---|---|---|",
    ]
    for p in pairs:
        exact = max(p.class_spread[k] for k in ("simd", "fma", "dot"))
        worst = max(CLASSES, key=lambda k: p.class_spread[k])
        lines.append(
            f"| {p.network} | {_core(p.device)} | {_total(p.counts) / 1e6:.2f} | {p.spread:.1e} | "
            f"{'exact' if exact == 0 else f'{exact:.1e}'} | {worst} {p.class_spread[worst]:.1e} |"
        )
    lines += ["", "## int8 against float", "", *_pair_lines(pairs)]
    lines += [
        "",
        "## Ranking a board that is not there",
        "",
        "Random cells of NAS-Bench-201 on the emulated Cortex-A72 against the latencies of a Raspberry Pi 4, which has "
        "that core. A cell's `none` is a multiplication by zero. Graph cut: what is multiplied by zero is not "
        "computed, what is computed from zeros is; folded: neither is; as built: both are. The Raspberry Pi's "
        "latencies come closest to those of graphs that were cut. Isomorphic cells agree with each other on the board "
        "at Spearman 0.974; no score can do much better. 95 % intervals by bootstrap over the cells.",
        "",
        "| cells | score | n | Spearman's rho | Kendall's tau |",
        "|---|---|---|---|---|",
    ]
    lines += [
        f"| {r.cells} | {r.score} | {r.n} | {r.spearman:.3f} ({r.spearman_low:.3f} to {r.spearman_high:.3f}) | "
        f"{r.kendall:.3f} ({r.kendall_low:.3f} to {r.kendall_high:.3f}) |"
        for r in rankings
    ]
    if not has_x86:
        lines += ["", "The latency on x86 is not among them: no data set was given by --x86."]
    lines += ["", "![Counts against latencies](figure.svg)", "", "## With a few measurements of the board", ""]
    lines += [
        f"MAPE in percent on the cells that were not learned from, mean of {SEEDS} random training sets and its "
        "standard deviation. Isomorphic cells differ by 7.3 % on this board: that is the floor. Operator counts are "
        "the predictor `physical` without any emulation.",
        "",
        "| cells | model | " + " | ".join(f"{n} measurements" for n in SIZES) + " |",
        "|---" * (2 + len(SIZES)) + "|",
    ]
    for kind, model in dict.fromkeys((f.cells, f.model) for f in fitted):
        cells_ = [f"{f.mape:.1f} ± {f.deviation:.1f}" for f in fitted if (f.cells, f.model) == (kind, model)]
        lines.append(f"| {kind} | {model} | {' | '.join(cells_)} |")
    lines += [
        "",
        "The emulator's worth is the order of networks on a board that nobody has measured; once there are "
        "measurements, counting operators does as well or better.",
    ]
    return "\n".join(lines) + "\n"


def _pair_lines(pairs: Sequence[Repeated]) -> Iterator[str]:
    yield "| emulated core | float, M instructions | int8, M instructions | int8 / float | int8 dot products, M |"
    yield "|---|---|---|---|---|"
    for device in PAIR_DEVICES:
        (float_, int8) = [p for p in pairs if p.device == device]
        a, b = _total(float_.counts), _total(int8.counts)
        yield (f"| {_core(device)} | {a / 1e6:.1f} | {b / 1e6:.1f} | {b / a:.3f} | {int8.counts['dot'] / 1e6:.2f} |")
    yield ""
    yield "MobileNetV2, QDQ, uint8 by int8. The Cortex-A76 has the dot product instruction, the Cortex-A72 has not."


def _core(device: str) -> str:
    return device.removeprefix("emulated-")


def draw(found: Sequence[Cell], path: Path) -> None:
    """Counts against the board's latencies, cells without and with dead edges."""
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = "hwprof"
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(9, 3.6), sharey=True, layout="constrained")
    for axis, (title, score) in zip(
        axes,
        (("graph cut", lambda c: _total(c.cut)), ("graph folded", lambda c: _total(c.folded))),
        strict=True,
    ):
        for wanted, label, marker in ((True, "no dead edges", "o"), (False, "dead edges", "x")):
            these = [c for c in found if c.is_clean is wanted and not math.isnan(score(c))]
            axis.scatter([score(c) / 1e6 for c in these], [c.board_ms for c in these], s=12, marker=marker, label=label)
        axis.set(title=title, xlabel="M instructions on the emulated Cortex-A72")
    axes[0].set_ylabel("ms on a Raspberry Pi 4")
    axes[0].legend(frameon=False)
    figure.savefig(path, metadata={"Date": None})


def write(found: Sequence[Cell], rankings: Sequence[Ranking], fitted: Sequence[Fit], pairs: Sequence[Repeated]) -> None:
    """README.md, results.json and the figure."""
    (OUT / "README.md").write_text(summary(found, rankings, fitted, pairs), encoding="utf-8")
    record = {
        "command": COMMAND, "evidence": "emulated", "unit": "instructions", "versions": dict(location.versions()),
        "rankings": [asdict(r) for r in rankings], "fits": [asdict(f) for f in fitted],
        "repeated": [asdict(p) for p in pairs],
        "cells": [{k: None if v != v else v for k, v in asdict(c).items()} for c in found],
    }  # fmt: skip
    (OUT / "results.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    draw(found, OUT / "figure.svg")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    parser.add_argument("--x86", type=Path, help="data set of `hwprof collect --space nasbench201 --device cpu-1t`")
    parser.add_argument("--as-is", action="store_true", help="count nothing more; report on what was counted")
    arguments = parser.parse_args()
    if not arguments.data.is_dir():
        sys.exit(f"no data in {arguments.data}; give the folder with --data")
    space: Any = plugins.load("space", "nasbench201")
    counted = Counted() if arguments.as_is else count(space)
    found = read_cells(space, counted, arguments.data, arguments.x86)
    write(found, rank(found), fits(space, found), repeated(counted))
    print((OUT / "README.md").read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
