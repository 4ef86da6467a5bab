"""Compares the searches at equal evaluations where accuracies and latencies are in tables: NAS-Bench-201.

    OMP_NUM_THREADS=1 python tests/benchmarks/search_tables.py [DATA_FOLDER]      # writes reports/search

DATA_FOLDER defaults to ../shared/data beside the repository. It takes about ten minutes of two cores. The scores are
accuracies on CIFAR-100 after 200 epochs; the latencies are those that others measured on two devices. Three budgets for
each device let 10, 25 and 50 % of the cells pass.
"""

# ruff: noqa: E501 -- the lines of the report

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import cache, partial
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from hwprof import plugins
from hwprof.interfaces import Arch, Search, Trial
from hwprof.measure import environment
from hwprof.search.predictor_guided import PredictorSearch, sample_efficiency_gain
from hwprof.search.qlearning import QLearning
from hwprof.search.run import BATCH, Limit, Plan, run
from hwprof.search.strategies import strategy
from hwprof.search.table_score import TableScore
from hwprof.spaces.varied import VariedSpace

ROOT = Path(__file__).parents[2]
COMMAND = "OMP_NUM_THREADS=1 python tests/benchmarks/search_tables.py"
OUT = ROOT / "reports" / "search"
FOLDER = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT.parent / "shared" / "data"
SPACE = VariedSpace("nasbench201")
SCORES = "cifar100_test_200"
DEVICES = ("gold_6240", "raspi4")
SHARES = (0.1, 0.25, 0.5)  # of the cells that are within the budget
CHECKPOINTS = (50, 100, 200)
SEEDS = 10
POOLS = ("full", "random", "neighbours")
GAIN_SEEDS, TARGETS, GAIN_BATCH = 32, 16, 16
POLICY_SEEDS, POLICY_EVALUATIONS, POLICY_LAST = 20, 500, 50


@dataclass(frozen=True, slots=True)
class Setting:
    device: str
    share: float


@dataclass(frozen=True, slots=True)
class Curve:
    """best: [n_evaluations], the best accuracy so far, %. ask_ms: mean time of a call of `ask` and the `tell` after it,
    for each architecture asked for. refused: architectures."""

    strategy: str
    device: str
    share: float
    seed: int
    best: list[float]
    ask_ms: float
    refused: int


class Timed:
    """A search that adds up the time that it takes itself."""

    def __init__(self, search: Search) -> None:
        self._search, self.seconds, self.asked = search, 0.0, 0

    def ask(self, n: int) -> list[Arch]:
        start = time.perf_counter()
        archs = self._search.ask(n)
        self.seconds += time.perf_counter() - start
        self.asked += len(archs)
        return archs

    def tell(self, trials: Sequence[Trial]) -> None:
        start = time.perf_counter()
        self._search.tell(trials)
        self.seconds += time.perf_counter() - start


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


def best_feasible(setting: Setting) -> float:
    latencies = table("nb201_latency_ms", setting.device).by_arch
    return max(score for arch, score in scores().by_arch.items() if latencies[arch] <= limit(setting).ms)


def curve(name: str, setting: Setting, seed: int) -> Curve:
    timed = Timed(strategy(name, SPACE, seed))
    searched = run(timed, scores(), limit(setting), Plan(CHECKPOINTS[-1]))
    best = np.maximum.accumulate([trial.score for trial in searched.trials])
    padded = np.pad(best, (0, CHECKPOINTS[-1] - len(best)), mode="edge")  # it had nothing new to propose
    ask_ms = 1000 * timed.seconds / max(1, timed.asked)
    return Curve(
        name, setting.device, setting.share, seed, [round(b, 3) for b in padded.tolist()], ask_ms, searched.refused
    )


def evaluations_to_target(pool: str, seed: int) -> int:
    """How many evaluations find one of the `TARGETS` most accurate cells, at any latency."""
    lowest = sorted(scores().by_arch.values())[-TARGETS]
    search = PredictorSearch(SPACE, seed, pool, subset=48, initial=GAIN_BATCH, refit=GAIN_BATCH)
    told = 0
    while True:
        trials = [Trial(arch, scores()(arch), 1.0) for arch in search.ask(GAIN_BATCH)]
        for trial in trials:
            told += 1
            if trial.score >= lowest:
                return told
        search.tell(trials)


def policy_reward(seed: int) -> tuple[float, float]:
    """BlockQNN's claim: mean reward of the last networks of Q-learning, with repeats, and the best one of the run.

    Reward: accuracy as a share - 0.05 log(latency / mean latency), on gold_6240.
    """
    latencies = table("nb201_latency_ms", "gold_6240")
    mean_ms = float(np.mean(list(latencies.by_arch.values())))
    search = QLearning(SPACE, seed, horizon=POLICY_EVALUATIONS // 2)
    rewards: list[float] = []
    while len(rewards) < POLICY_EVALUATIONS:
        archs = search.ask(BATCH)
        values = [reward(scores()(arch), latencies(arch), mean_ms) for arch in archs]
        rewards += values
        search.tell([Trial(arch, value, latencies(arch)) for arch, value in zip(archs, values, strict=True)])
    return float(np.mean(rewards[-POLICY_LAST:])), max(rewards)


def reward(accuracy: float, ms: float, mean_ms: float) -> float:
    return accuracy / 100 - 0.05 * float(np.log(ms / mean_ms))


# -- the report --------------------------------------------------------------------------------------


def main() -> None:
    names = plugins.names("search")
    settings = [Setting(device, share) for device in DEVICES for share in SHARES]
    with ProcessPoolExecutor(2) as pool:
        jobs = [pool.submit(curve, n, s, seed) for s in settings for n in names for seed in range(SEEDS)]
        needed = {p: list(pool.map(partial(evaluations_to_target, p), range(GAIN_SEEDS))) for p in POOLS}
        policies = list(pool.map(policy_reward, range(POLICY_SEEDS)))
        curves = [job.result() for job in jobs]
    OUT.mkdir(parents=True, exist_ok=True)
    (OUT / "results.json").write_text(
        json.dumps({"curves": [asdict(c) for c in curves], "needed": needed, "policies": policies}) + "\n"
    )
    draw(curves, settings, names)
    (OUT / "README.md").write_text(page(curves, settings, names, needed, policies))


def matrix(curves: Sequence[Curve], name: str, setting: Setting) -> np.ndarray:
    """[n_seeds, n_evaluations]"""
    return np.array(
        [c.best for c in curves if (c.strategy, c.device, c.share) == (name, setting.device, setting.share)]
    )


def page(curves, settings, names, needed, policies) -> str:
    lines = [
        f"`{COMMAND}`", "", "# Searches at equal evaluations, on tables", "",
        f"NAS-Bench-201, accuracy on CIFAR-100 after 200 epochs; latencies that others measured on {' and '.join(DEVICES)} "
        f"(gold_6226 of the goal is not among the data). {SEEDS} seeds, the architectures of a batch ({BATCH}) are asked "
        "for together. Every strategy sees the latencies of the table, so that no network of its own breaks the budget; "
        f"nothing was measured here. Computed on {environment.hardware()['cpu']}.", "",
        "Regret: the best accuracy within the budget minus the best one found, points, mean and standard error. Against "
        "random: how much smaller the regret is than random search's, paired by seed, with its standard error.", "",
        "![Best accuracy within the budget over evaluations, mean and standard error](search.svg)", "",
    ]  # fmt: skip
    lines += regrets(curves, settings, names)
    lines += ["## Goals", "", "| goal | reached |", "|---|---|", *goals(curves, settings, names, needed, policies), ""]
    lines += ["## Sample-efficiency gain (Mauch et al., arXiv 2011.12043)", ""]
    lines += [
        f"Evaluations until one of the {TARGETS} most accurate cells is found, at any latency; {GAIN_SEEDS} seeds, batch "
        f"{GAIN_BATCH}, subsets of 48. Random search needs {(15625 + 1) / (TARGETS + 1):.0f} on average.", "",
        "| pool | evaluations | gain |", "|---|---|---|",
    ]  # fmt: skip
    lines += [f"| {p} | {np.mean(n):.0f} ± {error(n):.0f} | {gain(n):.1f} |" for p, n in needed.items()]
    last, best = np.array(policies).T
    space_mean = mean_reward()
    lines += [
        "", "## Q-learning's policy (BlockQNN, arXiv 1808.05584)", "",
        f"Reward: accuracy as a share - 0.05 log(latency / mean latency), gold_6240; {POLICY_EVALUATIONS} networks with "
        f"repeats, {POLICY_SEEDS} seeds. Mean reward of the space {space_mean:.3f}, of the last {POLICY_LAST} networks "
        f"{last.mean():.3f} ± {error(last):.3f}; the best of a run {best.mean():.4f}, of as many random networks "
        f"{random_best():.4f}.", "",
        "## Time of a search itself", "",
        "| strategy | ms per architecture asked for | refused per run |", "|---|---|---|",
    ]  # fmt: skip
    for name in names:
        own = [c for c in curves if c.strategy == name]
        lines.append(f"| {name} | {np.mean([c.ask_ms for c in own]):.2f} | {np.mean([c.refused for c in own]):.0f} |")
    return "\n".join(lines) + "\n"


def regrets(curves, settings, names) -> list[str]:
    lines = []
    for setting in settings:
        best, random = best_feasible(setting), matrix(curves, "random", setting)
        lines += [
            f"## {setting.device}, {limit(setting).ms:.2f} ms: {setting.share:.0%} of the cells fit, the best has {best:.2f} %",
            "", f"| strategy | {' | '.join(f'at {n} | against random' for n in CHECKPOINTS)} |",
            f"|---|{'---|---|' * len(CHECKPOINTS)}",
        ]  # fmt: skip
        for name in names:
            found = matrix(curves, name, setting)
            cells = []
            for n in CHECKPOINTS:
                regret, gained = best - found[:, n - 1], found[:, n - 1] - random[:, n - 1]
                cells += [f"{regret.mean():.2f} ± {error(regret):.2f}"]
                cells += ["" if name == "random" else f"{gained.mean():+.2f} ± {error(gained):.2f}"]
            lines.append(f"| {name} | {' | '.join(cells)} |")
        lines.append("")
    return lines


def goals(curves, settings, names, needed, policies) -> list[str]:
    below, regret = [], {}
    for name in names:
        gained = [
            matrix(curves, name, s)[:, n - 1].mean() - matrix(curves, "random", s)[:, n - 1].mean()
            for s in settings
            for n in CHECKPOINTS
        ]
        below += [f"{name} in {sum(g < 0 for g in gained)} of {len(gained)}"] if min(gained) < 0 else []
        regret[name] = [best_feasible(s) - matrix(curves, name, s)[:, 99].mean() for s in settings]
    best = min(regret, key=lambda name: float(np.mean(regret[name])))
    gains = {p: gain(n) for p, n in needed.items()}
    is_ordered = gains["random"] < gains["full"] <= gains["neighbours"]
    policy = float(np.mean([last for last, _ in policies])) - mean_reward()
    within = sum(r <= 0.5 for r in regret[best])
    return [
        f"| every strategy at least random on the mean | {'no: below random ' + ', '.join(below) if below else 'yes'} |",
        f"| the best one at 100 evaluations within 0.5 points of the best feasible accuracy | {best}, in {within} of "
        f"{len(settings)} settings: {', '.join(f'{r:.2f}' for r in regret[best])} |",
        f"| gain of a random subset < full <= neighbours | {'yes' if is_ordered else 'no'} |",
        f"| Q-learning's last rewards at least 0.05 above the mean of the space | {'yes' if policy >= 0.05 else 'no'}: "
        f"{policy:+.3f} |",
    ]


def gain(evaluations: Sequence[int]) -> float:
    return sample_efficiency_gain(evaluations, 15625, TARGETS)


def error(values: Sequence[float] | np.ndarray) -> float:
    """The standard error of the mean."""
    return float(np.std(values, ddof=1) / np.sqrt(len(values)))


@cache
def all_rewards() -> np.ndarray:
    """[n_cells]"""
    latencies = table("nb201_latency_ms", "gold_6240").by_arch
    mean_ms = float(np.mean(list(latencies.values())))
    return np.array([reward(score, latencies[arch], mean_ms) for arch, score in scores().by_arch.items()])


def mean_reward() -> float:
    return float(all_rewards().mean())


def random_best() -> float:
    """The mean over seeds of the best of as many random cells."""
    draws = [
        np.random.default_rng(seed).choice(all_rewards(), POLICY_EVALUATIONS, replace=False)
        for seed in range(POLICY_SEEDS)
    ]
    return float(np.mean([draw.max() for draw in draws]))


def draw(curves, settings, names) -> None:
    figure = Figure(figsize=(12, 7), layout="constrained")
    axes = figure.subplots(len(DEVICES), len(SHARES), sharex=True).flat
    x = np.arange(1, CHECKPOINTS[-1] + 1)
    for ax, setting in zip(axes, settings, strict=True):
        for number, name in enumerate(names):
            found = matrix(curves, name, setting)
            mean, band = found.mean(axis=0), found.std(axis=0, ddof=1) / np.sqrt(len(found))
            ax.plot(x, mean, color=f"C{number}", label=name, linestyle="--" if name == "random" else "-")
            ax.fill_between(x, mean - band, mean + band, color=f"C{number}", alpha=0.15, linewidth=0)
        best = best_feasible(setting)
        ax.axhline(best, color="black", linewidth=0.8, linestyle=":")
        ax.set_ylim(best - 6, best + 0.3)
        ax.set_title(f"{setting.device}, {limit(setting).ms:.2f} ms ({setting.share:.0%} fit)", fontsize=10)
        ax.set_xlabel("evaluations")
        ax.set_ylabel("best accuracy that fits, %")
    figure.legend(names, loc="outside lower center", ncols=len(names))
    figure.savefig(OUT / "search.svg", metadata={"Date": None})


if __name__ == "__main__":
    main()
