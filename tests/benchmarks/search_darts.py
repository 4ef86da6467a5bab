"""Searches the darts space for digits with strengths of a latency loss, three seeds each, and measures what comes out.

    OMP_NUM_THREADS=1 python tests/benchmarks/search_darts.py [--report]     # writes reports/search-darts
    python tests/benchmarks/search_darts.py --analytic --quick OUT           # to try the program: nothing is measured

Tens of random networks of the space are measured and train a predictor; its expected latency enters the loss
of the search (LA-DARTS, arXiv 2001.06392, with PC-DARTS's supernet, arXiv 1907.05737); the derived networks
are trained on their own and measured. It takes about half an hour of a quiet core. What was found is a line of
reports/search-darts/rows.jsonl as soon as it is known, and the same command goes on where it was stopped; --report
writes the page from the lines that are there.

2026-11-29, why the strengths were out of order. One search for each strength took 69 steps of the architecture, after
which 27 % of the latency that the loss saw was lost when the network was derived: differences between the strengths
were within that gap. A linear loss has no minimum besides, so that the strongest one ended without a convolution. Now
the choices harden with sparsestmax until nothing is lost (arXiv 2101.06658), the loss pulls to a target from both
sides, and three seeds are averaged.

2026-11-29, why the first searches in that form lost all convolutions in an epoch. Sparsestmax hardened from the first
step on, and its radius turns differences of any size between the alphas into exclusions, from which no gradient leads
back. So the first directions of the alphas decided, in which the cost, which has no noise, counts more than the
cross-entropy of weights that have just begun to learn. Now the choices harden in the second half of a search only, and
the alphas take steps that in the first half cannot exclude an operation by their length alone. The searches do not
stop early any more: what the alphas prefer before they harden is not what they end with. The target was chosen on the
first seed: at 70 % of the latency at the start, the strongest loss ended 14 % below the expected latency without one.
"""

from __future__ import annotations

import argparse
import copy
import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from sklearn.datasets import load_digits
from torch.nn import functional

from hwprof import jobs, plugins
from hwprof.data.store import Store
from hwprof.device import Device
from hwprof.graph import Graph
from hwprof.interfaces import Arch
from hwprof.jobs import Options
from hwprof.measure import environment
from hwprof.measurement import Measurement, ProtocolSettings
from hwprof.objective.expected import ExpectedLatency
from hwprof.objective.loss import LatencyLoss
from hwprof.predictors.physical import PhysicalPredictor
from hwprof.search.differentiable import DARTS_WEIGHTS, Epoch, SearchSettings, search, warm_up
from hwprof.search.supernet import Supernet
from hwprof.spaces import sampling
from hwprof.spaces.darts import Darts
from hwprof.tasks import Classification, TensorExamples, idx
from hwprof.tasks.examples import from_arrays
from hwprof.tasks.examples import split as divide
from hwprof.torch_io import trainable
from hwprof.training import TrainSettings, evaluate, fit

ROOT = Path(__file__).parents[2]
COMMAND = "OMP_NUM_THREADS=1 python tests/benchmarks/search_darts.py"
STORE = ROOT / "build" / "search-darts.db"
DATA = ROOT.parent / "shared" / "data"
SPACE = Darts(channels=8, cells=3, resolution=12)
PARTIAL = 4
TARGET_SHARE = 0.6  # of the expected latency at which a search starts
TRAINING_DIGITS = 8000
COMPARED_DIGITS = 500
SEED = 0
BRIEF = ProtocolSettings(target=0.03, min_processes=2, max_processes=3, budget_s=2.0, pilot_blocks=4)
FINAL = ProtocolSettings(target=0.02, min_processes=2, max_processes=4, budget_s=4.0)


@dataclass(frozen=True, slots=True)
class Plan:
    """How much work each part gets; `search_digits` are halved, one half for the weights. strengths: of |expected
    latency / target - 1|."""

    measured: int = 40
    search_digits: int = 2048
    warm_up: TrainSettings = field(default_factory=lambda: replace(DARTS_WEIGHTS, epochs=6, rate=0.1))
    search: SearchSettings = field(
        default_factory=lambda: SearchSettings(
            replace(DARTS_WEIGHTS, epochs=4, rate=0.05), architecture_rate=0.004, harden_from=0.5
        )
    )
    retrain: TrainSettings = field(default_factory=lambda: replace(DARTS_WEIGHTS, epochs=2, rate=0.1))
    retrainings: int = 1
    strengths: Sequence[float] = (0.0, 0.3, 0.1, 1.0, 0.03)  # in this order, for a run that is stopped
    seeds: int = 3
    random_networks: int = 2  # of the space, trained and measured as the derived ones are


QUICK = Plan(
    measured=20,
    search_digits=32,
    warm_up=replace(DARTS_WEIGHTS, epochs=1, batch_size=16),
    search=SearchSettings(replace(DARTS_WEIGHTS, epochs=1, batch_size=16), architecture_rate=0.3),
    retrain=replace(DARTS_WEIGHTS, epochs=1, batch_size=16),
    retrainings=1,
    strengths=(0.0, 1.0),
    seeds=1,
    random_networks=1,
)


@dataclass(frozen=True, slots=True)
class Latencies:
    """What the searches know of latencies. measured_ms: [n], of random networks; their predictor's error on networks
    left out, and the errors of its expectation (`RelaxedError`), are relative. start_ms: expected where every search
    starts."""

    where: str
    measured_ms: Sequence[float]
    left_out_error: float
    method: str
    mean_error: float
    worst_error: float
    start_ms: float


@dataclass(frozen=True, slots=True)
class Searched:
    """A search. relaxed, derived: the accuracy by shared weights of the supernet at its end and of the derived network,
    percent; latencies in ms."""

    strength: float
    seed: int
    arch: Arch
    expected_ms: float
    derived_ms: float
    relaxed: float
    derived: float
    collapsed: bool
    expected_ms_by_epoch: Sequence[float]
    seconds: float


@dataclass(frozen=True, slots=True)
class Network:
    """A network trained alone, [n_trainings] accuracies in percent, and its measured latency with the bounds of its
    95 % interval, ms. drawn: at random from the space, not derived by a search."""

    arch: Arch
    ms: float
    low_ms: float
    high_ms: float
    accuracies: Sequence[float]
    drawn: bool

    @property
    def accuracy(self) -> float:
        return float(np.mean(self.accuracies))


Timed = tuple[float, float, float]  # ms, with the bounds of the 95 % interval
Measure = Callable[[Sequence[Graph], ProtocolSettings], list[Timed]]


# -- the lines that are kept --------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Rows:
    """What was found, in a file: one line for each record."""

    file: Path

    def add(self, record: Latencies | Searched | Network) -> None:
        line = {"kind": type(record).__name__.lower(), **asdict(record)}
        with self.file.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(line) + "\n")

    def latencies(self) -> Latencies | None:
        """The last ones."""
        found = [Latencies(**line) for line in self._of("latencies")]
        return found[-1] if found else None

    def searches(self) -> list[Searched]:
        """In the order of their strengths and seeds."""
        found = [Searched(**{**line, "arch": tuple(line["arch"])}) for line in self._of("searched")]
        return sorted(found, key=lambda s: (s.strength, s.seed))

    def networks(self) -> dict[Arch, Network]:
        found = [Network(**{**line, "arch": tuple(line["arch"])}) for line in self._of("network")]
        return {network.arch: network for network in found}

    def _of(self, kind: str) -> Iterator[dict[str, Any]]:
        """Without a line that was cut off while it was written."""
        lines = self.file.read_text(encoding="utf-8").splitlines() if self.file.is_file() else []
        for record in (json.loads(line) for line in lines if line.endswith("}")):
            if record.pop("kind") == kind:
                yield record


# -- data --------------------------------------------------------------------------------------------


def digits(folder: Path = DATA) -> tuple[str, TensorExamples, TensorExamples]:
    """A name, what to train on and what to test on, at the space's resolution."""
    images_file, labels_file = (folder / f"mnist-t10k-{kind}-ubyte.gz" for kind in ("images-idx3", "labels-idx1"))
    if images_file.exists():
        return "MNIST", *split(idx.read(images_file, 3) / 255, idx.read(labels_file, 1), TRAINING_DIGITS)
    found = load_digits()
    return "scikit-learn's digits", *split(found.images / 16, found.target, len(found.target) * 4 // 5)


def split(images: np.ndarray, labels: np.ndarray, training: int) -> tuple[TensorExamples, TensorExamples]:
    """images: [n, height, width] in 0 to 1. The first ones train; the same three times for the three channels."""
    resized = functional.interpolate(
        torch.from_numpy(images).float()[:, None], size=(SPACE.resolution,) * 2, mode="bilinear", antialias=True
    )
    x = ((resized - resized.mean()) / resized.std()).expand(-1, 3, -1, -1).contiguous()
    return from_arrays(x[:training], labels[:training]), from_arrays(x[training:], labels[training:])


# -- latency -----------------------------------------------------------------------------------------


def measure_here(graphs: Sequence[Graph], settings: ProtocolSettings) -> list[Timed]:
    """On this machine's CPU, one thread, at its undisturbed speed; what the store holds is not measured again."""
    STORE.parent.mkdir(exist_ok=True)
    found: dict[str, Measurement] = {}
    with Store(STORE) as store:
        options = Options(settings, with_operators=False, allow_unfit=True, keep_unconverged=True)
        for outcome in jobs.profile_many(graphs, Device.load("cpu-1t"), store, options):
            if outcome.measurement is None:
                raise outcome.error or RuntimeError(f"{outcome.graph.name}: not measured")
            found[outcome.graph.digest] = outcome.measurement
            say(f"{len(found)} of {len(graphs)} measured: {outcome.measurement.normalized.median:.4f} ms")
    undisturbed = [found[graph.digest].normalized for graph in graphs]
    return [(latency.median, latency.low, latency.high) for latency in undisturbed]


def calculate(graphs: Sequence[Graph], settings: ProtocolSettings) -> list[Timed]:
    """On an analytic device, to try the program."""
    backend, device = plugins.load("backend", "roofline"), Device.load("roofline-edge-gpu")
    times = []
    for graph in graphs:
        with backend.open(graph, device) as timer:
            times.append(timer(1)[0] / 1e6)
    return [(ms, ms, ms) for ms in times]


@dataclass(frozen=True, slots=True)
class LatencyModel:
    """A predictor of measured random networks, and its relaxation."""

    predictor: PhysicalPredictor
    expected: ExpectedLatency
    record: Latencies


def latency_model(measure: Measure, where: str, plan: Plan) -> LatencyModel:
    archs = sampling.stratified(SPACE, plan.measured, np.random.default_rng(SEED))
    graphs = [replace(SPACE.graph(arch), name=f"darts {i}") for i, arch in enumerate(archs)]
    ms = [median for median, _, _ in measure(graphs, BRIEF)]
    predictor = PhysicalPredictor().fit(graphs, np.array(ms))
    expected = ExpectedLatency(predictor, SPACE)
    start = Supernet(SPACE, PARTIAL, seed=SEED, relaxation="sparsestmax")
    start_ms = float(expected(start.probabilities().detach()))
    left_out, error = float(np.abs(np.expm1(predictor.errors_)).mean()), expected.expected_error_
    record = Latencies(where, ms, left_out, expected.method, error.mean, error.worst, start_ms)
    say(f"predictor {left_out:.1%}; relaxed as {expected.method}: {error}; start {start_ms:.4f} ms")
    return LatencyModel(predictor, expected, record)


# -- search ------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Data:
    """halves: of the digits that searches see, for the weights and for the architecture; compared: some of the latter,
    on which the relaxed and the derived network are compared; whole: all to train."""

    halves: Classification
    compared: Classification
    whole: Classification

    @classmethod
    def of(cls, training: TensorExamples, test: TensorExamples, plan: Plan) -> Data:
        seen = training.at(torch.arange(min(plan.search_digits, len(training))))
        weights, architecture = divide(seen, (0.5, 0.5), SEED)
        some = architecture.at(torch.arange(min(COMPARED_DIGITS, len(architecture))))
        return cls(
            Classification("halves", weights, architecture, test),
            Classification("compared", weights, architecture, some),
            Classification("whole", training, training, test),
        )


def run(measure: Measure, where: str, plan: Plan, data: Data, rows: Rows) -> None:
    """Adds the rows that are missing, one seed after the other."""
    add_networks([s.arch for s in rows.searches()], False, measure, data.whole, plan, rows)  # of a run that was stopped
    model = latency_model(measure, where, plan)
    if rows.latencies() != model.record:
        rows.add(model.record)
    for seed in range(plan.seeds):
        done = {s.strength for s in rows.searches() if s.seed == seed}
        missing = [strength for strength in plan.strengths if strength not in done]
        warm = warmed_up(seed, data, plan) if missing else None
        for strength in missing:
            rows.add(searched(strength, seed, copy.deepcopy(warm), data, model, plan))
            add_networks([s.arch for s in rows.searches()], False, measure, data.whole, plan, rows)
    drawn = sampling.random_archs(SPACE, plan.random_networks, np.random.default_rng([SEED, 1]))
    add_networks(drawn, True, measure, data.whole, plan, rows)


def warmed_up(seed: int, data: Data, plan: Plan) -> Supernet:
    """All searches of a seed start from its weights."""
    warm = Supernet(SPACE, PARTIAL, seed=seed, relaxation="sparsestmax")
    warm_up(warm, data.halves, replace(plan.warm_up, seed=seed))
    say(f"seed {seed}, warmed up: {evaluate(warm, data.compared):.1f} %")
    return warm


def searched(strength: float, seed: int, supernet: Supernet, data: Data, model: LatencyModel, plan: Plan) -> Searched:
    def tell(epoch: Epoch) -> None:
        say(f"strength {strength:g}, seed {seed}, epoch {epoch.number}: {epoch}")

    start = time.monotonic()
    cost = LatencyLoss(TARGET_SHARE * model.record.start_ms, "abs", strength)
    settings = replace(plan.search, weights=replace(plan.search.weights, seed=seed))
    found = search(supernet, data.halves, model.expected, cost, model.predictor.predict, settings, tell)
    relaxed, derived = (evaluate(network, data.compared) for network in (supernet, supernet.at(found.arch)))
    by_epoch = [epoch.expected_ms for epoch in found.history]
    return Searched(
        strength, seed, found.arch, found.expected_ms, found.derived_ms, relaxed, derived, found.collapsed, by_epoch,
        time.monotonic() - start,
    )  # fmt: skip


def add_networks(
    archs: Sequence[Arch], drawn: bool, measure: Measure, task: Classification, plan: Plan, rows: Rows
) -> None:  # fmt: skip
    """Trains and measures those that are not in the rows."""
    known = rows.networks()
    for arch in dict.fromkeys(arch for arch in archs if arch not in known):
        accuracies = trained_alone(arch, task, plan)
        graph = replace(SPACE.graph(arch), name=f"darts {'-'.join(map(str, arch))}")
        [(ms, low, high)] = measure([graph], FINAL)
        say(f"{ms:.4f} ms, {accuracies} %: {SPACE.format(arch)}")
        rows.add(Network(arch, ms, low, high, accuracies, drawn))


def trained_alone(arch: Arch, task: Classification, plan: Plan) -> list[float]:
    """Percent of the test digits that the network gets right, by seed."""
    found = []
    for seed in range(plan.retrainings):
        network = trainable(SPACE.graph(arch), seed=seed)
        fit(network, task, replace(plan.retrain, seed=seed))
        found.append(evaluate(network, task))
    return found


# -- report ------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Derived:
    """A search and the network that it derived."""

    search: Searched
    network: Network


@dataclass(frozen=True, slots=True)
class Strength:
    """All seeds of a strength."""

    strength: float
    rows: Sequence[Derived]

    @property
    def ms(self) -> float:
        return float(np.mean([row.network.ms for row in self.rows]))

    @property
    def error_ms(self) -> float:
        """The standard error of the mean over the seeds; 0 for one seed."""
        n = len(self.rows)
        return float(np.std([row.network.ms for row in self.rows], ddof=1) / np.sqrt(n)) if n > 1 else 0.0

    @property
    def accuracy(self) -> float:
        return float(np.mean([row.network.accuracy for row in self.rows]))

    @property
    def seeds(self) -> list[int]:
        return [row.search.seed for row in self.rows]

    def of_seeds(self, other: Strength) -> Strength:
        """Only the seeds that the other strength has, too, for a fair comparison of an unfinished run."""
        return Strength(self.strength, [row for row in self.rows if row.search.seed in other.seeds])


def by_strength(rows: Rows) -> list[Strength]:
    """In the order of the strengths; only searches whose network was measured."""
    networks = rows.networks()
    derived = [Derived(s, networks[s.arch]) for s in rows.searches() if s.arch in networks]
    strengths = sorted({row.search.strength for row in derived})
    return [Strength(value, [row for row in derived if row.search.strength == value]) for value in strengths]


def page(rows: Rows, data: str, tested: int, plan: Plan) -> str:
    """Markdown. data: in words; tested: how many digits."""
    strengths, latencies = by_strength(rows), rows.latencies()
    assert latencies is not None
    free, drawn = strengths[0], [network for network in rows.networks().values() if network.drawn]
    epochs = plan.search.weights.epochs
    lines = [
        f"`{COMMAND}`",
        "",
        "# A differentiable search with the latency in its loss",
        "",
        f"{data}, at {SPACE.resolution} x {SPACE.resolution}; the darts space with {SPACE.cells} cells and "
        f"{SPACE.channels} channels, 1/{PARTIAL} of the channels at work, edge normalization, first order, {epochs} "
        f"epochs of {plan.search_digits // 2:,} + {plan.search_digits // 2:,} digits after {plan.warm_up.epochs} for "
        f"the weights alone. Sparsestmax hardens the choices during the last {1 - plan.search.harden_from:.0%} of a "
        f"search. Loss: cross-entropy + strength x \\|expected latency / target - 1\\|; the target is "
        f"{TARGET_SHARE * latencies.start_ms:.4f} ms, {TARGET_SHARE:.0%} of what is expected where every search "
        f"starts. Latency: {latencies.where}.",
        "",
        f"Latency model: `physical` on {len(latencies.measured_ms)} measured networks of "
        f"{min(latencies.measured_ms):.3f} to {max(latencies.measured_ms):.3f} ms, error on networks left out "
        f"{latencies.left_out_error:.1%}; its expectation ({latencies.method}) is off by {latencies.mean_error:.1%} on "
        f"average, {latencies.worst_error:.1%} at worst, against Monte Carlo at random probabilities.",
        "",
        *unfinished(strengths, plan),
        "| strength | measured, ms, mean of seeds | against 0 | accuracy, % | gap in latency | gap in accuracy, points "
        "| each seed, ms | collapsed |",
        "|---|---|---|---|---|---|---|---|",
        *(line(strength, free) for strength in strengths),
        *(f"| random | {n.ms:.4f} | {n.ms / free.ms - 1:+.1%} | {n.accuracy:.2f} | | | | |" for n in drawn),
        "",
        f"Accuracy: of the derived network trained on its own for {plan.retrain.epochs} epochs; its standard error "
        f"from {tested:,} digits is about {100 * binomial_error(free.accuracy / 100, tested):.2f} points. The digits "
        "tested on chose nothing but the row of the second goal below. The target was chosen on the first seed. "
        "Searches of one seed start from the same warmed-up weights and batches"
        f"{'; random: networks of the space that no search found, trained the same' if drawn else ''}. Gaps: "
        "between the relaxed network at the end of a search and the derived one, the largest of the seeds; that of "
        "accuracy with the shared weights, that of latency by the predictor, so that it holds the error of the "
        "expectation. Collapsed: no convolution is left in the normal cell. "
        "Other programs kept the core busy: the widest 95 % interval of a network's latency is "
        f"{widest(rows):.0%} of it.",
        "",
        *verdicts(strengths, not unfinished(strengths, plan)),
        "",
        "![Left: accuracy over measured latency; right: expected latency over the epochs](search.svg)",
        "",
        "## Genotypes",
        "",
        *(genotype(row) for strength in strengths for row in strength.rows),
    ]  # fmt: skip
    return "\n".join(lines) + "\n"


def unfinished(strengths: Sequence[Strength], plan: Plan) -> list[str]:
    """Says which searches are missing."""
    wanted = {(strength, seed) for strength in plan.strengths for seed in range(plan.seeds)}
    missing = sorted(wanted - {(s.strength, seed) for s in strengths for seed in s.seeds})
    if not missing:
        return []
    names = ", ".join(f"strength {strength:g} of seed {seed}" for strength, seed in missing)
    return [f"Not searched yet; the same command adds them: {names}.", ""]


def line(strength: Strength, free: Strength) -> str:
    searches = [row.search for row in strength.rows]
    return (
        f"| {strength.strength:g} | {strength.ms:.4f} ± {strength.error_ms:.4f} | {change(strength, free):+.1%} | "
        f"{strength.accuracy:.2f} | {max(map(gap, searches)):.1%} | {max(map(accuracy_gap, searches)):.2f} | "
        f"{', '.join(f'{row.network.ms:.4f}' for row in strength.rows)} | "
        f"{sum(s.collapsed for s in searches)} of {len(searches)} |"
    )


def genotype(row: Derived) -> str:
    return f"- {row.search.strength:g}, seed {row.search.seed}: `{SPACE.format(row.network.arch)}`"


def gap(found: Searched) -> float:
    """Of the predicted latency of the derived network and the one that the loss saw at the end, relative."""
    return abs(found.derived_ms / found.expected_ms - 1)


def accuracy_gap(found: Searched) -> float:
    return abs(found.derived - found.relaxed)


def verdicts(strengths: Sequence[Strength], is_complete: bool) -> list[str]:
    """The goals, each with what was reached; strengths are compared on the seeds that they share."""
    free, *others = strengths
    falls = all(
        after.of_seeds(before).ms <= before.of_seeds(after).ms + before.of_seeds(after).error_ms
        for before, after in pairwise(strengths)
    )
    kept = [s for s in others if free.of_seeds(s).accuracy - s.of_seeds(free).accuracy <= 1]
    best = min((change(s, free) for s in kept), default=0.0)
    searches = [row.search for s in strengths for row in s.rows]
    collapsed = sum(s.collapsed for s in searches)
    gaps = max(map(gap, searches)), max(map(accuracy_gap, searches))

    def yes(is_reached: bool) -> str:
        return ("" if is_complete else "so far ") + ("yes" if is_reached else "no")

    return [
        "| goal | reached |",
        "|---|---|",
        f"| mean latency falls, within its standard error, with each of {len(strengths)} strengths | {yes(falls)} |",
        f"| at least 20 % faster at no more than 1 point of accuracy | {yes(best <= -0.2)}: {best:+.1%} |",
        f"| no collapse: a convolution in every normal cell | {yes(not collapsed)}: {collapsed} of {len(searches)} "
        "searches collapsed |",
        f"| no gap between the relaxed and the derived network | {yes(not gaps[1])}: accuracy {gaps[1]:.2f} points at "
        f"most; latency {gaps[0]:.1%} at most, the error of the expectation |",
    ]


def change(strength: Strength, free: Strength) -> float:
    """How much slower than without a loss, on the seeds of both; relative."""
    return strength.of_seeds(free).ms / free.of_seeds(strength).ms - 1


def widest(rows: Rows) -> float:
    """The widest interval of a measured network, as a share of its latency."""
    return max((n.high_ms - n.low_ms) / n.ms for n in rows.networks().values())


def binomial_error(share: float, n: int) -> float:
    return float(np.sqrt(share * (1 - share) / n))


def plot(rows: Rows, path: Path) -> None:
    strengths = by_strength(rows)
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    trade, course = figure.subplots(1, 2)
    for number, strength in enumerate(strengths):
        networks, style = [row.network for row in strength.rows], {"color": f"C{number}"}
        trade.plot(
            [n.ms for n in networks], [n.accuracy for n in networks], "o", label=f"{strength.strength:g}", **style
        )
        for row in strength.rows:
            values = row.search.expected_ms_by_epoch
            label = f"{strength.strength:g}" if row is strength.rows[0] else None
            course.plot(range(1, len(values) + 1), values, "-", label=label, **style)
    latencies = rows.latencies()
    assert latencies is not None
    course.axhline(TARGET_SHARE * latencies.start_ms, color="grey", linestyle=":")
    trade.set(xlabel="measured latency of the derived network, ms", ylabel="test accuracy, %")
    course.set(xlabel="epoch of the search", ylabel="expected latency, ms; dotted: the target")
    trade.set_xlim(left=0)
    course.set_ylim(bottom=0)
    course.set_xticks(range(1, 1 + max(len(row.search.expected_ms_by_epoch) for s in strengths for row in s.rows)))
    for axes in (trade, course):
        axes.grid(alpha=0.3)
        axes.legend(title="strength", loc="lower left")
    figure.savefig(path, metadata={"Date": None})


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", nargs="?", type=Path, default=ROOT / "reports" / "search-darts")
    parser.add_argument("--analytic", action="store_true", help="calculate latencies instead of measuring them")
    parser.add_argument("--quick", action="store_true", help="so little work that only the program is tried")
    parser.add_argument("--report", action="store_true", help="write the page from what was found before")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    plan = QUICK if arguments.quick else Plan()
    name, training, test = digits()
    if arguments.quick:
        training, test = (part.at(torch.arange(64)) for part in (training, test))
    arguments.out.mkdir(parents=True, exist_ok=True)
    rows = Rows(arguments.out / "rows.jsonl")
    if not arguments.report:
        measure, where = measure_here, f"cpu-1t on {environment.hardware()['cpu']}, measured, at its undisturbed speed"
        if arguments.analytic:
            measure, where = calculate, "analytic, NOT measured"
        run(measure, where, plan, Data.of(training, test, plan), rows)
    text = page(rows, f"{name}, {len(training):,} digits to train and {len(test):,} to test", len(test), plan)
    (arguments.out / "README.md").write_text(text, encoding="utf-8")
    plot(rows, arguments.out / "search.svg")
    print(text)


if __name__ == "__main__":
    main()
