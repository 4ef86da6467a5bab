"""Times one vector by matrices whose weights are stored in few bits, beside int8: writes reports/low-bit.

    python tests/benchmarks/low_bit.py                 # ten minutes, on a machine that does nothing else
    python tests/benchmarks/low_bit.py --quick OUT     # to try the program: one process, few blocks

The same product in every format, in the same processes, one thread; blocks of calls alternate (A B C C B A ...). A
ratio is int8's time by the format's within a round: above 1 the format is faster. Of its median over the rounds of a
process, the median of all processes is reported, with the lowest and highest process beside it. A block repeats its
step within one call of the library, so that small products do not time the call.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import platform
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from time import perf_counter_ns

import numpy as np
from fresh_process import answer_of

from hwprof.integer.program.program import Convolution, Program, Rescale, Value, WeightFormat
from hwprof.integer.run import library, memory
from hwprof.integer.run.library import Plan
from hwprof.integer.run.steps import Steps
from hwprof.measure import environment
from hwprof.measure.exclusive import machine_to_ourselves

ROOT = Path(__file__).parents[2]
COMMAND = "python tests/benchmarks/low_bit.py"
SIZES = {"L1": (128, 160), "L2": (512, 1024), "L3": (2048, 4096), "memory": (4096, 16384)}  # columns, depth
INT8 = "int8"
POWERS = (-64, -32, -16, -8, -4, -2, -1, 0, 1, 2, 4, 8, 16, 32, 64)
# title -> format, values, share of blocks that are 0
KINDS: dict[str, tuple[WeightFormat, Sequence[int], float]] = {
    INT8: ("int8", range(-127, 128), 0),
    "4-bit": ("int4", range(-7, 8), 0),
    "dictionary of 16 powers of two (LUT-Q)": ("dictionary-16", POWERS, 0),
    "ternary": ("dictionary-4", (-127, 0, 127), 0),
    "binary": ("dictionary-2", (-127, 127), 0),
    "binary, by signs (XNOR)": ("signs", (-1, 1), 0),
    "32x4 blocks, 50 % empty": ("sparse-32x4", range(-127, 128), 0.5),
    "32x4 blocks, 75 % empty": ("sparse-32x4", range(-127, 128), 0.75),
    "32x4 blocks, 90 % empty": ("sparse-32x4", range(-127, 128), 0.9),
}
BLOCK_NS = 4_000_000


# -- one process ---------------------------------------------------------------------------------------


def drawn(rng: np.random.Generator, columns: int, depth: int, values: Sequence[int], empty: float) -> np.ndarray:
    """int8 [columns, 1, 1, depth]; a share of its blocks is 0. The values themselves repeat: they change no time."""
    few = rng.choice(np.array(values, np.int8), (32, depth // 4, 4))
    weight = few * (rng.random((columns // 32, 1, depth // 4, 1)) >= empty)
    return weight.astype(np.int8).reshape(columns, 1, 1, depth)


def product(title: str, columns: int, depth: int) -> Program:
    """One vector by the matrix."""
    weight_format, values, empty = KINDS[title]
    rng = np.random.default_rng(0)
    constants = [np.full(columns, v, np.int32) for v in (0, 2**30, 44)]
    operation = Convolution(
        "product", (), "x", "y", drawn(rng, columns, depth, values, empty), constants[0],
        Rescale(constants[1], constants[2], 128), 0, weight_format=weight_format,
        sign_at=128 if weight_format == "signs" else None,
    )  # fmt: skip
    shapes = {"x": (1, 1, 1, depth), "y": (1, 1, 1, columns)}
    values_ = {name: Value(name, shape) for name, shape in shapes.items()}
    stored = {"x": rng.integers(0, 256, shapes["x"], dtype=np.uint8)}
    return Program(title, (), (), (operation,), values_, stored)


class Repeated:
    """A product whose step a plan holds as many times as make up a block."""

    def __init__(self, title: str, columns: int, depth: int, instruction_set: str) -> None:
        kernels = library.load()
        program = product(title, columns, depth)
        self._values = memory.place(program)
        self._steps = Steps(program, self._values, kernels.arithmetic(instruction_set))
        (self._step,) = self._steps.steps
        self.stored_bytes = int(self._step.weight_bytes + self._step.x2_bytes)
        self._kernels = kernels
        self._instruction_set = instruction_set
        with closing(self._plan(1)) as plan:
            self._run(plan)
            self.count = max(1, round(BLOCK_NS / min(self._run(plan) for _ in range(3))))
        self._block = self._plan(self.count)

    def _plan(self, count: int) -> Plan:
        return Plan(self._kernels, [self._step] * count, self._instruction_set, 1)

    def _run(self, plan: Plan) -> int:
        handle = ctypes.c_void_p(plan.handle)
        start = perf_counter_ns()
        self._kernels.kernels.hwprof_run(handle)
        return perf_counter_ns() - start

    def ns(self) -> float:
        """Of one product, in a block of them."""
        return self._run(self._block) / self.count

    def close(self) -> None:
        self._block.close()


def work(instruction_set: str, size: str, rounds: int) -> dict[str, dict[str, float]]:
    """ns of each product: the median block; and the median ratio of int8's to it, round by round."""
    contenders = {title: Repeated(title, *SIZES[size], instruction_set) for title in KINDS}
    blocks: dict[str, list[float]] = {title: [] for title in KINDS}
    for i in range(rounds + 1):
        order = list(KINDS) if i % 2 else list(KINDS)[::-1]
        for title in order:
            ns = contenders[title].ns()
            if i:  # the first warms up
                blocks[title].append(ns)
    for contender in contenders.values():
        contender.close()
    reference = np.array(blocks[INT8])
    return {
        title: {
            "ns": float(np.median(ns)),
            "ratio": float(np.median(reference / np.array(ns))),
            "bytes": contenders[title].stored_bytes,
        }
        for title, ns in blocks.items()
    }


# -- all of them ---------------------------------------------------------------------------------------


def measure(quick: bool) -> dict[str, object]:
    processes, rounds = (1, 5) if quick else (5, 31)
    available = [name for name in library.load().available() if name != "scalar"]
    cases: dict[str, dict[str, list[dict[str, dict[str, float]]]]] = {}
    for name in available:
        cases[name] = {}
        for size in SIZES:
            cases[name][size] = [child(name, size, rounds) for _ in range(processes)]
            found = {t: round(r["ratio"], 2) for t, r in cases[name][size][0].items()}
            print(name, size, found, file=sys.stderr)
    here = environment.hardware()
    return {
        "cpu": here["cpu"], "caches": ", ".join(here["caches"]), "python": platform.python_version(), "cases": cases
    }  # fmt: skip


def child(instruction_set: str, size: str, rounds: int) -> dict[str, dict[str, float]]:
    answer: dict[str, dict[str, float]] = answer_of(__file__, [instruction_set, size, rounds])
    return answer


def report(results: Mapping[str, object]) -> str:
    cases = results["cases"]
    lines = [
        f"<!-- {COMMAND} -->",
        "# Weights of few bits beside int8",
        "",
        f"`{COMMAND}` made this page, on {results['cpu']} ({results['caches']}), one thread. One vector of uint8 by a "
        "matrix; sizes are those that keep the int8 matrix in the cache that the column names. A number is int8's "
        "time by the format's: above 1 the format is faster, **below 0.98 it loses**. Median of the processes "
        "(lowest to highest).",
    ]
    for name, sizes in cases.items():
        heads = [f"{size}: {c} x {d}" for size, (c, d) in SIZES.items()]
        lines += ["", f"## {name}", "", f"| format | bits a weight | {' | '.join(heads)} |"]
        lines.append("|---" * (len(heads) + 2) + "|")
        lines += [row(title, sizes) for title in KINDS if title != INT8]
        whole = ", ".join(f"{size} {median(rows, INT8, 'ns') / 1e3:.3g}" for size, rows in sizes.items())
        lines += ["", f"int8 itself takes, in microseconds: {whole}.", "", *losses(name, sizes)]
    return "\n".join([*lines, ""])


def median(rows: Sequence[Mapping[str, Mapping[str, float]]], title: str, field: str) -> float:
    return float(np.median([row[title][field] for row in rows]))


def row(title: str, sizes: Mapping[str, Sequence[Mapping[str, Mapping[str, float]]]]) -> str:
    cells = []
    for rows in sizes.values():
        each = [r[title]["ratio"] for r in rows]
        text = f"{np.median(each):.2f} ({min(each):.2f} to {max(each):.2f})"
        cells.append(f"**{text}**" if np.median(each) < 0.98 else text)
    (columns, depth), rows = SIZES["L2"], sizes["L2"]
    return f"| {title} | {8 * rows[0][title]['bytes'] / columns / depth:.2f} | {' | '.join(cells)} |"


def losses(name: str, sizes: Mapping[str, Sequence[Mapping[str, Mapping[str, float]]]]) -> Iterator[str]:
    """Where a format is slower than int8, in words."""
    lost = [
        f"{title} in {size}"
        for size, rows in sizes.items()
        for title in KINDS
        if title != INT8 and median(rows, title, "ratio") < 0.98
    ]
    yield f"With {name} these are slower than int8: {'; '.join(lost)}." if lost else f"With {name} none loses."


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", nargs="?", type=Path, default=ROOT / "reports" / "low-bit")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        print(json.dumps(work(*json.load(sys.stdin))))
        return
    if arguments.quick and arguments.out == parser.get_default("out"):
        parser.error("--quick needs a folder of its own to write to")
    with machine_to_ourselves():
        results = measure(arguments.quick)
    arguments.out.mkdir(parents=True, exist_ok=True)
    (arguments.out / "results.json").write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    (arguments.out / "README.md").write_text(report(results), encoding="utf-8")


if __name__ == "__main__":
    main()
