"""Searches that train and measure: a teacher is shrunk, layers get fewer filters, fronts are measured.

    OMP_NUM_THREADS=1 python tests/benchmarks/search_real.py [PART ...] [--data FOLDER]     # writes reports/search-real

Fashion-MNIST at 14 x 14 pixels, on cpu-1t. The parts are `shrink` (ESNAC, arXiv 1902.00383), `strengths` (a
differentiable search with a latency loss of several strengths, as LA-DARTS, arXiv 2001.06392), `descents` (NetAdaptV2's
descent against that of one layer at a time, arXiv 2104.00031) and `widths` (a front of networks of one supernet); all
of them without an argument. FOLDER defaults to ../shared/data beside the repository. What a part found is a line of
reports/search-real/rows.jsonl, and the same command computes nothing twice. It takes about half an hour of one core.
"""

# ruff: noqa: E501 -- the lines of the report

from __future__ import annotations

import argparse
import copy
import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from matplotlib.figure import Figure

import hwprof as hp
from hwprof.data.store import Store
from hwprof.device import Device
from hwprof.graph import Graph
from hwprof.interfaces import Arch, SearchSpace, Task
from hwprof.jobs import Options
from hwprof.measure import environment
from hwprof.measurement import ProtocolSettings
from hwprof.objective.expected import ExpectedLatency
from hwprof.objective.loss import LatencyLoss
from hwprof.predictors.physical import PhysicalPredictor
from hwprof.search.bypass_supernet import BypassSupernet, OrderedDropout
from hwprof.search.differentiable import SearchSettings, search, warm_up
from hwprof.search.netadapt import MultiLayerDescent
from hwprof.search.nsga2 import Nsga2, first_front
from hwprof.search.optimization_gap import optimization_gap
from hwprof.search.run import Limit, Plan, run
from hwprof.search.supernet_score import SupernetScore
from hwprof.spaces import sampling
from hwprof.spaces.bypass import BypassSpace
from hwprof.spaces.resnet_shrink import ResNetShrink
from hwprof.tasks import Classification, TensorExamples
from hwprof.tasks.fashion import fashion
from hwprof.torch_io import trainable
from hwprof.training import TrainSettings, evaluate, fit
from hwprof.training.distillation import Distillation

sys.path.append(str(Path(__file__).parent))
from chain_supernet import KERNELS, ChainSpace, ChainSupernet  # beside this file

ROOT = Path(__file__).parents[2]
COMMAND = "OMP_NUM_THREADS=1 python tests/benchmarks/search_real.py"
OUT = ROOT / "reports" / "search-real"
STORE = ROOT / "build" / "search-real.db"
DEVICE = "cpu-1t"
PROTOCOL = ProtocolSettings(target=0.03, min_processes=2, max_processes=3, budget_s=1.0, pilot_blocks=4)
FINAL = ProtocolSettings(budget_s=8.0)
SIDE, IMAGES = 14, 6000  # of which a sixth is to search
Row: TypeAlias = Mapping[str, Any]

STUDENTS = ResNetShrink((2, 2, 2, 2), SIDE, channels=(12, 24, 48, 96))
TEACHING = TrainSettings(epochs=6, rate=0.05, weight_decay=5e-4, validation=None)
SHORT = replace(TEACHING, epochs=1)  # of a student while it is searched for
SHRINK_TO, SHRINK_EVALUATIONS, FINALISTS = 0.5, 40, 3

CHAIN = ChainSpace(16, SIDE)
STRENGTHS, CHAIN_SEEDS, CHAIN_SHARE, CHAIN_TRAININGS = (0.0, 0.1, 0.3, 1.0, 3.0), 3, 0.7, 1
SEARCHED_ON = 2500  # images from which the weights of the supernet learn
WARMING = TrainSettings(epochs=2, rate=0.05, weight_decay=3e-4, max_gradient_norm=5.0, validation=None)
SEARCHING = SearchSettings(replace(WARMING, epochs=4), architecture_rate=0.015, harden_from=0.5)
ALONE = TrainSettings(epochs=6, optimizer="adam", rate=4e-3, validation=None)

SIX_FINE = BypassSpace((0, 4, 8, 12, 16), 6, (2, 4), (1, SIDE, SIDE))
EIGHT = BypassSpace((0, 4, 8, 12, 16), 8, (2, 5), (1, SIDE, SIDE))
SIX = BypassSpace((0, 4, 8, 16), 6, (1, 3), (1, SIDE, SIDE))
SPACES = {"6 layers of 5 widths": "SIX_FINE", "8 layers of 5 widths": "EIGHT", "6 layers of 4 widths": "SIX"}
WIDE = "6 layers of 5 widths"  # the supernet of `widths`
SUPERNET = TrainSettings(epochs=8, optimizer="adam", rate=4e-3, validation=None)
DESCENT_SEEDS, DESCENT_EVALUATIONS, DESCENT_SHARE, MEASURED_EVALUATIONS = 10, 40, 0.7, 24
SCORED_ON = 300  # images
MEASURED = 28  # networks from which a predictor learns, in all its spaces together
FRONT_EVALUATIONS, FRONT, UNSEARCHED = 120, 6, 6
TUNING = TrainSettings(epochs=3, rate=0.02, weight_decay=5e-4, validation=None)


# -- data and latencies ------------------------------------------------------------------------------


@cache
def task(folder: Path, channels: int) -> Classification:
    """Fashion-MNIST; the only channel is repeated where several are wanted."""
    found = fashion(folder / "fashion-mnist", SIDE, IMAGES)
    parts = [_expanded(found.examples(part), channels) for part in ("train", "search", "test")]
    return Classification("fashion", *parts)


def _expanded(part: Any, channels: int) -> TensorExamples:
    return TensorExamples(part.inputs.expand(-1, channels, -1, -1).contiguous(), part.targets)


def smaller(whole: Task, **n: int) -> Classification:
    """The same task with only the first n images of some parts."""
    parts: dict[str, Any] = {part: whole.examples(part) for part in ("train", "search", "test")}
    kept = {part: found.at(torch.arange(n.get(part, len(found)))) for part, found in parts.items()}
    return Classification("fashion", kept["train"], kept["search"], kept["test"])


def measured_ms(graphs: Sequence[Graph], protocol: ProtocolSettings = PROTOCOL, fresh: bool = False) -> list[float]:
    """[n], at the machine's undisturbed speed; what the store holds is not measured again, unless `fresh`."""
    options = Options(protocol, allow_unfit=True, with_operators=False, keep_unconverged=True, fresh=fresh)
    found = {}
    with Store(STORE) as store:
        for outcome in hp.profile_many(graphs, Device.load(DEVICE), store, options):
            if outcome.measurement is None:
                raise outcome.error or RuntimeError(f"{outcome.graph.name}: not measured")
            found[outcome.graph.digest] = outcome.measurement.normalized.median
    return [found[graph.digest] for graph in graphs]


def latency_model(*spaces: SearchSpace) -> PhysicalPredictor:
    """A predictor that learns from measured networks of the spaces."""
    n, rng = max(8, MEASURED // len(spaces)), np.random.default_rng(0)
    graphs = [space.graph(arch) for space in spaces for arch in sampling.stratified(space, n, rng)]
    predictor = PhysicalPredictor().fit(graphs, np.array(measured_ms(graphs)))
    say(f"error of the predictor on networks left out: {error_of(predictor):.1%}")
    return predictor


def error_of(predictor: PhysicalPredictor) -> float:
    """On networks left out, relative."""
    return float(np.abs(np.expm1(predictor.errors_)).mean())


def paired(first: Graph, others: Sequence[Graph]) -> list[Row]:
    """Each of the others against the first."""
    rows = hp.compare([first, *others], DEVICE, STORE, Options(FINAL, allow_unfit=True, with_operators=False))
    return [
        {"ratio": r.ratio, "low": r.low, "high": r.high, "ms": r.b.normalized.median, "first_ms": r.a.normalized.median}
        for r in rows
    ]


# -- a teacher that is shrunk ------------------------------------------------------------------------


def shrink(folder: Path) -> Row:
    """ESNAC finds students of a teacher within half of its latency by a short distillation; the finalists are
    distilled for as long as the teacher was trained, and the best one on the images to search is compared with it."""
    images = task(folder, 3)
    teacher_graph = STUDENTS.graph(STUDENTS.teacher).renamed("teacher")
    teacher = trainable(teacher_graph, seed=0)
    fit(teacher, images, TEACHING)
    latency = latency_model(STUDENTS)
    [teacher_ms] = measured_ms([teacher_graph])
    target_ms = SHRINK_TO * teacher_ms
    say(f"teacher: {evaluate(teacher, images):.2f} %, {teacher_ms:.4f} ms")

    def student(arch: Arch, settings: TrainSettings) -> torch.nn.Module:
        made = trainable(STUDENTS.graph(arch), seed=1)
        fit(made, images, settings, [Distillation(teacher)])
        return made

    start = time.monotonic()
    found = hp.search(
        hp.space(f"{__file__}:STUDENTS"), lambda arch: evaluate(student(arch, SHORT), images, "search"), DEVICE,
        target_ms=target_ms, strategy="esnac", evaluations=SHRINK_EVALUATIONS, finalists=FINALISTS, seed=0, store=STORE,
        latency=latency, confidence=0.9, options=Options(PROTOCOL, allow_unfit=True), on_trial=lambda t: say(f"{t.score:.2f} %, {t.latency_ms:.4f} ms"),
    )  # fmt: skip
    search_s = time.monotonic() - start
    assert found.searched is not None
    candidates = [tuple(r.choices["arch"]) for r in found.finalists]
    students = {arch: student(arch, TEACHING) for arch in candidates}
    graphs = {arch: STUDENTS.graph(arch).renamed(f"student {'-'.join(map(str, arch))}") for arch in candidates}
    compared = dict(zip(candidates, paired(teacher_graph, list(graphs.values())), strict=True))
    rows = [
        {"arch": arch, "searched": evaluate(made, images, "search"), "test": evaluate(made, images), **compared[arch]}
        for arch, made in students.items()
    ]
    return {
        "teacher": {"ms": teacher_ms, "searched": evaluate(teacher, images, "search"), "test": evaluate(teacher, images), "weights": sizes(teacher_graph)},
        "target_ms": target_ms,
        "finalists": [{**row, "weights": sizes(graphs[row["arch"]])} for row in rows],
        "met": [r.met for r in found.finalists], "predictor_error": error_of(latency),
        "refused": found.searched.refused,
        "trials": [(t.score, t.latency_ms) for t in found.searched.trials],
        "search_s": search_s,
    }  # fmt: skip


def sizes(graph: Graph) -> int:
    """Numbers in all weights."""
    return sum(int(np.prod(tensor.shape)) for tensor in graph.weights)


# -- a differentiable search with a latency in its loss ------------------------------------------------


def strengths(folder: Path) -> Row:
    """One search for each strength and seed; the networks of a seed start from the same warmed-up weights. The derived
    networks are trained on their own and measured in pairs with the first."""
    images, latency = task(folder, 1), latency_model(CHAIN)
    fewer = smaller(images, train=SEARCHED_ON)
    expected = ExpectedLatency(latency, CHAIN)
    start_ms = float(expected(ChainSupernet(CHAIN).probabilities().detach()))
    target_ms = CHAIN_SHARE * start_ms
    searched = []
    for seed in range(CHAIN_SEEDS):
        warm = ChainSupernet(CHAIN, seed)
        warm_up(warm, fewer, replace(WARMING, seed=seed))
        for strength in STRENGTHS:
            supernet_ = copy.deepcopy(warm)
            cost = LatencyLoss(target_ms, "abs", strength)
            settings = replace(SEARCHING, weights=replace(SEARCHING.weights, seed=seed))
            found = search(supernet_, fewer, expected, cost, latency.predict, settings)
            relaxed, derived = (evaluate(net, images, "search") for net in (supernet_, supernet_.at(found.arch)))
            searched.append({
                "strength": strength, "seed": seed, "arch": found.arch, "expected_ms": found.expected_ms, "derived_ms": found.derived_ms,
                "relaxed": relaxed, "derived": derived, "by_epoch": [epoch.expected_ms for epoch in found.history],
            })  # fmt: skip
            say(
                f"strength {strength:g}, seed {seed}: {found.arch}, {found.expected_ms:.4f} ms, relaxed {relaxed:.1f} %, derived {derived:.1f} %"
            )
    archs = list(dict.fromkeys(row["arch"] for row in searched))
    accuracy = {
        arch: np.mean([alone(CHAIN.graph(arch), images, seed) for seed in range(CHAIN_TRAININGS)]) for arch in archs
    }
    graphs = [CHAIN.graph(arch).renamed(f"chain {'-'.join(map(str, arch))}") for arch in archs]
    ms = dict(zip(archs, measured_ms(graphs, FINAL), strict=True))
    return {
        "predictor_error": error_of(latency), "start_ms": start_ms, "target_ms": target_ms,
        "rows": [{**row, "ms": ms[row["arch"]], "test": float(accuracy[row["arch"]])} for row in searched],
    }  # fmt: skip


def alone(graph: Graph, images: Task, seed: int) -> float:
    """The test accuracy of the network, trained on its own."""
    network = trainable(graph, seed=seed)
    fit(network, images, replace(ALONE, seed=seed))
    return evaluate(network, images)


# -- supernets with any number of filters ------------------------------------------------------------


@cache
def supernet(name: str, folder: Path) -> BypassSupernet:
    made = BypassSupernet(space_of(name))
    fit(made, task(folder, 1), SUPERNET, [OrderedDropout(made)])
    return made


def scores(name: str, folder: Path) -> Callable[[Arch], float]:
    """By shared weights; each architecture once."""
    return cache(SupernetScore(supernet(name, folder), smaller(task(folder, 1), search=SCORED_ON), batches=1))


@cache
def predictor() -> PhysicalPredictor:
    """For the networks of all three supernets."""
    return latency_model(*map(space_of, SPACES))


def predicted_limit(name: str) -> Limit:
    """No network is refused."""
    return Limit(lambda archs: predictor().predict([graph_of(name, tuple(arch)) for arch in archs.tolist()]))


def measured_limit(name: str) -> Limit:
    """No network is refused."""
    return Limit(lambda archs: np.array(measured_ms([graph_of(name, tuple(arch)) for arch in archs.tolist()])))


def space_of(name: str) -> BypassSpace:
    found: BypassSpace = globals()[SPACES[name]]
    return found


def graph_of(name: str, arch: Arch) -> Graph:
    return space_of(name).graph(arch).renamed(f"{name}: {'-'.join(map(str, space_of(name).filters_of(arch)))}")


def descents(folder: Path, name: str) -> Row:
    """Descents of three layers at once and of one, to a share of the largest network's latency, at equal evaluations:
    the best score within the target, by seed. In one supernet one more descent sees measured latencies."""
    space, score, largest = space_of(name), scores(name, folder), supernet(name, folder).derive()
    full_ms = float(predictor().predict([graph_of(name, largest)])[0])
    target_ms = DESCENT_SHARE * full_ms
    best: dict[str, list[float]] = {"1": [], "3": []}
    for seed in range(DESCENT_SEEDS):
        for layers in (1, 3):
            search = MultiLayerDescent(space, seed, layers=layers, target_ms=target_ms)
            trials = run(search, score, predicted_limit(name), Plan(DESCENT_EVALUATIONS)).trials
            best[str(layers)].append(max(t.score or 0.0 for t in trials if t.latency_ms <= target_ms))
        say(f"{name}, seed {seed}: one layer {best['1'][-1]:.2f} %, three {best['3'][-1]:.2f} %")
    steps = measured_descent(name, score, largest) if name == WIDE else []
    return {
        "full_ms": full_ms, "target_ms": target_ms, "best": best, "full": score(largest), "predictor_error": error_of(predictor()),
        "steps": steps,
    }  # fmt: skip


def measured_descent(name: str, score: Callable[[Arch], float], largest: Arch) -> list[Row]:
    """The steps of a descent in which each candidate is measured, with the latency of a second measurement."""
    target_ms = DESCENT_SHARE * measured_ms([graph_of(name, largest)])[0]
    search = MultiLayerDescent(space_of(name), 0, target_ms=target_ms)
    run(search, score, measured_limit(name), Plan(MEASURED_EVALUATIONS))
    again = measured_ms([graph_of(name, trial.arch) for _, trial in search.steps], fresh=True)
    return [
        {"budget_ms": budget_ms, "told_ms": trial.latency_ms, "again_ms": ms}
        for (budget_ms, trial), ms in zip(search.steps, again, strict=True)
    ]


def widths(folder: Path) -> Row:
    """A front of accuracy by shared weights and latency by the table, found by NSGA-II; some of its networks and as
    many random ones are cut out of the supernet, trained a little on their own, and measured."""
    name = WIDE
    space, images, shared = space_of(name), task(folder, 1), supernet(name, folder)
    trials = run(Nsga2(space, 0), scores(name, folder), predicted_limit(name), Plan(FRONT_EVALUATIONS)).trials
    is_first = first_front(np.array([(-(t.score or 0.0), t.latency_ms) for t in trials]))
    front = sorted((t for t, kept in zip(trials, is_first, strict=True) if kept), key=lambda t: t.latency_ms)
    places = np.unique(np.linspace(0, len(front) - 1, FRONT).round().astype(int))
    chosen = [front[i].arch for i in places]
    drawn = [a for a in sampling.random_archs(space, UNSEARCHED, np.random.default_rng(1)) if a not in chosen]
    ms = measured_ms([graph_of(name, arch) for arch in (*chosen, *drawn)])
    rows = []
    for arch, latency_ms in zip((*chosen, *drawn), ms, strict=True):
        alone = trainable(space.graph(arch), shared.weights_at(arch))
        fit(alone, images, TUNING)
        rows.append({
            "filters": space.filters_of(arch), "searched": arch in chosen, "predicted_ms": float(predictor().predict([space.graph(arch)])[0]), "ms": latency_ms,
            "shared": SupernetScore(shared, images).final(arch), "test": evaluate(alone, images),
        })  # fmt: skip
        say(f"{rows[-1]}")
    return {"rows": rows, "front": [(t.score, t.latency_ms) for t in front], "trials": len(trials)}


def one_part(part: str, folder: Path) -> None:
    """Adds the rows of a part that are missing to the file."""
    for name in SPACES if part == "descents" else [""]:
        if name in found_by(part):
            continue
        start = time.monotonic()
        found = WORK[part](folder, name)
        record = {"part": part, "name": name, "found": found, "seconds": round(time.monotonic() - start)}
        with (OUT / "rows.jsonl").open("a") as stream:
            stream.write(json.dumps(record) + "\n")


WORK: dict[str, Callable[[Path, str], Row]] = {
    "shrink": lambda folder, _: shrink(folder), "strengths": lambda folder, _: strengths(folder), "descents": descents, "widths": lambda folder, _: widths(folder),
}  # fmt: skip


def stored() -> list[Row]:
    file = OUT / "rows.jsonl"
    return [json.loads(line) for line in file.read_text().splitlines()] if file.is_file() else []


def found_by(part: str) -> dict[str, Row]:
    """By name, what the part found."""
    return {row["name"]: row["found"] for row in stored() if row["part"] == part}


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


# -- the page ------------------------------------------------------------------------------------------


def page() -> str:
    sections = {
        "shrink": shrink_section,
        "strengths": strengths_section,
        "descents": descents_section,
        "widths": widths_section,
    }
    lines = [
        f"`{COMMAND}`", "", "# Searches that train and measure", "",
        f"Fashion-MNIST at {SIDE} x {SIDE} pixels, {IMAGES * 5 // 6:,} images to train, {IMAGES // 6:,} to search and 10,000 to test; "
        f"device {DEVICE} on {environment.hardware()['cpu']}, while other programs kept both cores busy: latencies are at the undisturbed speed, by the processor's time. "
        "Searches saw only the images to search; those to test chose nothing.", "",
        *(["![Left: students of a teacher; middle: networks found with a latency loss; right: networks of a supernet](search.svg)", ""] if found_by("shrink") or found_by("widths") else []),
    ]  # fmt: skip
    for part, section in sections.items():
        lines += section(found_by(part)) if found_by(part) else [f"The part `{part}` has not been computed.", ""]
    return "\n".join(lines)


def yes(is_reached: bool) -> str:
    return "yes" if is_reached else "no"


def winner_of(found: Row) -> Row:
    """The best finalist on the images to search, of those whose measured latency is within the target."""
    fitting = [f for f in found["finalists"] if f["ratio"] <= SHRINK_TO] or found["finalists"]
    best: Row = max(fitting, key=lambda f: f["searched"])
    return best


def shrink_section(parts: Mapping[str, Row]) -> list[str]:
    found = parts[""]
    teacher, best = found["teacher"], winner_of(found)
    return [
        "## A teacher shrunk by ESNAC (arXiv 1902.00383)", "",
        f"Teacher: a ResNet of 8 blocks and 12 to 96 channels, trained for {TEACHING.epochs} epochs. ESNAC proposed {len(found['trials'])} "
        f"students within {found['target_ms']:.4f} ms, half of the teacher's latency as measured before ({found['refused']} more were refused); each was scored after "
        f"one epoch of distillation, in {found['search_s'] / 60:.0f} minutes together. The {len(found['finalists'])} best were distilled for {TEACHING.epochs} "
        "epochs and measured in pairs with the teacher. The one that is best on the images to search is the result.", "",
        "| network | weights | latency over the teacher's, with its 95 % interval | accuracy on the images to search, % | test accuracy, % |",
        "|---|---|---|---|---|",
        f"| teacher, {teacher['ms']:.4f} ms | {teacher['weights']:,} | 1 | {teacher['searched']:.2f} | {teacher['test']:.2f} |",
        *(
            f"| {'**student**' if f is best else 'student'} {'-'.join(map(str, f['arch']))} | {f['weights']:,} | {f['ratio']:.3f} ({f['low']:.3f} to {f['high']:.3f}) | "
            f"{f['searched']:.2f} | {f['test']:.2f} |"
            for f in found["finalists"]
        ),
        "", "| goal | reached |", "|---|---|",
        f"| half of the measured latency | {yes(best['high'] <= SHRINK_TO)}: {best['ratio']:.3f}, at most {best['high']:.3f} |",
        f"| within 1 point of the teacher | {yes(round(best['test'] - teacher['test'], 2) >= -1)}: {best['test'] - teacher['test']:+.2f} points; the standard error of an accuracy is 0.36 |",
        f"| finalists within their target by measurement | {sum(f['ratio'] <= SHRINK_TO for f in found['finalists'])} of {len(found['finalists'])} |", "",
    ]  # fmt: skip


def strengths_section(parts: Mapping[str, Row]) -> list[str]:
    found = parts[""]
    by_strength = {s: [r for r in found["rows"] if r["strength"] == s] for s in STRENGTHS}
    ms = {s: np.array([r["ms"] for r in rows]) for s, rows in by_strength.items()}
    test = {s: float(np.mean([r["test"] for r in rows])) for s, rows in by_strength.items()}
    free = float(ms[0.0].mean())
    errors = {s: float(m.std(ddof=1) / np.sqrt(len(m))) for s, m in ms.items()}
    falls = all(ms[b].mean() <= ms[a].mean() + errors[a] for a, b in pairwise(STRENGTHS))
    kept = [float(ms[s].mean() / free - 1) for s in STRENGTHS[1:] if test[0.0] - test[s] <= 1]
    gaps = [abs(r["relaxed"] - r["derived"]) for r in found["rows"]]
    ms_gaps = [abs(r["derived_ms"] / r["expected_ms"] - 1) for r in found["rows"]]
    least = min(sum(KERNELS[c] == max(KERNELS) for c in r["arch"]) for r in found["rows"])
    return [
        "## Strengths of a latency loss (LA-DARTS, arXiv 2001.06392; sparsestmax, arXiv 2101.06658)", "",
        f"A user's supernet (`tests/benchmarks/chain_supernet.py`): {len(CHAIN.choices)} blocks, each with a kernel of 1 or 3. Loss: cross-entropy + strength x "
        f"\\|expected latency / target - 1\\|; the target is {found['target_ms']:.4f} ms, {CHAIN_SHARE:.0%} of what is expected at the start. The latency is that of `physical`, whose error on networks left "
        f"out is {found['predictor_error']:.1%}. Searches of a seed start from the same weights. Accuracy: of the derived network, trained on its own for {ALONE.epochs} epochs.", "",
        "| strength | measured, ms, mean of seeds | against 0 | test accuracy, % | each seed, ms | derived, by seed |", "|---|---|---|---|---|---|",
        *(
            f"| {s:g} | {ms[s].mean():.4f} ± {errors[s]:.4f} | {ms[s].mean() / free - 1:+.1%} | {test[s]:.2f} | {', '.join(f'{m:.4f}' for m in ms[s])} | "
            f"{', '.join(''.join(str(KERNELS[c]) for c in r['arch']) for r in by_strength[s])} |"
            for s in STRENGTHS
        ),
        "", "| goal | reached |", "|---|---|",
        f"| measured latency falls, within its standard error, with each of {len(STRENGTHS)} strengths, {CHAIN_SEEDS} seeds | {yes(falls)} |",
        f"| at least 20 % faster at no more than 1 point of accuracy | {yes(min(kept, default=0.0) <= -0.2)}: {min(kept, default=0.0):+.1%} |",
        f"| no collapse, some kernel of {max(KERNELS)} stays | {yes(least > 0)}: at least {least} of {len(CHAIN.choices)} blocks keep a kernel of {max(KERNELS)} |",
        f"| no gap between the relaxed and the derived network | {yes(max(gaps) == 0)}: accuracy {max(gaps):.2f} points at most; latency {max(ms_gaps):.1%} at most, the error of the expectation |", "",
    ]  # fmt: skip


def descents_section(parts: Mapping[str, Row]) -> list[str]:
    lines = [
        "## Several layers at once against one (NetAdaptV2, arXiv 2104.00031)", "",
        f"Supernets of layers with any number of filters, trained by ordered dropout for {SUPERNET.epochs} epochs. Each descent has {DESCENT_EVALUATIONS} "
        f"evaluations to find the best network within {DESCENT_SHARE:.0%} of the latency of the largest; the score is the accuracy of the shared weights on {SCORED_ON} "
        f"images, the latency that of `physical`, which learned from {MEASURED} measured networks. {DESCENT_SEEDS} seeds. In one supernet, one more descent of {MEASURED_EVALUATIONS} evaluations "
        "has every candidate measured; the networks that its steps kept are measured once more.", "",
        "| supernet | predictor's error | largest, % | one layer, % | three layers, % | three at least one, seeds | three better | measured steps within their budget | measured again | largest excess then |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]  # fmt: skip
    for name, found in parts.items():
        one, three = (np.array(found["best"][n]) for n in ("1", "3"))
        lines.append(
            f"| {name} | {found['predictor_error']:.1%} | {found['full']:.2f} | {one.mean():.2f} | {three.mean():.2f} | {int((three >= one).sum())} of {len(one)} | {int((three > one).sum())} | "
            f"{steps_text(found['steps'])} |"
        )
    enough = [
        int(sum(b >= a for a, b in zip(f["best"]["1"], f["best"]["3"], strict=True))) >= 6 for f in parts.values()
    ]
    return [
        *lines, "", "| goal | reached |", "|---|---|",
        f"| at least single-layer descent in 6 of 10 seeds on 3 supernets | {yes(sum(enough) >= 3)}: on {sum(enough)} of {len(enough)} |", "",
    ]  # fmt: skip


def steps_text(steps: Sequence[Row]) -> str:
    if not steps:
        return "| | "
    told, again = ([s[which] / s["budget_ms"] - 1 for s in steps] for which in ("told_ms", "again_ms"))
    return (
        f"{sum(e <= 0 for e in told)} of {len(told)} | {sum(e <= 0 for e in again)} of {len(again)} | {max(again):+.1%}"
    )


def widths_section(parts: Mapping[str, Row]) -> list[str]:
    rows = sorted(parts[""]["rows"], key=lambda r: (not r["searched"], r["ms"]))
    gaps = [
        optimization_gap([r[a] for r in rows], [r[b] for r in rows], is_cost)
        for a, b, is_cost in (("shared", "test", False), ("predicted_ms", "ms", True))
    ]
    return [
        "## A measured front of widths", "",
        f"NSGA-II, {parts['']['trials']} evaluations by the shared weights of the supernet with {WIDE}. Networks of its front and random ones were cut out of the supernet, "
        f"trained for {TUNING.epochs} more epochs each, and measured alone.", "",
        "| filters | | predicted, ms | measured, ms | shared weights, test, % | on its own, test, % |", "|---|---|---|---|---|---|",
        *(
            f"| {'-'.join(map(str, r['filters']))} | {'front' if r['searched'] else 'random'} | {r['predicted_ms']:.4f} | {r['ms']:.4f} | {r['shared']:.2f} | {r['test']:.2f} |"
            for r in rows
        ),
        "", f"Optimization gap: Kendall's tau of the shared weights' accuracy and that of the networks on their own is {gaps[0].kendall:.2f}, over the better half {gaps[0].kendall_upper:.2f}; of the "
        f"predicted and the measured latency {gaps[1].kendall:.2f}, over the faster half {gaps[1].kendall_upper:.2f}; {len(rows)} networks.",
        "", f"Random networks that no network of the front beats in both, measured: {undominated(rows)} of {sum(not r['searched'] for r in rows)}.", "",
    ]  # fmt: skip


def undominated(rows: Sequence[Row]) -> int:
    front = [r for r in rows if r["searched"]]
    others = [r for r in rows if not r["searched"]]
    return sum(not any(f["ms"] <= o["ms"] and f["test"] >= o["test"] for f in front) for o in others)


def draw() -> None:
    figure = Figure(figsize=(13, 4), layout="constrained")
    left, middle, right = figure.subplots(1, 3)
    if shrunk := found_by("shrink"):
        found = shrunk[""]
        left.plot(
            [ms for _, ms in found["trials"]],
            [score for score, _ in found["trials"]],
            ".",
            color="grey",
            label="students, one epoch",
        )
        left.plot(found["teacher"]["ms"], found["teacher"]["searched"], "k*", markersize=11, label="teacher")
        ms = [found["teacher"]["ms"] * f["ratio"] for f in found["finalists"]]
        left.plot(
            ms,
            [f["searched"] for f in found["finalists"]],
            "o",
            color="C1",
            label=f"finalists, {TEACHING.epochs} epochs",
        )
        left.axvline(found["target_ms"], color="grey", linestyle=":")
        left.set(
            xlabel="latency, ms; dotted: the target",
            ylabel="accuracy on the images to search, %",
            title="Students of a teacher (ESNAC)",
        )
    if lossy := found_by("strengths"):
        for strength in STRENGTHS:
            rows = [r for r in lossy[""]["rows"] if r["strength"] == strength]
            middle.plot([r["ms"] for r in rows], [r["test"] for r in rows], "o", label=f"strength {strength:g}")
        middle.axvline(lossy[""]["target_ms"], color="grey", linestyle=":")
        middle.set(
            xlabel="measured latency, ms; dotted: the target",
            ylabel="test accuracy, %",
            title="Strengths of a latency loss",
        )
    if wide := found_by("widths"):
        for searched, label, style in ((True, "front", "o-"), (False, "random", "s")):
            rows = sorted((r for r in wide[""]["rows"] if r["searched"] is searched), key=lambda r: r["ms"])
            right.plot([r["ms"] for r in rows], [r["test"] for r in rows], style, label=label)
        right.set(xlabel="measured latency, ms", ylabel="test accuracy, %", title="Networks of a supernet, trained on")
    for axes in (left, middle, right):
        axes.set_xlim(left=0)
        axes.grid(alpha=0.3)
        if axes.lines:
            axes.legend(loc="lower right")
    figure.savefig(OUT / "search.svg", metadata={"Date": None})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", choices=[[], *WORK], default=[])
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    OUT.mkdir(parents=True, exist_ok=True)
    STORE.parent.mkdir(exist_ok=True)
    for part in arguments.parts or WORK:
        one_part(part, arguments.data)
    draw()
    (OUT / "README.md").write_text(page())


if __name__ == "__main__":
    main()
