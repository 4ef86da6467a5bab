"""How long a predictor takes before it predicts: building networks and encoding them, with nothing kept beforehand.

    OMP_NUM_THREADS=1 python -m tests.benchmarks.encoding

Writes reports/encoding/README.md; about two minutes of one core. Each figure is from a process of its own, whose caches
are empty at first, and is the time that this process had a core, so that other programs only slow it down by the caches
that they share with it.
"""

from __future__ import annotations

import gc
import subprocess
import sys
from collections.abc import Callable, Iterable
from itertools import islice
from pathlib import Path
from time import process_time

import numpy as np

from hwprof.encoders.kernels import KernelEncoder
from hwprof.encoders.physical import PhysicalEncoder
from hwprof.graph import Graph
from hwprof.measure import environment
from hwprof.spaces.generic import SPACE as GENERIC
from hwprof.spaces.nasbench201 import SPACE as CELLS
from hwprof.spaces.sampling import enumerate_archs, random_archs

ROOT = Path(__file__).parents[2]
OUT = ROOT / "reports" / "encoding" / "README.md"
COMMAND = "OMP_NUM_THREADS=1 python -m tests.benchmarks.encoding"
N_CELLS = 1000
OPERATORS = range(190, 211)
ENCODERS: dict[str, Callable[[], Callable[[list[Graph]], object]]] = {
    "kernels": KernelEncoder, "physical": lambda: PhysicalEncoder().transform
}  # fmt: skip


def drawn_cells(encoder: str) -> float:
    """ms a cell: of 1,000 drawn at random, built and encoded one after the other."""
    archs = random_archs(CELLS, N_CELLS, np.random.default_rng(0))
    return _cells_s(archs, encoder) / N_CELLS * 1e3


def all_cells(encoder: str) -> float:
    """s: all 15,625 cells, built and encoded one after the other."""
    return _cells_s(enumerate_archs(CELLS), encoder)


def building(encoder: str) -> float:
    """ms a cell of `drawn_cells` that building takes."""
    del encoder
    archs = random_archs(CELLS, N_CELLS, np.random.default_rng(0))
    start = process_time()
    for arch in archs:
        CELLS.graph(arch)
    return (process_time() - start) / N_CELLS * 1e3


def large_network(encoder: str) -> float:
    """ms: the first networks of about 200 operators among random ones, each by an encoder that has seen none; the
    slowest of five."""
    found = (graph for graph in map(GENERIC.graph, islice(GENERIC.archs(0), 5000)) if len(graph.nodes) in OPERATORS)
    return max(_encoding_s(encoder, next(found)) for _ in range(5)) * 1e3


def _cells_s(archs: Iterable[tuple[int, ...]], encoder: str) -> float:
    encode = ENCODERS[encoder]()
    start = process_time()
    for arch in archs:
        encode([CELLS.graph(arch)])
    return process_time() - start


def _encoding_s(encoder: str, graph: Graph) -> float:
    encode = ENCODERS[encoder]()
    start = process_time()
    encode([graph])
    return process_time() - start


# What is measured, its unit, and its goal.
FIGURES: dict[str, tuple[Callable[[str], float], str, str, float | None]] = {
    "building": (building, "ms", "building a cell of NAS-Bench-201", None),
    "drawn": (drawn_cells, "ms", "building and encoding a cell, of 1,000 drawn at random", 0.5),
    "all": (all_cells, "s", "building and encoding all 15,625 cells", 10.0),
    "large": (large_network, "ms", "encoding a network of 200 operators, the slowest of five", 10.0),
}


def in_fresh_process(figure: str, encoder: str) -> float:
    command = [sys.executable, "-m", "tests.benchmarks.encoding", figure, encoder]
    return float(subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT).stdout)


def page() -> str:
    """Markdown."""
    lines = [
        "# Building and encoding networks", "", f"`{COMMAND}`", "",
        f"{environment.hardware()['cpu']}, one thread: the time that a fresh process had a core. `kernels` is the "
        "encoder of predictors for any network, `physical` that of one space.", "",
        "| figure | unit | " + " | ".join(ENCODERS) + " | goal |", "| --- | --- |" + " --: |" * (len(ENCODERS) + 1),
    ]  # fmt: skip
    for figure, (_, unit, words, goal) in FIGURES.items():
        values = [in_fresh_process(figure, encoder) for encoder in ENCODERS]
        shown = "" if goal is None else f"{goal:g}"
        lines.append(f"| {words} | {unit} | {' | '.join(f'{value:.3g}' for value in values)} | {shown} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    if len(sys.argv) == 3:
        gc.freeze()
        gc.disable()  # as a data set does while it builds its networks
        print(FIGURES[sys.argv[1]][0](sys.argv[2]))
        return
    OUT.parent.mkdir(parents=True, exist_ok=True)
    OUT.write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
