"""Sets the predictors against the latencies that hwprof measured (latency_data/), and writes reports/predict-own.

    OMP_NUM_THREADS=1 python tests/benchmarks/predict_own.py [DATA_SET ...]

Takes all data sets of latency_data/ unless some are named; about five minutes of one core.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from hwprof.data import dataset
from hwprof.jobs.evaluating import evaluate
from hwprof.predictors.evaluation import Evaluation, Figures
from hwprof.report import learning_curve

ROOT = Path(__file__).parents[2]
OUT = ROOT / "reports" / "predict-own"
COMMAND = "OMP_NUM_THREADS=1 python tests/benchmarks/predict_own.py"
SIZES = (10, 20, 50, 100)
SEEDS = 5
PREDICTORS = ("physical", "xgboost")
# Percent, by data set and number of networks learned from.
GOALS = {
    "nasbench201-cpu-1t": {20: 5.0, 100: 3.0},
    "darts-cpu-1t": {20: 5.0, 50: 10.0, 100: 3.0},
}
COVERAGE_GOAL = (87, 93)  # percent, at 20 and 100


def run(folders: Sequence[Path]) -> list[Evaluation]:
    found = []
    for folder in folders:
        for predictor in PREDICTORS:
            print(f"{folder.name}: {predictor}", file=sys.stderr)
            found.append(evaluate(folder, predictor, SIZES, SEEDS))
        physical = found[-len(PREDICTORS)]
        curve = {f.n: f.mape_by_seed for f in physical.figures}
        title = f"{physical.predictor} on {physical.data}"
        learning_curve.draw(OUT / f"{folder.name}.svg", curve, title, physical.figures[0].noise_floor)
    return found


def summary(found: Sequence[Evaluation], folders: Sequence[Path]) -> str:
    """Markdown: one table of all data sets, then what they are."""
    lines = [
        "# Predictors on hwprof's own measurements",
        "",
        f"`{COMMAND}`",
        "",
        f"Means over {SEEDS} random training sets of N networks, nested from size to size, tested on all networks that "
        "no size learned from. Percent, but for Kendall's tau and the times, which begin with an architecture.",
        "",
        "| data | predictor | N | MAPE | goal | within 10 % | coverage of 90 % intervals | Kendall's tau | fit s | "
        "predict us |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for evaluation in found:
        goals = GOALS.get(evaluation.data, {}) if evaluation.predictor == "physical" else {}
        lines += [_row(evaluation, figures, goals.get(figures.n)) for figures in evaluation.figures]
    low, high = COVERAGE_GOAL
    physical = [f for e in found if e.predictor == "physical" for f in e.figures if f.n in (20, 100)]
    held = sum(low <= f.coverage_90 <= high for f in physical)
    lines += [
        "",
        f"Intervals of `physical`: {held} of {len(physical)} cases (N = 20 and 100) cover {low} to {high} %; on "
        f"average {sum(f.coverage_90 for f in physical) / len(physical):.1f} %.",
        "",
        "## The data",
        "",
        "| data | networks | machine | measured | 95 % interval of a label (median) |",
        "| --- | --- | --- | --- | --- |",
        *(_described(folder) for folder in folders),
        "",
        *(f"![{folder.name}]({folder.name}.svg)" for folder in folders),
    ]
    return "\n".join(lines) + "\n"


def _row(evaluation: Evaluation, f: Figures, goal: float | None) -> str:
    asked = "" if goal is None else f"{goal:.0f}{'' if f.mape <= goal else ', not met'}"
    tau = "" if f.kendall is None else f"{f.kendall:.3f}"
    fit_s = "" if f.fit_s is None else f"{f.fit_s:.2f}"
    cells = (
        evaluation.data, evaluation.predictor, f.n, f"{f.mape:.2f}", asked, f"{f.within_10:.0f}",
        f"{f.coverage_90:.0f}", tau, fit_s, f"{f.predict_us:.0f}",
    )  # fmt: skip
    return f"| {' | '.join(map(str, cells))} |"


def _described(folder: Path) -> str:
    found = dataset.read(folder)
    card = found.card
    widths = sorted((high - low) / 2 / ms for ms, low, high in (e.label for e in found.entries))
    cells = (
        card.name, card.rows, f"{card.machine.get('cpu', card.hardware)}, {card.device_name}", card.first_date[:10],
        f"+-{widths[len(widths) // 2]:.1%}",
    )  # fmt: skip
    return f"| {' | '.join(map(str, cells))} |"


def main() -> None:
    named = [Path(name) for name in sys.argv[1:]]
    folders = named or sorted(card.parent for card in (ROOT / "latency_data").glob("*/dataset.toml"))
    if not folders:
        sys.exit("no data sets in latency_data; see hwprof collect")
    OUT.mkdir(parents=True, exist_ok=True)
    found = run(folders)
    (OUT / "README.md").write_text(summary(found, folders), encoding="utf-8")
    record = {"command": COMMAND, "evaluations": [asdict(e) for e in found]}
    (OUT / "results.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    print(summary(found, folders))


if __name__ == "__main__":
    main()
