"""Sets the predictors against latencies that others measured on real devices, and writes reports/predict-others.

    OMP_NUM_THREADS=1 python tests/benchmarks/predict_others.py [DATA_FOLDER]

DATA_FOLDER defaults to ../shared/data beside the repository; it takes about fifteen minutes of one core.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from hwprof import metrics, plugins
from hwprof.encoders.physical import OPERATOR_COLUMNS, PhysicalEncoder
from hwprof.interfaces import Arch, SearchSpace
from hwprof.predictors.base import LatencyPredictor
from hwprof.predictors.lut import LutPredictor
from hwprof.predictors.physical import PhysicalPredictor
from hwprof.predictors.transfer import TransferPredictor
from hwprof.predictors.xgboost import XGBoostPredictor

ROOT = Path(__file__).parents[2]
COMMAND = "OMP_NUM_THREADS=1 python tests/benchmarks/predict_others.py"
SIZES = (10, 20, 50, 100)
SEEDS = 5
TEST_NETWORKS = 2000
NB201_DEVICES = (
    "1080ti_1", "1080ti_256", "2080ti_32", "titanx_1", "titanxp_256", "gold_6240", "silver_4114", "raspi4",
    "samsung_a50", "essential_ph_1", "eyeriss", "fpga",
)  # fmt: skip
FBNET_DEVICES = ("1080ti_1", "2080ti_64", "gold_6240", "silver_4114", "samsung_s7", "essential_ph_1")
OFA_DEVICES = ("2080ti_1", "2080ti_64", "v100_1", "v100_64")
GOALS = {10: 5.0, 20: 4.2, 50: 3.9, 100: 3.5}  # mean MAPE over the NAS-Bench-201 devices
COVERAGE_GOAL = (87, 93)  # percent, at 20 and 100
# MAPE at N = 10 and 100 that a physical fit is said to reach; for OFA the devices are
# alike, not the same, and batch 1 is held to the upper ends of 5 to 9 and 3 to 7.
KNOWN = {
    ("hat", "cpu_raspberrypi wmt14ende"): (0.9, 0.6),
    ("hat", "cpu_xeon wmt14ende"): (5.3, 4.1),
    ("hat", "gpu_titanxp wmt14ende"): (3.1, 1.8),
    ("ofa_mbv3", "2080ti_1"): (9.0, 7.0),
    ("ofa_mbv3", "2080ti_64"): (1.3, 0.9),
    ("ofa_mbv3", "v100_1"): (9.0, 7.0),
    ("ofa_mbv3", "v100_64"): (1.3, 0.9),
}
MANY = 1500  # networks from which boosted trees show what the rest of a HAT data set's scatter allows
SOURCE_NETWORKS, POOL, TRANSFERRED, ALONE = 100, 300, 5, 10


@dataclass(frozen=True, slots=True)
class Networks:
    """archs: [n]; encoded: [n, ...] of `PhysicalEncoder`, with operators; latencies_ms: by device, [n]; floor: by
    device, MAPE."""

    name: str
    space: SearchSpace
    archs: np.ndarray
    encoded: np.ndarray
    latencies_ms: Mapping[str, np.ndarray]
    floor: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Row:
    """Means over the seeds; errors and coverage in percent."""

    space: str
    device: str
    predictor: str
    n: int
    mape: float
    median_error: float
    within_5: float
    within_10: float
    kendall: float
    spearman: float
    coverage_90: float
    fit_s: float
    predict_us: float
    floor: float


def nasbench201(folder: Path) -> Networks:
    """The cells with a path from input to output; the floor comes from those that the benchmark calls isomorphic
    and that have the same operations, dead ones included."""
    space: Any = plugins.load("space", "nasbench201")
    table = pq.read_table(folder / "nb201_latency_ms.parquet").to_pylist()
    benchmark = pq.read_table(folder / "nb201_accuracy.parquet", columns=["arch", "unique_str"]).to_pylist()
    unique = {row["arch"]: row["unique_str"] for row in benchmark}
    rows = [(space.parse(row["arch"]), row) for row in table]
    rows = [(arch, row) for arch, row in rows if _connected(arch)]
    latencies = {d: np.array([row[d] for _, row in rows]) for d in NB201_DEVICES}
    groups = [f"{unique[row['arch']]} {sorted(arch)}" for arch, row in rows]
    floor = {d: metrics.noise_floor(ms, groups) for d, ms in latencies.items()}
    return _networks("nasbench201", space, [arch for arch, _ in rows], latencies, floor)


def _connected(arch: Arch) -> bool:
    """Operation 0 is none; edges are 0-1, 0-2, 1-2, 0-3, 1-3, 2-3."""
    e01, e02, e12, e03, e13, e23 = (choice > 0 for choice in arch)
    return e03 or (e01 and e13) or ((e02 or (e01 and e12)) and e23)


def fbnet(folder: Path) -> Networks:
    space: Any = plugins.load("space", "fbnet")
    rows = _some(pq.read_table(folder / "fbnet_latency_ms.parquet").to_pylist())
    latencies = {d: np.array([row[d] for row in rows]) for d in FBNET_DEVICES}
    return _networks("fbnet", space, [space.parse(row["arch_str"]) for row in rows], latencies)


def ofa(folder: Path) -> Networks:
    space: Any = plugins.load("space", "ofa_mbv3")
    rows = _some(pq.read_table(folder / "ofa_latency_ms.parquet").to_pylist())
    latencies = {d: np.array([row[d] for row in rows]) for d in OFA_DEVICES}
    return _networks("ofa_mbv3", space, [space.from_columns(row) for row in rows], latencies)


def hat(folder: Path) -> Iterable[Networks]:
    """One set per task and device, for each device measured other networks. Latency: encoder and decoder."""
    space: Any = plugins.load("space", "hat")
    table = pq.read_table(folder / "hat_latency.parquet").to_pylist()
    for task, device in sorted({(row["task"], row["device"]) for row in table}):
        rows = [row for row in table if (row["task"], row["device"]) == (task, device)]
        total = np.array([row["latency_mean_encoder"] + row["latency_mean_decoder"] for row in rows])
        decoder = np.array([row["latency_mean_decoder"] for row in rows])
        latencies = {f"{device} {task}": total, f"{device} {task}, decoder": decoder}
        yield _networks("hat", space, [space.from_columns(row) for row in rows], latencies)


def _some(rows: list[dict[str, Any]], most: int = 3000) -> list[dict[str, Any]]:
    return [rows[i] for i in np.random.default_rng(0).permutation(len(rows))[:most]]


def _networks(
    name: str,
    space: SearchSpace,
    archs: Sequence[Arch],
    latencies: Mapping[str, np.ndarray],
    floor: Mapping[str, float] | None = None,
) -> Networks:
    print(f"encoding {len(archs)} networks of {name}", file=sys.stderr)
    encoded = []
    for start in range(0, len(archs), 500):  # graphs of 15,000 cells at once would take gigabytes
        graphs = [space.graph(arch) for arch in archs[start : start + 500]]
        encoded.append(PhysicalEncoder(with_operators=True).transform(graphs))
    return Networks(name, space, np.array(archs), np.concatenate(encoded), latencies, floor or {})


def evaluate(
    networks: Networks, device: str, name: str, make: Callable[[], LatencyPredictor], X: np.ndarray, n: int,
    seeds: int = SEEDS,
) -> Row:  # fmt: skip
    """The mean figures of random training sets of n networks, on `TEST_NETWORKS` others."""
    y = networks.latencies_ms[device]
    figures = []
    for seed in range(seeds):
        order = np.random.default_rng([seed, n]).permutation(len(y))
        train, test = order[:n], order[n : n + TEST_NETWORKS]
        start = time.perf_counter()
        predictor = make().fit(X[train], y[train])
        fitted = time.perf_counter()
        predicted = predictor.predict(X[test])
        end = time.perf_counter()
        low, high = predictor.predict_interval(X[test], 0.9)
        figures.append(
            (
                metrics.mape(y[test], predicted), 100 * float(np.median(np.abs(predicted / y[test] - 1))),
                metrics.within(y[test], predicted, 5),
                metrics.within(y[test], predicted, 10), metrics.kendall(y[test], predicted),
                metrics.spearman(y[test], predicted), metrics.coverage(y[test], low, high),
                fitted - start, (end - fitted) / len(test) * 1e6,
            )
        )  # fmt: skip
    means = [float(value) for value in np.mean(figures, axis=0)]
    return Row(networks.name, device, name, n, *means, networks.floor.get(device, float("nan")))


def run(folder: Path) -> list[Row]:
    rows = []
    for networks in _every(folder):
        for device in networks.latencies_ms:
            rows += [evaluate(networks, device, "physical", PhysicalPredictor, networks.encoded, n) for n in SIZES]
            print(rows[-1], file=sys.stderr)
        if networks.name == "nasbench201":
            rows += _baselines(networks)
        if networks.name == "hat":
            device = next(iter(networks.latencies_ms))
            make = partial(XGBoostPredictor, networks.space)
            rows.append(evaluate(networks, device, "xgboost", make, networks.archs, MANY, seeds=1))
        if networks.name in ("nasbench201", "fbnet"):
            rows += _transferred(networks)
    return rows


def _transferred(networks: Networks) -> list[Row]:
    """Few networks of each device, the others being a prior for it, and more of them at random without the others."""
    figures: dict[tuple[str, str, int], list[tuple[float, float]]] = {}
    for seed in range(SEEDS):
        order = np.random.default_rng([seed, SOURCE_NETWORKS]).permutation(len(networks.archs))
        there, pool, test = np.split(order, [SOURCE_NETWORKS, SOURCE_NETWORKS + POOL])
        rows = networks.encoded
        sources = {d: PhysicalPredictor().fit(rows[there], ms[there]) for d, ms in networks.latencies_ms.items()}
        for device, y in networks.latencies_ms.items():
            transfer = TransferPredictor([source for d, source in sources.items() if d != device], seed=seed)
            known = np.concatenate([pool, test[:TEST_NETWORKS]])
            quantities = rows[known, :-OPERATOR_COLUMNS]
            X = np.column_stack([quantities, *(source.predict(rows[known]) for source in transfer.sources)])
            chosen = transfer.informative(X[:POOL], TRANSFERRED)
            for name, predictor, given, train in (
                ("transfer", transfer, X, chosen),
                ("transfer, random", transfer, X, np.arange(TRANSFERRED)),
                ("alone", PhysicalPredictor(), rows[known], np.arange(ALONE)),
            ):
                predictor.fit(given[train], y[known[train]])
                measured, tested = y[known[POOL:]], given[POOL:]
                covered = metrics.coverage(measured, *predictor.predict_interval(tested, 0.9))
                mape = metrics.mape(measured, predictor.predict(tested))
                figures.setdefault((device, name, len(train)), []).append((mape, covered))
    unknown = float("nan")
    return [
        Row(networks.name, device, name, n, mape, *[unknown] * 5, covered, *[unknown] * 3)
        for (device, name, n), found in figures.items()
        for mape, covered in [np.mean(found, axis=0).tolist()]
    ]


def _every(folder: Path) -> Iterable[Networks]:
    yield nasbench201(folder)
    yield fbnet(folder)
    yield ofa(folder)
    yield from hat(folder)


def _baselines(networks: Networks) -> list[Row]:
    """What a one-hot table and boosted trees reach on the same training sets."""
    space = networks.space
    return [
        evaluate(networks, device, name, make, networks.archs, n)
        for name, make in (
            ("lut", lambda: LutPredictor(space)),
            ("xgboost", lambda: XGBoostPredictor(space, trees=200)),
        )
        for device in networks.latencies_ms
        for n in SIZES
        if name != "lut" or n > sum(networks.space.choices) - len(networks.space.choices)
    ]


def summary(rows: Sequence[Row]) -> str:
    """Markdown: the goals, each device by training size, and the predictors side by side."""
    lines = [
        f"`{COMMAND}`",
        "",
        "Predictors on latencies that others measured, none on hwprof's own. MAPE in %, means of "
        f"{SEEDS} random training sets of N networks, tested on {TEST_NETWORKS} others.",
        "",
        "## NAS-Bench-201, mean of 12 devices, connected cells",
        "",
        "| N | physical | goal | lut | xgboost | floor | coverage of 90 % intervals | within 10 % | Kendall's tau |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    nb201 = [row for row in rows if row.space == "nasbench201"]
    for n in SIZES:
        ours = [row for row in nb201 if row.n == n and row.predictor == "physical"]
        cells = [f"{_mean(ours, 'mape'):.2f}", f"{GOALS[n]:.1f}"]
        for name in ("lut", "xgboost"):
            others = [row for row in nb201 if row.n == n and row.predictor == name]
            cells.append(f"{_mean(others, 'mape'):.1f}" if others else "")
        cells += [f"{_mean(ours, 'floor'):.2f}", f"{_mean(ours, 'coverage_90'):.1f}", f"{_mean(ours, 'within_10'):.0f}"]
        lines.append(f"| {n} | {' | '.join(cells)} | {_mean(ours, 'kendall'):.3f} |")
    lines += ["", *_goal_lines(rows)]
    lines += ["", "## Physical, each device", "", _device_header(), "|---" * (3 + 2 * len(SIZES)) + "|"]
    keys = dict.fromkeys((row.space, row.device) for row in rows)
    return "\n".join([*lines, *(_device_line(rows, *key) for key in keys)]) + "\n"


def _goal_lines(rows: Sequence[Row]) -> list[str]:
    """The other goals against what was measured, those not met included."""
    lines = [
        "## Goals", "",
        f"HAT's scatter has heavy tails: beside the MAPE stand the median error and what boosted trees reach from "
        f"{MANY} networks. OFA is held to figures of devices that are alike, at batch 1 to their upper ends.", "",
        "| what | measured | goal | |", "|---|---|---|---|",
    ]  # fmt: skip
    physical = [row for row in rows if row.predictor == "physical"]
    for n, goal in GOALS.items():
        mape = _mean([row for row in physical if row.space == "nasbench201" and row.n == n], "mape")
        lines.append(_goal(f"nasbench201, MAPE at {n}", f"{mape:.2f}", f"at most {goal}", mape <= goal))
    least, most = COVERAGE_GOAL
    for n in (20, 100):
        covered = [row.coverage_90 for row in physical if row.n == n]
        text = f"{np.mean(covered):.1f} ({min(covered):.0f} to {max(covered):.0f})"
        what = f"coverage at {n}, mean and range of {len(covered)} latencies"
        lines.append(_goal(what, text, f"{least} to {most}", least <= np.mean(covered) <= most))
    for (space, device), known in KNOWN.items():
        ours = {row.n: row for row in physical if (row.space, row.device) == (space, device)}
        many = [f"; trees {r.mape:.1f}" for r in rows if (r.space, r.device, r.n) == (space, device, MANY)]
        for n, goal in zip((10, 100), known, strict=True):
            text = f"{ours[n].mape:.2f} (median {ours[n].median_error:.2f}{''.join(many)})"
            lines.append(_goal(f"{space} {device}, MAPE at {n}", text, f"{goal}", ours[n].mape <= goal))
    for space in ("nasbench201", "fbnet"):
        found = {
            name: [row for row in rows if (row.space, row.predictor) == (space, name)]
            for name in ("transfer", "transfer, random", "alone")
        }
        mape = {name: _mean(those, "mape") for name, those in found.items()}
        what = f"{space}, transfer: MAPE with {TRANSFERRED} informative networks against {ALONE} random ones alone"
        text = (
            f"{mape['transfer']:.2f} ({TRANSFERRED} random: {mape['transfer, random']:.2f}; coverage "
            f"{_mean(found['transfer'], 'coverage_90'):.0f})"
        )
        lines.append(_goal(what, text, f"{mape['alone']:.2f}", mape["transfer"] <= mape["alone"]))
    return lines


def _goal(what: str, measured: str, goal: str, met: bool) -> str:
    return f"| {what} | {measured} | {goal} | {'met' if met else 'not met'} |"


def _device_header() -> str:
    sizes = [*(f"MAPE {n}" for n in SIZES), *(f"coverage {n}" for n in SIZES)]
    return f"| space | device | {' | '.join(sizes)} | floor |"


def _device_line(rows: Sequence[Row], space: str, device: str) -> str:
    ours = [r for r in rows if (r.space, r.device, r.predictor) == (space, device, "physical")]
    cells = [*(f"{r.mape:.2f}" for r in ours), *(f"{r.coverage_90:.0f}" for r in ours)]
    floor = "" if np.isnan(ours[0].floor) else f"{ours[0].floor:.2f}"
    return f"| {space} | {device} | {' | '.join(cells)} | {floor} |"


def _mean(rows: Sequence[Row], figure: str) -> float:
    return float(np.mean([getattr(row, figure) for row in rows]))


def main() -> None:
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT.parent / "shared" / "data"
    if not folder.is_dir():
        sys.exit(f"no data in {folder}; give the folder as the first argument")
    rows = run(folder)
    out = ROOT / "reports" / "predict-others"
    out.mkdir(parents=True, exist_ok=True)
    (out / "README.md").write_text(summary(rows), encoding="utf-8")
    record = {"command": COMMAND, "rows": [asdict(row) for row in rows]}
    (out / "results.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    print(summary(rows))


if __name__ == "__main__":
    main()
