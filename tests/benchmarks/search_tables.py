"""Compares the searches at equal evaluations where accuracies and latencies are in tables: NAS-Bench-201.

    OMP_NUM_THREADS=1 python tests/benchmarks/search_tables.py [DATA_FOLDER]      # writes reports/search

DATA_FOLDER defaults to ../shared/data beside the repository. Each figure is a line of reports/search/rows.jsonl as soon
as it is known: the same command goes on where it was stopped, and computes nothing twice. It takes about ten minutes of
one core. The scores are accuracies on CIFAR-100 after 200 epochs; the latencies are those that others measured on two
devices. Three budgets for each device let 10, 25 and 50 % of the cells pass.
"""

# ruff: noqa: E501 -- the lines of the report

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from matplotlib.figure import Figure

from hwprof import plugins
from hwprof.interfaces import Arch, Search, Trial
from hwprof.measure import environment
from hwprof.search.early_stop import EarlyStop
from hwprof.search.predictor_guided import PredictorSearch, forest, process, sample_efficiency_gain
from hwprof.search.qlearning import QLearning
from hwprof.search.run import BATCH, Limit, Plan, run
from hwprof.search.strategies import strategy
from hwprof.search.table_score import TableScore
from hwprof.spaces.varied import VariedSpace

ROOT = Path(__file__).parents[2]
COMMAND = "OMP_NUM_THREADS=1 python tests/benchmarks/search_tables.py"
OUT = ROOT / "reports" / "search"
ROWS = OUT / "rows.jsonl"
FOLDER = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT.parent / "shared" / "data"
SPACE = VariedSpace("nasbench201")
SCORES, SHORT_SCORES = "cifar100_test_200", "ep12_cifar100"
DEVICES = ("gold_6240", "raspi4")
SHARES = (0.1, 0.25, 0.5)  # of the cells that are within the budget
CHECKPOINTS = (50, 100, 200)
SEEDS = 10
SLOW = ("esnac",)  # they are computed last, and only for as many evaluations as their goal needs
SLOW_EVALUATIONS = 100
POOLS = ("full", "random", "neighbours")
MODELS = {"forest": forest, "process": process}
GAIN_SEEDS, TARGETS, GAIN_BATCH, SUBSET = 32, 16, 16, 48
POLICY_SEEDS, POLICY_EVALUATIONS, POLICY_LAST = 20, 500, 50
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
        strategy(strategy_name, SPACE, seed), shrunk, Limit(lambda archs: np.ones(len(archs))), Plan(SHRINK_CHECKPOINTS[-1])
    ).trials
    return {"best": [round(max(t.score for t in trials[:n]), 5) for n in SHRINK_CHECKPOINTS]}


WORK: dict[str, Callable[..., Row]] = {
    "curve": curve, "gain": evaluations_to_target, "policy": policy_reward, "shrink": shrinking,
}  # fmt: skip


def wanted() -> Iterator[tuple[str, dict[str, Any]]]:
    """All rows, each by its kind and the arguments of its function; what is quick comes first."""
    names = plugins.names("search")
    quick, slow = [n for n in names if n not in SLOW], [n for n in names if n in SLOW]
    for seed in range(SEEDS):
        for setting in settings():
            for name in quick:
                yield "curve", {"strategy_name": name, "device": setting.device, "share": setting.share, "seed": seed}
    for seed in range(GAIN_SEEDS):
        for model in MODELS:
            for pool in POOLS:
                yield "gain", {"model": model, "pool": pool, "seed": seed}
    for seed in range(POLICY_SEEDS):
        yield "policy", {"seed": seed}
    for seed in range(SHRINK_SEEDS):
        for name in ("random", "predictor", *slow):
            yield "shrink", {"strategy_name": name, "seed": seed}
    for seed in range(SEEDS):
        for setting in settings():
            for name in slow:
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
