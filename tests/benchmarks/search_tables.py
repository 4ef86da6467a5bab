"""Compares the searches at equal evaluations where accuracies and latencies are in tables: NAS-Bench-201.

    OMP_NUM_THREADS=1 python tests/benchmarks/search_tables.py [DATA_FOLDER]      # writes reports/search

DATA_FOLDER defaults to ../shared/data beside the repository. Each figure is a line of reports/search/rows.jsonl as soon
as it is known: the same command goes on where it was stopped, and computes nothing twice. It takes about ten minutes of
one core. The scores are accuracies on CIFAR-100 after 200 epochs; the latencies are those that others measured on two
devices. Three budgets for each device let 10, 25 and 50 % of the cells pass.
"""

# ruff: noqa: E501 -- the lines of the report

from __future__ import annotations

import itertools
import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pyarrow.parquet as pq

from hwprof import cost, plugins
from hwprof.interfaces import Arch, Search, Trial
from hwprof.metrics import kendall
from hwprof.predictors.device_choice import DeviceChoice, Pick
from hwprof.search.early_stop import EarlyStop, density, fitted
from hwprof.search.optimization_gap import optimization_gap
from hwprof.search.predictor_guided import PredictorSearch, forest, process
from hwprof.search.qlearning import QLearning
from hwprof.search.reduction import reduced
from hwprof.search.run import BATCH, Limit, Plan, run
from hwprof.search.score_fitting import FittedScores
from hwprof.search.strategies import strategy
from hwprof.search.table_score import TableScore
from hwprof.search.training_free import ActivationScore
from hwprof.spaces.nasbench201 import NasBench201
from hwprof.spaces.varied import VariedSpace

ROOT = Path(__file__).parents[2]
COMMAND = "OMP_NUM_THREADS=1 python tests/benchmarks/search_tables.py"
OUT = ROOT / "reports" / "search"
ROWS = OUT / "rows.jsonl"
FOLDER = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT.parent / "shared" / "data"
SPACE = VariedSpace("nasbench201")
SCORES, SHORT_SCORES = "cifar100_test_200", "ep12_cifar100_test"
DEVICES = ("gold_6240", "raspi4")
SHARES = (0.1, 0.25, 0.5)  # of the cells that are within the budget
CHECKPOINTS = (50, 100, 200)
SEEDS = 10
SLOW = ("esnac",)  # only for as many evaluations as their goal needs
SLOW_EVALUATIONS, SLOW_SHARES = 100, (0.25,)
POOLS = ("full", "random", "neighbours")
MODELS = {"forest": forest, "process": process}
GAIN_SEEDS, TARGETS, GAIN_BATCH, SUBSET = 32, 16, 16, 48
POLICY_SEEDS, POLICY_EVALUATIONS, POLICY_LAST = 20, 500, 50
CELL_PATHS = ((3,), (0, 4), (1, 5), (0, 2, 5))  # edges, in the order of an architecture
SHRINK_SEEDS, SHRINK_CHECKPOINTS = 8, (32, 80)
Row: TypeAlias = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Setting:
    device: str
    share: float


class Timed:
    """A search that adds up the time that it takes itself."""

    def __init__(self, search: Search) -> None:
        self._search, self.seconds, self.asked = search, 0.0, 0

    def ask(self, n: int) -> list[Arch]:
        start = time.process_time()
        archs = self._search.ask(n)
        self.seconds += time.process_time() - start
        self.asked += len(archs)
        return archs

    def tell(self, trials: Sequence[Trial]) -> None:
        start = time.process_time()
        self._search.tell(trials)
        self.seconds += time.process_time() - start


@cache
def table(file: str, column: str) -> TableScore:
    return TableScore.load(FOLDER / f"{file}.parquet", SPACE, column)


def scores() -> TableScore:
    return table("nb201_accuracy", SCORES)


@cache
def limit(setting: Setting) -> Limit:
    latencies = table("nb201_latency_ms", setting.device)
    ms = float(np.quantile(list(latencies.by_arch.values()), setting.share))
    return Limit(lambda archs: np.array([latencies(tuple(arch)) for arch in archs.tolist()]), ms)


@cache
def best_feasible(setting: Setting) -> float:
    latencies = table("nb201_latency_ms", setting.device).by_arch
    return max(score for arch, score in scores().by_arch.items() if latencies[arch] <= limit(setting).ms)


# -- what is computed: each function returns the figures of one row -----------------------------------


def curve(strategy_name: str, device: str, share: float, seed: int) -> Row:
    """best: (evaluation, best accuracy from there, %). ask_ms: mean processor time of `ask` and the `tell` after it, for
    each architecture asked for. refused: architectures."""
    timed = Timed(strategy(strategy_name, SPACE, seed))
    most = SLOW_EVALUATIONS if strategy_name in SLOW else CHECKPOINTS[-1]
    searched = run(timed, scores(), limit(Setting(device, share)), Plan(most))
    best = np.maximum.accumulate([trial.score for trial in searched.trials])
    steps = [i for i in range(len(best)) if i == 0 or best[i] > best[i - 1]]
    return {
        "best": [(i + 1, round(float(best[i]), 3)) for i in steps], "refused": searched.refused,
        "ask_ms": round(1000 * timed.seconds / max(1, timed.asked), 4),
    }  # fmt: skip


def evaluations_to_target(model: str, pool: str, seed: int) -> Row:
    """How many evaluations find one of the `TARGETS` most accurate cells, at any latency."""
    lowest = sorted(scores().by_arch.values())[-TARGETS]
    search = PredictorSearch(
        SPACE, seed, pool, subset=SUBSET, initial=GAIN_BATCH, refit=GAIN_BATCH, model=MODELS[model]
    )
    told = 0
    while True:
        trials = [Trial(arch, scores()(arch), 1.0) for arch in search.ask(GAIN_BATCH)]
        for trial in trials:
            told += 1
            if trial.score >= lowest:
                return {"evaluations": told}
        search.tell(trials)


def policy_reward(seed: int) -> Row:
    """BlockQNN's claim: mean reward of the last networks of Q-learning, with repeats, and the best one of the run."""
    latencies = table("nb201_latency_ms", "gold_6240")
    search = QLearning(SPACE, seed, horizon=POLICY_EVALUATIONS // 2)
    rewards: list[float] = []
    while len(rewards) < POLICY_EVALUATIONS:
        archs = search.ask(BATCH)
        values = [reward(scores()(arch), latencies(arch)) for arch in archs]
        rewards += values
        search.tell([Trial(arch, value, latencies(arch)) for arch, value in zip(archs, values, strict=True)])
    return {"last": float(np.mean(rewards[-POLICY_LAST:])), "best": max(rewards)}


def reward(accuracy: float, ms: float) -> float:
    """Accuracy as a share - 0.05 log(latency / mean latency), on gold_6240."""
    return EarlyStop(mu=0.05)(accuracy / 100, ms / mean_ms("gold_6240"))


@cache
def mean_ms(device: str) -> float:
    return float(np.mean(list(table("nb201_latency_ms", device).by_arch.values())))


def shrinking(strategy_name: str, seed: int) -> Row:
    """ESNAC's reward C (2 - C) A, C = 1 - latency / that of the slowest cell and A = accuracy / the best one, on
    gold_6240: the best after `SHRINK_CHECKPOINTS` evaluations."""
    latencies = table("nb201_latency_ms", "gold_6240")
    slowest, best = max(latencies.by_arch.values()), max(scores().by_arch.values())

    def shrunk(arch: Arch) -> float:
        c = 1 - latencies(arch) / slowest
        return c * (2 - c) * scores()(arch) / best

    trials = run(
        strategy(strategy_name, SPACE, seed),
        shrunk,
        Limit(lambda archs: np.ones(len(archs))),
        Plan(SHRINK_CHECKPOINTS[-1]),
    ).trials
    return {"best": [round(max(t.score for t in trials[:n]), 5) for n in SHRINK_CHECKPOINTS]}


def reduction(seed: int) -> Row:
    """C-BRED on the cells that compute something different: the accuracies of the chosen cluster and of all, and the
    rank correlation of score and accuracy over the clusters."""
    archs = unlike_cells()
    proxy = ActivationScore(seed=seed)
    found = reduced(
        SPACE, archs, np.array([path_features(a) for a in archs]), lambda a: proxy(SMALL.graph(a)), seed=seed
    )
    accuracy = {cluster: np.mean([scores()(a) for a in cluster.archs]) for cluster in found.clusters}
    ranked = [c for c in found.clusters if c.score is not None]
    return {
        "chosen": float(accuracy[found.kept]), "all": float(np.mean([scores()(a) for a in archs])),
        "size": len(found.kept.archs), "best": max(scores()(a) for a in found.kept.archs),
        "kendall": kendall(np.array([accuracy[c] for c in ranked]), np.array([c.score for c in ranked])),
    }  # fmt: skip


@cache
def unlike_cells() -> list[Arch]:
    """One of the cells that compute the same, for each of the 6,466 computations."""
    rows = pq.read_table(FOLDER / "nb201_accuracy.parquet", columns=["arch", "unique_str"]).to_pylist()
    return list({row["unique_str"]: SPACE.parse(row["arch"]) for row in reversed(rows)}.values())


def path_features(arch: Arch) -> list[float]:
    """Of the cell's paths from input to output that carry something: how many, the operations on them, the convolutions
    of the longest, and of all together."""
    live = [path for path in CELL_PATHS if all(arch[edge] for edge in path)]
    edges = {edge for path in live for edge in path}
    convolutions = [sum(arch[edge] in (2, 3) for edge in path) for path in live]
    counts = [sum(arch[edge] == operation for edge in edges) for operation in range(1, 5)]
    return [len(live), *counts, max(convolutions, default=0), sum(convolutions)]


def fitting(n: int, seed: int) -> Row:
    """Scores of n random cells after 12 epochs, raw and fitted: rank correlation with the accuracy after 200, over all
    of them and over the better half; and the time of a table of the whole space, ms."""
    short = table("nb201_accuracy", SHORT_SCORES)
    archs = list(short.by_arch)
    drawn = [archs[i] for i in np.random.default_rng(seed).permutation(len(archs))[:n]]
    raw, final = [short(a) for a in drawn], [scores()(a) for a in drawn]
    model = FittedScores(SPACE.choices, seed=seed).fit(drawn, raw)
    start = time.process_time()
    model(archs)
    ms = 1000 * (time.process_time() - start)
    gaps = [optimization_gap(values, final) for values in (raw, model(drawn).tolist())]
    return {"kendall": [g.kendall for g in gaps], "upper": [g.kendall_upper for g in gaps], "table_ms": ms}


def early_stop(seed: int) -> Row:
    """Rank correlation with the accuracy after 200 epochs of that after 12, and of the redefined reward: mu and rho are
    fitted to 30 cells and tested on 200 others. Cost: MACs."""
    short = table("nb201_accuracy", SHORT_SCORES)
    order = np.random.default_rng(seed).permutation(len(short.by_arch))[:230]
    archs = [list(short.by_arch)[i] for i in order]
    graphs = [SMALL.graph(a) for a in archs]
    costs, densities = [float(cost.of(g).macs or 1) for g in graphs], [density(g) for g in graphs]
    early, final = [short(a) for a in archs], [scores()(a) for a in archs]
    reward = fitted(early[:30], final[:30], costs[:30], densities[:30])
    redefined = [reward(*each) for each in zip(early, costs, densities, strict=True)]
    return {
        "kendall": [kendall(np.array(final[30:]), np.array(v[30:])) for v in (early, redefined)],
        "mu": reward.mu,
        "rho": reward.rho,
    }


def picking(name: str, first: str, second: str) -> Row:
    """A choice of a device that learned from 200 networks: of 2,000 others, how many it decides, and how many rightly."""
    space, archs, ms = latencies_of(name)
    decided = right = 0
    for seed in range(3):
        order = np.random.default_rng(seed).permutation(len(archs))
        known, others = order[:200], order[200:2200]
        choice = DeviceChoice(space).fit([archs[i] for i in known], ms[first][known], ms[second][known])
        for i, pick in zip(others, choice.pick([archs[i] for i in others]), strict=True):
            faster = ms[first][i] - ms[second][i]
            decided += pick is not Pick.CANNOT_TELL
            right += (pick is Pick.FIRST and faster <= 0) or (pick is Pick.SECOND and faster >= 0)
    return {"decided": decided, "right": right, "of": 6000}


@cache
def latencies_of(name: str) -> tuple[Any, list[Arch], dict[str, np.ndarray]]:
    """A space, its architectures, and their latencies by device, ms."""
    file = {"nasbench201": "nb201", "fbnet": "fbnet", "ofa_mbv3": "ofa"}[name]
    rows = pq.read_table(FOLDER / f"{file}_latency_ms.parquet").to_pylist()
    space: Any = plugins.load("space", name)
    read = {
        "nasbench201": lambda r: space.parse(r["arch"]),
        "fbnet": lambda r: space.parse(r["arch_str"]),
        "ofa_mbv3": space.from_columns,
    }[name]
    devices = [c for c, value in rows[0].items() if isinstance(value, float)]
    return space, [read(row) for row in rows], {d: np.array([row[d] for row in rows]) for d in devices}


SMALL = NasBench201(channels=8, cells=1, resolution=16)
WORK: dict[str, Callable[..., Row]] = {
    "curve": curve, "gain": evaluations_to_target, "policy": policy_reward, "shrink": shrinking,
    "reduction": reduction, "fitting": fitting, "early_stop": early_stop, "pick": picking,
}  # fmt: skip


def wanted() -> Iterator[tuple[str, dict[str, Any]]]:
    """All rows, each by its kind and the arguments of its function; what is quick comes first."""
    names = [name for name in plugins.names("search") if name not in SLOW]
    yield from curves(["evolution", "nsga2", "predictor", "qlearning", "random", "reinforce"], SHARES)
    yield from (("gain", {"model": "process", "pool": p, "seed": s}) for s in range(GAIN_SEEDS) for p in POOLS)
    yield from (("policy", {"seed": seed}) for seed in range(POLICY_SEEDS))
    shrunk = ("random", "predictor", "esnac")
    yield from (("shrink", {"strategy_name": n, "seed": s}) for s in range(SHRINK_SEEDS) for n in shrunk)
    yield from (("reduction", {"seed": seed}) for seed in range(5))
    yield from (("fitting", {"n": n, "seed": seed}) for seed in range(5) for n in (100, 500))
    yield from (("early_stop", {"seed": seed}) for seed in range(5))
    for name in ("nasbench201", "fbnet", "ofa_mbv3"):
        devices = latencies_of(name)[2]
        yield from (("pick", {"name": name, "first": a, "second": b}) for a, b in itertools.combinations(devices, 2))
    yield from curves(SLOW, SLOW_SHARES)
    yield from curves(names, SHARES)
    yield from (("gain", {"model": "forest", "pool": p, "seed": s}) for s in range(GAIN_SEEDS) for p in POOLS)


def curves(names: Sequence[str], shares: Sequence[float]) -> Iterator[tuple[str, dict[str, Any]]]:
    chosen = [setting for setting in settings() if setting.share in shares]
    for seed, setting, name in itertools.product(range(SEEDS), chosen, names):
        yield "curve", {"strategy_name": name, "device": setting.device, "share": setting.share, "seed": seed}


def settings() -> list[Setting]:
    return [Setting(device, share) for device in DEVICES for share in SHARES]


def compute() -> None:
    """Adds the rows that are missing to the file."""
    OUT.mkdir(parents=True, exist_ok=True)
    known = {key(row["kind"], row["given"]) for row in stored()}
    with ROWS.open("a") as stream:
        for kind, given in wanted():
            if key(kind, given) not in known:
                stream.write(json.dumps({"kind": kind, "given": given, "found": WORK[kind](**given)}) + "\n")
                stream.flush()


def stored() -> list[Row]:
    """The rows of the file, without one that was cut off while it was written."""
    lines = ROWS.read_text().splitlines() if ROWS.is_file() else []
    return [json.loads(line) for line in lines if line.endswith("}}")]


def key(kind: str, given: Row) -> str:
    return f"{kind} {json.dumps(given, sort_keys=True)}"


if __name__ == "__main__":
    compute()
