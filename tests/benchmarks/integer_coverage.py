"""What the integer engine runs of other people's: operators, random networks, whole networks.

    pip download --no-deps -d wheels rapidocr-onnxruntime silero-vad magika nudenet
    python -m tests.benchmarks.integer_coverage --wheels wheels --graphs 10000 \\
        --out reports/integer-coverage/results.json

Cases: ONNX's own cases of single operators on floats, put between Q/DQ pairs (`tests/integer/wrapped_cases.py` says
which have integer meaning). Graphs: random quantized networks (`tests/integer/random_networks.py`); those of one
operator also beside ONNX Runtime without its optimizations. Networks: those of `foreign_models` after --variant
integer, calibrated on random inputs, their outputs on other random inputs against float.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import warnings
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from hwprof import onnx_io
from hwprof.errors import HwprofError, InputError
from hwprof.graph import Graph
from hwprof.integer.lowering import lowering
from hwprof.integer.run import library, reference
from hwprof.variants.apply import apply_variant
from hwprof.variants.weights import load_weights, model_with
from tests.benchmarks.foreign_models import networks
from tests.integer import wrapped_cases
from tests.integer.programs import run_kernels
from tests.integer.random_networks import Drawn
from tests.onnx_oracle import unoptimized

MOST_OPERATORS = 6  # of a random network
INPUTS = range(100, 104)  # seeds; calibration has others
Row = dict[str, object]

# -- single operators ----------------------------------------------------------------------------------


def operator_rows() -> list[Row]:
    """A row for each case with integer meaning, and for each reason to leave others out their number."""
    with TemporaryDirectory() as folder:
        return [
            {"case": name, "operator": op, "verdict": found.kind, "steps": found.steps, "reason": found.reason}
            for name, op, found in wrapped_cases.verdicts(Path(folder))
        ]


def left_out() -> dict[str, int]:
    return dict(Counter(why for name in wrapped_cases.cases() if (why := wrapped_cases.without_meaning(name))))


# -- random networks -----------------------------------------------------------------------------------


def random_rows(count: int) -> Row:
    """How many random networks ran, were refused, differed between instruction sets, and how many of one operator were
    more than a step away from ONNX Runtime."""
    kernels, found = library.load(), Counter[str]()
    sets = kernels.available()
    for seed in range(count):
        operators = 1 + seed % MOST_OPERATORS
        graph = Drawn(seed, operators).graph()
        try:
            program = lowering.lower(graph, load_weights(graph))
        except InputError as error:
            found["refused"] += 1
            sys.stderr.write(f"random network {seed}: {error}\n")
            continue
        inputs = onnx_io.random_inputs(graph, seed)
        wanted = reference.run(program, inputs)
        found["ran"] += 1
        for name in sets:
            got = run_kernels(program, inputs, kernels, name, threads=1 + seed % 2)
            found["different"] += any(not np.array_equal(got[key], wanted[key]) for key in wanted)
        if operators == 1:
            (theirs,) = unoptimized(onnx_io.materialize(graph), inputs)
            leaving = program.exits[0]
            steps = np.abs(wanted[leaving.output].astype(np.float64) - theirs).max() / (leaving.scale or 1)
            found["beside ONNX Runtime"] += 1
            found["more than a step away"] += round(float(steps)) > 1
    return {"networks": count, "instruction sets": ["NumPy", *sets], **found}


# -- networks ------------------------------------------------------------------------------------------


def network_rows(wheels: Path) -> list[Row]:
    """For each network the operations and the relative error of its worst output, or the reason."""
    rows = []
    with TemporaryDirectory() as temporary:
        work = Path(temporary)
        for name, _, open_ in networks(wheels, work):
            if name.startswith("onnx/"):
                continue
            try:
                row = _network(open_(work), work)
            except HwprofError as error:
                row = {"reason": " ".join(str(error).split())}
            rows.append({"network": name, **row})
            sys.stderr.write(f"{rows[-1]}\n")
    return rows


def _network(graph: Graph, work: Path) -> Row:
    quantized, _ = apply_variant(graph, "integer", work)
    program = lowering.lower(quantized, load_weights(quantized))
    kernels = library.load()
    best = kernels.available()[0]
    exact_model = model_with(graph, load_weights(graph))
    ours, exact = [], []
    for seed in INPUTS:
        inputs = onnx_io.random_inputs(graph, seed)
        wanted = reference.run(program, inputs) if seed == INPUTS[0] else None
        got = run_kernels(program, inputs, kernels, best)
        if wanted is not None and any(not np.array_equal(got[key], wanted[key]) for key in wanted):
            raise AssertionError(f"{graph.name}: {best} and NumPy differ")
        ours.append(list(got.values()))
        exact.append(unoptimized(exact_model, inputs))
    errors = [
        _error(np.stack(a), np.stack(b)) for a, b in zip(zip(*ours, strict=True), zip(*exact, strict=True), strict=True)
    ]
    return {"operations": len(program.operations), "errors": [round(e, 4) for e in errors]}


def _error(ours: np.ndarray, exact: np.ndarray) -> float:
    """Root mean square of the difference over that of the exact values."""
    return float(np.sqrt(np.mean((ours - exact) ** 2) / max(float(np.mean(exact**2)), 1e-30)))


# -- the report ----------------------------------------------------------------------------------------


def report(found: dict[str, object], command: str) -> str:
    lines = [
        f"<!-- {command} -->", "# What the integer engine runs of other people's", "", f"Made by `{command}`.", "",
        "Which cases have integer meaning is this project's own judgement. Inputs of the whole networks are random "
        "numbers, not photographs or speech: PP-OCR's detector gives 1e-6 on them, which no grid of 8 bits holds.", "",
    ]  # fmt: skip
    if "cases" in found:
        lines += _cases(found["cases"], found["left out"])  # type: ignore[arg-type]
    if "random" in found:
        lines += _random(found["random"])  # type: ignore[arg-type]
    if "networks" in found:
        lines += _networks(found["networks"])  # type: ignore[arg-type]
    return re.sub(r"/\S+/case\.onnx: ", "", "\n".join(lines)) + "\n"  # without a temporary path


def _cases(rows: list[Row], others: dict[str, int]) -> list[str]:
    counts = Counter(str(r["verdict"]) for r in rows if r["verdict"] != "broken")
    total = sum(counts.values())
    lines = [
        "## Single operators", "",
        f"{total} of ONNX's cases on floats have integer meaning. {counts['equal']} are equal within a step of the "
        f"result's grid, {counts['refused']} are refused ({counts['refused'] / total:.1%}), "
        f"{counts['wrong']} are wrong.", "",
        "| refused | cases | reason |", "| --- | --: | --- |",
    ]  # fmt: skip
    reasons = Counter((str(r["operator"]), _short(str(r["reason"]))) for r in rows if r["verdict"] == "refused")
    lines += [f"| {op} | {n} | {why} |" for (op, why), n in sorted(reasons.items())]
    lines += ["", "Left out, because they have no integer meaning:", "", "| reason | cases |", "| --- | --: |"]
    return [*lines, *(f"| {why} | {n} |" for why, n in sorted(others.items(), key=lambda pair: -pair[1])), ""]


def _short(reason: str) -> str:
    return reason.partition("integers only: ")[2].replace("|", "\\|") or reason


def _random(found: Row) -> list[str]:
    sets = ", ".join(map(str, found["instruction sets"]))  # type: ignore[call-overload]
    return [
        "## Random networks", "",
        f"{found['networks']} networks of 1 to {MOST_OPERATORS} operators: {found['ran']} ran, "
        f"{found.get('refused', 0)} were refused, {found.get('different', 0)} results differed between {sets}. "
        f"{found['beside ONNX Runtime']} networks of one operator ran in ONNX Runtime, too: "
        f"{found.get('more than a step away', 0)} were more than a step away from it.", "",
    ]  # fmt: skip


def _networks(rows: list[Row]) -> list[str]:
    whole = sum("errors" in r for r in rows)
    lines = [
        "## Whole networks", "",
        f"{whole} of {len(rows)} run whole after `--variant integer`, calibrated on random inputs. Error: root mean "
        "square of an output's difference from float, relative, over four other random inputs.", "",
        "| network | operations | error of each output, or the reason |", "| --- | --: | --- |",
    ]  # fmt: skip
    for r in rows:
        errors = ", ".join(map(str, r["errors"])) if "errors" in r else str(r["reason"]).replace("|", "\\|")  # type: ignore[call-overload]
        lines.append(f"| {r['network']} | {r.get('operations', '')} | {errors} |")
    return [*lines, ""]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--wheels", type=Path)
    parser.add_argument("--graphs", type=int, default=0)
    parser.add_argument("--no-cases", action="store_true")
    parser.add_argument("--out", type=Path, default=Path("integer-coverage.json"))
    asked = parser.parse_args()
    found: dict[str, object] = json.loads(asked.out.read_text(encoding="utf-8")) if asked.out.exists() else {}
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        if not asked.no_cases:
            found |= {"cases": operator_rows(), "left out": left_out()}
        if asked.graphs:
            found["random"] = random_rows(asked.graphs)
        if asked.wheels:
            found["networks"] = network_rows(asked.wheels)
    asked.out.parent.mkdir(parents=True, exist_ok=True)
    asked.out.write_text(json.dumps(found, indent=1), encoding="utf-8")
    command = (
        f"python -m tests.benchmarks.integer_coverage --wheels wheels --graphs {asked.graphs} --out "
        "reports/integer-coverage/results.json"
    )
    (asked.out.parent / "README.md").write_text(report(found, command), encoding="utf-8")


if __name__ == "__main__":
    main()
