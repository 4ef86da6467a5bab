"""Compares the searches at equal evaluations where accuracies and latencies are in tables: NAS-Bench-201.

    OMP_NUM_THREADS=1 python tests/benchmarks/search_tables.py [DATA_FOLDER] [--report]      # writes reports/search

DATA_FOLDER defaults to ../shared/data beside the repository; --report writes the page from the rows that are there. Each figure is a line of reports/search/rows.jsonl as soon
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
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pyarrow.parquet as pq
from matplotlib import colormaps
from matplotlib.figure import Figure

from hwprof import cost, plugins
from hwprof.interfaces import Arch, Search, Trial
from hwprof.measure import environment
from hwprof.metrics import kendall
from hwprof.predictors.device_choice import DeviceChoice, Pick
from hwprof.search.early_stop import EarlyStop, density, fitted
from hwprof.search.mads import Variable, minimize
from hwprof.search.optimization_gap import optimization_gap
from hwprof.search.predictor_guided import PredictorSearch, forest, process, sample_efficiency_gain
from hwprof.search.qlearning import QLearning
from hwprof.search.reduction import reduced
from hwprof.search.run import BATCH, Limit, Plan, run
from hwprof.search.score_fitting import FittedScores
from hwprof.search.strategies import strategy
from hwprof.search.table_score import TableScore
from hwprof.search.training_free import ActivationScore
from hwprof.spaces.nasbench201 import NasBench201
from hwprof.spaces.varied import VariedSpace

sys.path.insert(0, str(Path(__file__).parent))
import small_supernet  # beside this file

ROOT = Path(__file__).parents[2]
COMMAND = "OMP_NUM_THREADS=1 python tests/benchmarks/search_tables.py"
OUT = ROOT / "reports" / "search"
ROWS = OUT / "rows.jsonl"
FOLDER = Path(sys.argv[1]) if sys.argv[1:] not in ([], ["--report"]) else ROOT.parent / "shared" / "data"
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
GAIN_SEEDS, TARGETS, GAIN_BATCH, SUBSET, GAIN_MOST = 30, 16, 16, 48, 1000
POLICY_SEEDS, POLICY_EVALUATIONS, POLICY_LAST = 20, 500, 50
CELL_PATHS = ((3,), (0, 4), (1, 5), (0, 2, 5))  # edges, in the order of an architecture
SCORED, ALONE = 300, 30  # networks of a supernet
SHRINK_SEEDS, SHRINK_CHECKPOINTS = 8, (32, 80)
DISK_STARTS, DISK_SEEDS, DISK_EVALUATIONS = ((-1.2, 1.0), (0.0, 0.0), (-1.0, -1.0), (1.4, 1.4)), 10, 200
PICK_SPACES = ("nasbench201", "fbnet", "ofa_mbv3")
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
    """How many evaluations find one of the `TARGETS` most accurate cells, at any latency; `GAIN_MOST` where that many
    do not."""
    lowest = sorted(scores().by_arch.values())[-TARGETS]
    search = PredictorSearch(
        SPACE, seed, pool, subset=SUBSET, initial=GAIN_BATCH, refit=GAIN_BATCH, model=MODELS[model]
    )
    told = 0
    while told < GAIN_MOST:
        trials = [Trial(arch, scores()(arch), 1.0) for arch in search.ask(GAIN_BATCH)]
        for trial in trials:
            told += 1
            if trial.score >= lowest:
                return {"evaluations": min(told, GAIN_MOST)}
        search.tell(trials)
    return {"evaluations": GAIN_MOST}


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


def supernet(seed: int) -> Row:
    """A supernet of small networks: rank correlations, over all and over the better half, of the scores by shared
    weights and of those after fitting, with the accuracies of `ALONE` networks trained alone; and the time of a table of the
    whole space, ms."""
    order = np.random.default_rng(100 + seed).permutation(len(small_supernet.ARCHS))
    drawn = [small_supernet.ARCHS[i] for i in order[:SCORED]]
    raw = small_supernet.shared_scores(seed, drawn, steps=2000, images=100)
    alone = [small_supernet.alone(seed, arch, steps=120) for arch in drawn[:ALONE]]
    fitted_scores = FittedScores(small_supernet.CHOICES, seed=seed).fit(drawn, raw)
    start = time.process_time()
    fitted_scores(small_supernet.ARCHS)
    ms = 1000 * (time.process_time() - start)
    gaps = [optimization_gap(values[:ALONE], alone) for values in (raw, fitted_scores(drawn).tolist())]
    return {
        "kendall": [g.kendall for g in gaps],
        "upper": [g.kendall_upper for g in gaps],
        "mean": gaps[0].mean,
        "table_ms": ms,
    }


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
    return {"decided": int(decided), "right": int(right), "of": 6000}


@cache
def latencies_of(name: str) -> tuple[Any, list[Arch], dict[str, np.ndarray]]:
    """A space, its architectures, and their latencies by device, ms."""
    file = {"nasbench201": "nb201", "fbnet": "fbnet", "ofa_mbv3": "ofa"}[name]
    rows = pq.read_table(FOLDER / f"{file}_latency_ms.parquet").to_pylist()
    space: Any = plugins.load("space", name)
    column = {"nasbench201": "arch", "fbnet": "arch_str", "ofa_mbv3": ""}[name]
    archs = [space.parse(row[column]) if column else space.from_columns(row) for row in rows]
    devices = [c for c, value in rows[0].items() if isinstance(value, float)]
    return space, archs, {d: np.array([row[d] for row in rows]) for d in devices}


def rosenbrock(start: tuple[float, float], seed: int) -> Row:
    """The least value of Rosenbrock's function inside a disk that MADS finds; the minimum, (1, 1), is on its edge."""
    square = (Variable(-1.5, 1.5), Variable(-1.5, 1.5))
    found = minimize(
        lambda p: (1 - p[0]) ** 2 + 100 * (p[1] - p[0] ** 2) ** 2, square, DISK_EVALUATIONS,
        lambda p: p[0] ** 2 + p[1] ** 2 - 2, start, seed,
    )  # fmt: skip
    return {"objective": found.objective if found.excess <= 0 else float("inf")}


SMALL = NasBench201(channels=8, cells=1, resolution=16)
WORK: dict[str, Callable[..., Row]] = {
    "curve": curve, "gain": evaluations_to_target, "policy": policy_reward, "shrink": shrinking,
    "reduction": reduction, "supernet": supernet, "early_stop": early_stop, "pick": picking,
    "rosenbrock": rosenbrock,
}  # fmt: skip


def wanted() -> Iterator[tuple[str, dict[str, Any]]]:
    """All rows, each by its kind and the arguments of its function; the quick and the important ones come first."""
    yield from curves(["evolution", "nsga2", "predictor", "qlearning", "random", "reinforce"], SHARES)
    yield from (("policy", {"seed": seed}) for seed in range(POLICY_SEEDS))
    yield from (("reduction", {"seed": seed}) for seed in range(5))
    shrunk = ("random", "predictor", "esnac")
    yield from (("shrink", {"strategy_name": n, "seed": s}) for s in range(SHRINK_SEEDS) for n in shrunk)
    yield from (("rosenbrock", {"start": p, "seed": s}) for p in DISK_STARTS for s in range(DISK_SEEDS))
    for name in PICK_SPACES:
        devices = latencies_of(name)[2]
        yield from (("pick", {"name": name, "first": a, "second": b}) for a, b in itertools.combinations(devices, 2))
    yield from (("supernet", {"seed": seed}) for seed in range(5))
    yield from (("early_stop", {"seed": seed}) for seed in range(5))
    yield from curves([name for name in plugins.names("search") if name not in SLOW], SHARES)
    yield from curves(SLOW, SLOW_SHARES)
    yield from gain_runs("forest")
    yield from gain_runs("process")


def gain_runs(model: str) -> Iterator[tuple[str, dict[str, Any]]]:
    return (("gain", {"model": model, "pool": p, "seed": s}) for s in range(GAIN_SEEDS) for p in POOLS)


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
            if key(kind, given) in known:
                continue
            start = time.perf_counter()
            stream.write(json.dumps({"kind": kind, "given": given, "found": WORK[kind](**given)}) + "\n")
            stream.flush()
            print(f"{time.perf_counter() - start:.1f} s: {kind} {given}", file=sys.stderr, flush=True)


def stored() -> list[Row]:
    """The rows of the file, without one that was cut off while it was written."""
    lines = ROWS.read_text().splitlines() if ROWS.is_file() else []
    return [json.loads(line) for line in lines if line.endswith("}}")]


def key(kind: str, given: Row) -> str:
    return f"{kind} {json.dumps(given, sort_keys=True)}"


# -- the page ------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Rows:
    """All rows of the file, by their kind."""

    rows: Sequence[Row]

    def of(self, kind: str, **given: Any) -> list[Row]:
        """The rows of a kind that were computed from these arguments, among others."""
        return [r for r in self.rows if r["kind"] == kind and given.items() <= r["given"].items()]

    def found(self, kind: str, name: str, **given: Any) -> np.ndarray:
        """One figure of each of these rows: [n] or [n, ...]."""
        return np.array([r["found"][name] for r in self.of(kind, **given)])

    def best(self, name: str, setting: Setting) -> np.ndarray:
        """[n_seeds, n_evaluations], %, by seed; fewer evaluations for a slow strategy."""
        most = SLOW_EVALUATIONS if name in SLOW else CHECKPOINTS[-1]
        rows = self.of("curve", strategy_name=name, device=setting.device, share=setting.share)
        found = np.empty((len(rows), most))
        for row, best in zip(sorted(rows, key=lambda r: r["given"]["seed"]), found, strict=True):
            for evaluation, value in row["found"]["best"]:
                best[evaluation - 1 :] = value
        return found

    def compared(self) -> list[str]:
        """The strategies of which all seeds of some setting are there."""
        return [n for n in plugins.names("search") if any(len(self.best(n, s)) == SEEDS for s in settings())]


def page(rows: Rows) -> str:
    names = rows.compared()
    missing = [n for n in plugins.names("search") if n not in names]
    missing += [f"the section on {kind}" for kind in SECTIONS if not rows.of(kind)]
    lines = [
        f"`{COMMAND}`", "", "# Searches at equal evaluations, on tables", "",
        f"NAS-Bench-201: accuracies on CIFAR-100 after 200 epochs, latencies that others measured on {' and '.join(DEVICES)} "
        f"(gold_6226 is not among the data). {SEEDS} seeds; architectures are asked for in batches of {BATCH}. Every "
        "strategy sees the latencies of the table, so that nothing that it proposes breaks a budget, and nothing was "
        f"measured here. Computed on {environment.hardware()['cpu']}, one thread, beside other work: times are of the "
        "processor, not of the clock.", "",
        *([f"Not computed yet, the same command adds them: {', '.join(missing)}.", ""] if missing else []),
        "## Goals", "", "| goal | reached |", "|---|---|", *goals(rows, names), "",
        "![Best accuracy within the budget over evaluations, mean and standard error](search.svg)", "",
        "Regret, in the tables: the best accuracy within the budget minus the best one found, points, mean and standard "
        "error. Beside it: how much more accurate than random search's, paired by seed, with its standard error.", "",
        *overview(rows, names),
        *regrets(rows, names),
        *(line for kind, section in SECTIONS.items() if rows.of(kind) for line in section(rows)),
        "## Time of a search itself", "",
        "| strategy | ms per architecture asked for | refused per run |", "|---|---|---|",
        *(
            f"| {n} | {rows.found('curve', 'ask_ms', strategy_name=n).mean():.2f} | "
            f"{rows.found('curve', 'refused', strategy_name=n).mean():.0f} |"
            for n in names
        ),
    ]  # fmt: skip
    return "\n".join(lines) + "\n"


def table_of(columns: Sequence[str], lines: Iterable[Sequence[object]]) -> Iterator[str]:
    """A table of Markdown, with an empty line before and after it."""
    yield from ("", f"| {' | '.join(columns)} |", f"|{'---|' * len(columns)}")
    yield from (f"| {' | '.join(map(str, line))} |" for line in lines)
    yield ""


def regrets(rows: Rows, names: Sequence[str]) -> Iterator[str]:
    for setting in settings():
        best, random = best_feasible(setting), rows.best("random", setting)
        yield f"## {setting.device}, {limit(setting).ms:.2f} ms: {setting.share:.0%} of the cells fit, the best has {best:.2f} %"
        yield ""
        yield f"| strategy | {' | '.join(f'at {n} | against random' for n in CHECKPOINTS)} |"
        yield f"|---|{'---|---|' * len(CHECKPOINTS)}"
        for name in names:
            found = rows.best(name, setting)
            cells = []
            for n in CHECKPOINTS:
                if len(found) < SEEDS or n > found.shape[1]:
                    cells += ["", ""]
                    continue
                cells.append(mean_error(best - found[:, n - 1]))
                cells.append("" if name == "random" else mean_error(found[:, n - 1] - random[:, n - 1], "+.2f"))
            yield f"| {name} | {' | '.join(cells)} |"
        yield ""


def gains(rows: Rows) -> Iterator[str]:
    yield from ("## Sample-efficiency gain (Mauch et al., arXiv 2011.12043)", "")
    yield (
        f"Evaluations until one of the {TARGETS} most accurate cells is found, at any latency; batch {GAIN_BATCH}, subsets "
        f"of {SUBSET}. Random search needs {(15625 + 1) / (TARGETS + 1):.0f} on average; the gain is how many times fewer a "
        f"search needs; a run that finds none in {GAIN_MOST} counts as {GAIN_MOST}. The paper used NAS-Bench-101 and a graph convolutional network; its formula of the gain "
        "and its choice of a subset were not at hand. Here neighbours are one or two edits away from the five best cells known, but for a quarter of them, which are random."
    )
    yield ""
    yield (
        "`process` is the strategy `predictor`: its gain falls with a random subset and is regained with neighbours, but for 10 evaluations, less than one batch. With a random forest, the full pool is worst: "
        "some of its runs ask for one cell after the other of a region without one of the best, because a forest predicts nothing above what it has seen, and their length "
        "decides the mean. The same loop, written once more without this project's search (40 trees, 30 seeds), has 6 such runs and a gain of 2.9, so that this is the forest, not a fault of the search. "
        "Equal predictions, of which a forest has many, are taken in the order of the listing there, too; what a random order would change was not measured."
    )
    needed = {(m, p): rows.found("gain", "evaluations", model=m, pool=p) for m in MODELS for p in POOLS}
    yield from table_of(
        ("model", "pool", "seeds", "evaluations", f"found none in {GAIN_MOST}", "gain"),
        [
            (*which, len(n), mean_error(n, ".0f"), int((n >= GAIN_MOST).sum()), f"{gain(n):.1f}")
            for which, n in needed.items()
            if len(n) > 1
        ],
    )


def shrinks(rows: Rows) -> Iterator[str]:
    yield from ("## ESNAC (arXiv 1902.00383)", "")
    yield (
        "Its reward C (2 - C) A, with C = 1 - latency / that of the slowest cell (gold_6240) and A = accuracy / the best "
        f"one: the best of a run. Eight kernels on random halves, a batch of {BATCH}."
    )
    found = {name: rows.found("shrink", "best", strategy_name=name) for name in ("random", "predictor", "esnac")}
    yield from table_of(
        ("strategy", "seeds", *(f"at {n}" for n in SHRINK_CHECKPOINTS)),
        [(name, len(f), *(mean_error(column, ".4f") for column in f.T)) for name, f in found.items() if len(f) > 1],
    )


def policies(rows: Rows) -> Iterator[str]:
    last, best = rows.found("policy", "last"), rows.found("policy", "best")
    yield from ("## Q-learning's policy and early stops (BlockQNN, arXiv 1808.05584)", "")
    if len(last) > 1:
        yield (
            f"Reward: accuracy as a share - 0.05 log(latency / mean latency), gold_6240; {POLICY_EVALUATIONS} networks with "
            f"repeats, {len(last)} seeds. Mean reward of the space {all_rewards().mean():.3f}, of the last {POLICY_LAST} "
            f"networks {mean_error(last, '.3f')}; the best of a run {best.mean():.4f}, of as many random networks "
            f"{random_best():.4f}: what is learned is the policy, and the best of a run is no better than random search's."
        )
    early = rows.found("early_stop", "kendall")
    if len(early) > 1:
        yield ""
        yield (
            "Early stop: the rank correlation of the accuracy after 12 epochs with that after 200 is "
            f"{mean_error(early[:, 0])}, that of the redefined reward (accuracy - mu log MACs - rho log density, mu and rho "
            f"fitted to 30 cells, tested on 200 others, {len(early)} draws) {mean_error(early[:, 1])}."
        )
    yield ""


def reductions(rows: Rows) -> Iterator[str]:
    found = rows.of("reduction")
    yield from ("## A smaller space without training (C-BRED, arXiv 2204.14103)", "")
    yield (
        "The 6,466 cells that compute something different, 8 clusters by k-means over features of the cell's paths, 6 "
        "members of each scored by NASWOT on random inputs (8 channels, 16 x 16, one cell per stage, untrained). Paper: 70 %."
    )
    yield from table_of(
        ("seed", "cells kept", "their mean accuracy, %", "of all, %", "best kept, %", "Kendall over clusters"),
        [
            (r["given"]["seed"], f["size"], *(f"{f[name]:.2f}" for name in ("chosen", "all", "best", "kendall")))
            for r in found
            for f in [r["found"]]
        ],
    )


def supernets(rows: Rows) -> Iterator[str]:
    found = rows.of("supernet")
    yield from ("## Scores by shared weights, raw and fitted (arXiv 2004.08423, 2008.01475)", "")
    yield (
        f"Supernets of 1,024 small networks on handwritten digits (`tests/benchmarks/small_supernet.py`). {SCORED} networks "
        f"are scored on 100 images by shared weights; a graph convolutional network is fitted to these scores. Kendall with "
        f"the accuracies of {ALONE} of them trained alone, over all of them and over the better half."
    )
    figures = np.array([[*f["kendall"], *f["upper"], f["table_ms"]] for f in (r["found"] for r in found)])
    seeds = [r["given"]["seed"] for r in found]
    yield from table_of(
        ("supernet", "raw", "fitted", "raw, better half", "fitted, better half", "table of all, ms"),
        [
            (seed, *(f"{k:.3f}" for k in line[:4]), f"{line[4]:.0f}")
            for seed, line in zip([*seeds, "mean"], [*figures, figures.mean(axis=0)], strict=True)
        ],
    )


def picks(rows: Rows) -> Iterator[str]:
    found = rows.of("pick")
    yield from ("## Which of two devices is faster (SLOHA 2021, arXiv 2102.00818)", "")
    yield (
        "Learned from 200 networks on both, tested on 2,000 others, 3 draws. HAT's devices were measured with different "
        "networks, so that they have no pairs. Right: of the decided ones."
    )
    yield from table_of(
        ("space", "pairs", "decided, least", "median", "right, least", "median", "never decided"),
        [picked(name, [r["found"] for r in found if r["given"]["name"] == name]) for name in PICK_SPACES],
    )


def picked(name: str, own: Sequence[Row]) -> Sequence[object]:
    decided = [f["decided"] / f["of"] for f in own]
    right = [f["right"] / f["decided"] for f in own if f["decided"]] or [1.0]
    shares = (f"{min(decided):.1%}", f"{np.median(decided):.0%}", f"{min(right):.1%}", f"{np.median(right):.1%}")
    return name, len(own), *shares, sum(not d for d in decided)


def disks(rows: Rows) -> Iterator[str]:
    found = rows.found("rosenbrock", "objective")
    yield from ("## MADS (HAET, arXiv 2301.09264)", "")
    yield (
        f"Rosenbrock's function in the disk of radius sqrt(2), {DISK_EVALUATIONS} evaluations, {len(DISK_STARTS)} starts, "
        f"{DISK_SEEDS} seeds each: the median of what is reached is {np.median(found):.1e}, the worst {found.max():.1e}; all "
        f"points found are inside. On a search space see `mads` above."
    )
    yield ""


SECTIONS: dict[str, Callable[[Rows], Iterator[str]]] = {
    "gain": gains, "shrink": shrinks, "policy": policies, "reduction": reductions, "supernet": supernets, "pick": picks,
    "rosenbrock": disks,
}  # fmt: skip


def goals(rows: Rows, names: Sequence[str]) -> Iterator[str]:
    yield f"| every strategy at least random search on the mean of the settings | {against_random(rows, names)} |"
    full = [n for n in names if all(len(rows.best(n, s)) == SEEDS for s in settings())]
    regret = {n: [best_feasible(s) - rows.best(n, s)[:, 99].mean() for s in settings()] for n in full}
    best = min(regret, key=lambda name: float(np.mean(regret[name])))
    within = sum(r <= 0.5 for r in regret[best])
    yield (
        "| the best one at 100 evaluations within 0.5 points of the best feasible accuracy | "
        f"{best}, in {within} of {len(settings())} settings: {', '.join(f'{abs(r):.2f}' for r in regret[best])}; on the mean "
        f"{np.mean(regret[best]):.2f} |"
    )
    for model in MODELS:
        needed = {p: rows.found("gain", "evaluations", model=model, pool=p) for p in POOLS}
        if min(map(len, needed.values())) >= 30:
            g = {p: gain(n) for p, n in needed.items()}
            yield (
                f"| gain of a random subset < full <= neighbours, model {model} | "
                f"{yes(g['random'] < g['full'] <= g['neighbours'])}: {g['random']:.1f}, {g['full']:.1f}, {g['neighbours']:.1f} |"
            )
    shrunk = {n: rows.found("shrink", "best", strategy_name=n) for n in ("random", "esnac")}
    if min(map(len, shrunk.values())) >= SHRINK_SEEDS:
        ahead = shrunk["esnac"].mean(axis=0) - shrunk["random"].mean(axis=0)
        yield f"| ESNAC above random at 32 and 80 evaluations | {yes(ahead.min() > 0)}: {ahead[0]:+.4f}, {ahead[1]:+.4f} |"
    if len(disk := rows.found("rosenbrock", "objective")):
        yield f"| MADS: Rosenbrock in a disk below 1e-2 in {DISK_EVALUATIONS} evaluations | {yes(disk.max() < 1e-2)}: {int((disk < 1e-2).sum())} of {len(disk)} runs |"
    last = rows.found("policy", "last")
    if len(last) > 1:
        policy = last.mean() - all_rewards().mean()
        yield f"| Q-learning's last rewards at least 0.05 above the mean of the space | {yes(policy >= 0.05)}: {policy:+.3f} |"
    chosen = rows.found("reduction", "chosen")
    if len(chosen):
        yield (
            f"| C-BRED's cluster has at least 69 % | on the mean {yes(chosen.mean() >= 69)}: {chosen.mean():.2f}, from "
            f"{chosen.min():.2f} to {chosen.max():.2f}, {len(chosen)} of 5 seeds |"
        )
    if len(kendalls := rows.found("supernet", "kendall")):
        raw, fitted_mean = kendalls.mean(axis=0)
        ms = rows.found("supernet", "table_ms").max()
        yield f"| Kendall of fitted scores at least that of raw ones, {len(kendalls)} supernets; a table in under 1 s | {yes(fitted_mean >= raw and ms < 1000)}: {fitted_mean:.3f} against {raw:.3f}; {ms:.0f} ms |"
    if decided := [r["found"] for r in rows.of("pick") if r["found"]["decided"]]:
        least = min(f["right"] / f["decided"] for f in decided)
        yield f"| a choice of a device is right in at least 95 % where it decides, on every pair | {yes(least >= 0.95)}: at least {least:.1%}, {len(rows.of('pick'))} pairs |"
    quick = rows.found("curve", "ask_ms", strategy_name="evolution").mean()
    slowest = max((float(rows.found("curve", "ask_ms", strategy_name=n).mean()), n) for n in names)
    yield f"| an architecture of evolution in under 1 ms, of a model in under 1 s | {yes(quick < 1 and slowest[0] < 1000)}: {quick:.2f} ms; {slowest[1]} {slowest[0]:.0f} ms |"


def ahead_of_random(rows: Rows, name: str) -> dict[int, list[float]]:
    """By number of evaluations, the mean gain over random search in each setting that was computed, points."""
    found = [(rows.best(name, s), rows.best("random", s)) for s in settings() if len(rows.best(name, s)) == SEEDS]
    return {
        n: [float((own[:, n - 1] - random[:, n - 1]).mean()) for own, random in found if n <= own.shape[1]]
        for n in CHECKPOINTS
    }


def against_random(rows: Rows, names: Sequence[str]) -> str:
    """Which strategies are below random search on the mean of their settings."""
    means = {n: [float(np.mean(g)) for g in ahead_of_random(rows, n).values() if g] for n in names if n != "random"}
    below = [name for name, gains_ in means.items() if min(gains_) < 0]
    return (
        f"no: {', '.join(below)} not, at one of {', '.join(map(str, CHECKPOINTS))} evaluations or more"
        if below
        else "yes"
    )


def overview(rows: Rows, names: Sequence[str]) -> Iterator[str]:
    yield from ("## Against random search, over all settings", "")
    yield (
        "Points of accuracy above random search, mean of the settings; in brackets, in how many of them the strategy is "
        "below it on the mean of the seeds."
    )
    ahead = {name: ahead_of_random(rows, name) for name in names if name != "random"}
    yield from table_of(
        ("strategy", "settings", *(f"at {n}" for n in CHECKPOINTS)),
        [
            (
                name,
                max(map(len, g.values())),
                *(f"{np.mean(v):+.2f} ({sum(x < 0 for x in v)})" if v else "" for v in g.values()),
            )
            for name, g in ahead.items()
        ],
    )


def yes(is_reached: bool) -> str:
    return "yes" if is_reached else "no"


def gain(evaluations: Sequence[int] | np.ndarray) -> float:
    return sample_efficiency_gain(evaluations, 15625, TARGETS)


def mean_error(values: np.ndarray, form: str = ".2f") -> str:
    """The mean with its standard error."""
    error = np.std(values, ddof=1) / np.sqrt(len(values))
    return f"{np.mean(values):{form}} ± {error:{form.lstrip('+')}}"


@cache
def all_rewards() -> np.ndarray:
    """[n_cells]"""
    latencies = table("nb201_latency_ms", "gold_6240")
    return np.array([reward(score, latencies(arch)) for arch, score in scores().by_arch.items()])


def random_best() -> float:
    """The mean over seeds of the best of as many random cells."""
    draws = [
        np.random.default_rng(seed).choice(all_rewards(), POLICY_EVALUATIONS, replace=False)
        for seed in range(POLICY_SEEDS)
    ]
    return float(np.mean([draw.max() for draw in draws]))


def draw(rows: Rows) -> None:
    names = rows.compared()
    figure = Figure(figsize=(12, 7.5), layout="constrained")
    axes = figure.subplots(len(DEVICES), len(SHARES), sharex=True).flat
    colors = colormaps["tab20"].colors[::2] + colormaps["Dark2"].colors
    for ax, setting in zip(axes, settings(), strict=True):
        best = best_feasible(setting)
        for number, name in enumerate(names):
            found = rows.best(name, setting)
            if len(found) < SEEDS:
                continue
            mean, band = found.mean(axis=0), found.std(axis=0, ddof=1) / np.sqrt(len(found))
            x = np.arange(1, len(mean) + 1)[::3]
            mean, band = mean[::3], band[::3]
            color = "black" if name == "random" else colors[number]
            line = "--" if name == "random" else "-" if number < len(colors) // 2 else "-."
            ax.plot(x, mean, color=color, linestyle=line, label=name)
            ax.fill_between(x, mean - band, mean + band, color=color, alpha=0.1, linewidth=0)
        ax.axhline(best, color="grey", linewidth=1, linestyle=":")
        ax.set_ylim(best - 5, best + 0.3)
        ax.set_xlim(0, CHECKPOINTS[-1])
        ax.set_xlabel("evaluations")
        ax.set_title(f"{setting.device}, {limit(setting).ms:.2f} ms: {setting.share:.0%} of the cells fit", fontsize=10)
    figure.supylabel("best accuracy within the budget, %; dotted: the best there is")
    handles = {t: h for ax in axes.base.flat for h, t in zip(*ax.get_legend_handles_labels(), strict=True)}
    figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=7)
    figure.savefig(OUT / "search.svg", metadata={"Date": None})


def report() -> None:
    """Writes the page from the rows that are there."""
    rows = Rows(stored())
    draw(rows)
    (OUT / "README.md").write_text(page(rows))


if __name__ == "__main__":
    if "--report" not in sys.argv:
        compute()
    report()
