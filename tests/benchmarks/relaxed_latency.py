"""Sets the relaxed latency against Monte Carlo, and times it, and writes reports/relaxed-latency.

    OMP_NUM_THREADS=1 python tests/benchmarks/relaxed_latency.py [--darts DIR] [--data FOLDER] [--quick] [OUT]

DIR is a data set of the darts space (latency_data/darts-cpu-1t by default); without one, its latencies are calculated
by a roofline, and the report says so. FOLDER defaults to ../shared/data beside the repository. A quarter of an hour of
one core; --quick only tries the program.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow.parquet as pq
import torch

from hwprof import onnx_io, plugins
from hwprof.data import dataset
from hwprof.device import Device
from hwprof.encoders.physical import PhysicalEncoder
from hwprof.graph import Graph
from hwprof.interfaces import Arch, Predictor, SearchSpace
from hwprof.latency_table import Metadata, build
from hwprof.objective.expected import TABULATED_MOST, ExpectedLatency, Method
from hwprof.objective.loss import LatencyLoss
from hwprof.objective.relaxed import draw, one_hot, random_probabilities
from hwprof.predictors.gcn import GraphPredictor
from hwprof.predictors.lut import LutPredictor
from hwprof.predictors.mlp import MlpPredictor
from hwprof.predictors.physical import PhysicalPredictor
from hwprof.predictors.xgboost import XGBoostPredictor
from hwprof.spaces import sampling
from hwprof.spaces.darts import Darts

ROOT = Path(__file__).parents[2]
COMMAND = "OMP_NUM_THREADS=1 python tests/benchmarks/relaxed_latency.py"
DEVICES = ("1080ti_1", "gold_6240", "raspi4")  # a GPU, a server and a small board
GOALS = {"mean": 0.01, "worst": 0.05, "cosine": 0.99}
AtArchs = Callable[[np.ndarray], np.ndarray]  # archs [n, n_positions] -> ms [n]
AtProbabilities = Callable[[torch.Tensor], torch.Tensor]  # p [n, sum(choices)] -> ms [n]


@dataclass(frozen=True, slots=True)
class Plan:
    """Of each alpha `draws` architectures are asked of the source, `slow_draws` where graphs must be built. Gradients
    are compared at the first `gradients` alphas (`slow_gradients`), from two architectures with every choice put in at
    every position."""

    alphas: int = 200
    draws: int = 256
    slow_draws: int = 8
    gradients: int = 200
    slow_gradients: int = 8
    repeats: int = 500
    trained: int = 300  # networks that each predictor learns from
    mlp_steps: int = 1500
    most_archs: int = 1200  # that a multilinear form asks for


QUICK = Plan(
    alphas=6, draws=8, slow_draws=2, gradients=2, slow_gradients=1, repeats=5, trained=220, mlp_steps=20, most_archs=300
)  # fmt: skip
_GRADIENT_DRAWS = 2


@dataclass(frozen=True, slots=True)
class Row:
    """Errors are relative. `monte_carlo`: mean standard error of the reference; `claimed`: the mean error that
    `expected_error_` tells, None for what is no ExpectedLatency."""

    space: str
    device: str
    predictor: str
    method: str
    mean: float
    worst: float
    cosine: float
    monte_carlo: float
    claimed: float | None
    fit_s: float


@dataclass(frozen=True, slots=True)
class Source:
    """A predictor's latencies by architecture. `slow`: it builds a graph for each. `module`: what LA-DARTS feeds
    with probabilities, the predictor's own network. `methods`: the relaxations to judge."""

    space: SearchSpace
    device: str
    name: str
    at: AtArchs
    slow: bool = False
    methods: tuple[Method, ...] = ("auto",)
    module: AtProbabilities | None = None


@dataclass(frozen=True, slots=True)
class Speed:
    """ms, the median of `repeats`."""

    what: str
    ms: float
    goal_ms: float | None
    repeats: int


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


# -- sources -----------------------------------------------------------------------------------------


class Remembered:
    """Asks a function of graphs for each architecture once, and builds few graphs at a time."""

    def __init__(self, space: SearchSpace, of_graphs: Callable[[Sequence[Graph]], np.ndarray]) -> None:
        self._space = space
        self._of_graphs = of_graphs
        self._known: dict[Arch, np.ndarray] = {}

    def __call__(self, archs: np.ndarray) -> np.ndarray:
        """archs: [n, n_positions]. Returns [n, ...]."""
        keys = tuples(archs)
        new = [key for key in dict.fromkeys(keys) if key not in self._known]
        for start in range(0, len(new), 50):
            some = new[start : start + 50]
            self._known.update(zip(some, self._of_graphs([self._space.graph(arch) for arch in some]), strict=True))
        return np.array([self._known[key] for key in keys])


def tuples(archs: np.ndarray) -> list[Arch]:
    return [tuple(map(int, arch)) for arch in archs]


def sources(
    space: SearchSpace,
    encoded: Remembered,
    device: str,
    archs: Sequence[Arch],
    ms: np.ndarray,
    all_of_them: bool,
    mlp_steps: int,
) -> list[Source]:
    """The predictors, each fitted to the same networks; `all_of_them`, or those that are quick."""

    def physical(name: str, predictor: PhysicalPredictor, *methods: Method) -> Source:
        fitted = predictor.fit(encoded(np.array(archs)), ms)
        return Source(space, device, name, lambda a: fitted.predict(encoded(a)), slow=True, methods=methods)

    def of_archs(name: str, predictor: Predictor, *methods: Method) -> Source:
        fitted = predictor.fit(archs, ms)
        module = fitted.expected_ms if isinstance(fitted, MlpPredictor) else None
        return Source(space, device, name, lambda a: fitted.predict(tuples(a)), methods=methods, module=module)

    found = [
        physical("physical", PhysicalPredictor(), "auto"),
        of_archs("lut", LutPredictor(space), "auto"),
        of_archs("xgboost", XGBoostPredictor(space), "auto"),
        of_archs("mlp", MlpPredictor(space, steps=mlp_steps), "auto"),
    ]
    if all_of_them:
        found += [
            physical("physical, critical path alone", PhysicalPredictor(hypotheses=("path",)), "auto"),
            of_archs("xgboost", XGBoostPredictor(space), "distilled"),
            of_archs("mlp trained as in LA-DARTS", MlpPredictor(space, steps=mlp_steps, soft_weight=0.0)),
        ]
    if all_of_them and not isinstance(space, Darts):  # derived networks lack operators that a supernet's edges have
        network = GraphPredictor(epochs=20).fit([space.graph(arch) for arch in archs], ms)
        found.append(Source(space, device, "gcn", Remembered(space, network.predict), slow=True, methods=("auto",)))
    return found


def published(folder: Path, space: Any, device: str, n: int) -> tuple[list[Arch], np.ndarray]:
    """Random cells of NAS-Bench-201 that others measured, and their latencies, ms."""
    rows = pq.read_table(folder / "nb201_latency_ms.parquet").to_pylist()
    some = [rows[i] for i in np.random.default_rng(0).permutation(len(rows))[:n]]
    return [space.parse(row["arch"]) for row in some], np.array([row[device] for row in some])


def of_darts(space: SearchSpace, folder: Path, n: int) -> tuple[str, list[Arch], np.ndarray]:
    """Where the latencies are from, the architectures and their latencies, ms."""
    if folder.is_dir():
        data = dataset.read(folder)
        some = np.random.default_rng(0).permutation(len(data.entries))[:n]
        return f"{folder.name}, measured", [data.archs[i] for i in some], data.normalized_ms[some]
    archs = sampling.random_archs(space, n, np.random.default_rng(0))
    return "roofline-edge-gpu, analytic, NOT measured", archs, Remembered(space, roofline)(np.array(archs))


def roofline(graphs: Sequence[Graph]) -> np.ndarray:
    """[n], ms, calculated."""
    backend, device = plugins.load("backend", "roofline"), Device.load("roofline-edge-gpu")
    ms = []
    for graph in graphs:
        with backend.open(graph, device) as timer:
            ms.append(timer(1)[0] / 1e6)
    return np.array(ms)


# -- relaxed against a reference ----------------------------------------------------------------------


class Reference(Protocol):
    """The expected latency of a source, found without the form that is judged."""

    def expected_ms(self, p: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """p: [n, sum(choices)]. Returns the expected latencies and their standard errors, ms, [n]."""

    def gradient_ms(self, p: np.ndarray) -> np.ndarray:
        """p: [sum(choices)]. Returns the gradient to it, [sum(choices)]: the expectation with each choice put in."""


class Enumerated:
    """The sum over all architectures of a small space, each with its probability: brute force."""

    def __init__(self, source: Source) -> None:
        self._choices = source.space.choices
        self._archs = np.array(list(sampling.enumerate_archs(source.space)))
        self._ms = source.at(self._archs)

    def expected_ms(self, p: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        offsets = np.cumsum([0, *self._choices[:-1]])
        expected = [row[self._archs + offsets].prod(axis=1) @ self._ms for row in p]
        return np.array(expected), np.zeros(len(p))

    def gradient_ms(self, p: np.ndarray) -> np.ndarray:
        bounds = np.cumsum([0, *self._choices])
        put_in = np.repeat(p[None], len(p), axis=0)
        for first, end in itertools.pairwise(bounds):
            put_in[first:end, first:end] = np.eye(end - first)
        return self.expected_ms(put_in)[0]


@dataclass(frozen=True, slots=True)
class MonteCarlo:
    """With a control variate: a multilinear form of the source, whose own expectation is known, so that only what it
    gets wrong on single architectures has to be sampled."""

    source: Source
    control: torch.nn.Module
    draws: int

    def expected_ms(self, p: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        archs = draw(self.source.space.choices, p, self.draws, np.random.default_rng(3))
        rest = self._rest(archs.reshape(-1, archs.shape[-1])).reshape(len(p), self.draws)
        with torch.no_grad():
            return self.control(torch.from_numpy(p)).numpy() + rest.mean(1), rest.std(1, ddof=1) / np.sqrt(self.draws)

    def gradient_ms(self, p: np.ndarray) -> np.ndarray:
        choices = self.source.space.choices
        drawn = draw(choices, p[None], _GRADIENT_DRAWS, np.random.default_rng(4))[0]
        put_in = np.repeat(drawn[None], sum(choices), axis=0)
        for row, (position, choice) in enumerate((i, c) for i, n in enumerate(choices) for c in range(n)):
            put_in[row, :, position] = choice
        rest = self._rest(put_in.reshape(-1, len(choices))).reshape(sum(choices), _GRADIENT_DRAWS)
        return gradient_of(self.control, p) + rest.mean(1)

    def _rest(self, archs: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            own = self.control(torch.from_numpy(one_hot(self.source.space.choices, archs))).numpy()
        return np.asarray(self.source.at(archs) - own)


def gradient_of(relaxed: AtProbabilities, p: np.ndarray) -> np.ndarray:
    """[sum(choices)]."""
    leaf = torch.from_numpy(p[None]).requires_grad_()
    (gradient,) = torch.autograd.grad(relaxed(leaf).sum(), leaf)
    return gradient[0].numpy()


def cosine(choices: Sequence[int], p: np.ndarray, a: np.ndarray, b: np.ndarray) -> float:
    """p, a, b: [sum(choices)], the latter gradients to p. Of the gradients to the alphas of p's softmax."""

    def to_alphas(gradient: np.ndarray) -> np.ndarray:
        bounds = np.cumsum(choices)[:-1]
        parts = zip(np.split(p, bounds), np.split(gradient, bounds), strict=True)
        return np.concatenate([share * (g - share @ g) for share, g in parts])

    a, b = to_alphas(a), to_alphas(b)
    return float(a @ b / (np.linalg.norm(a) * np.linalg.norm(b)))


def judged(source: Source, plan: Plan) -> list[Row]:
    """The relaxations of one source at random alphas, from almost uniform to almost decided."""
    space = source.space
    p = random_probabilities(space.choices, plan.alphas, np.random.default_rng([1, 2]))
    is_small = math.prod(space.choices) <= TABULATED_MOST
    reference: Reference | None = None
    fits: list[tuple[str, AtProbabilities, float | None, float]] = []
    for method in dict.fromkeys((*source.methods, *(() if is_small else ("multilinear",)))):
        start = time.perf_counter()
        fitted = ExpectedLatency(of_keys(source.at), space, inputs="arch", method=method, most_archs=plan.most_archs)
        seconds = time.perf_counter() - start
        if not is_small and method == "multilinear":
            reference = MonteCarlo(source, fitted.relaxed, plan.slow_draws if source.slow else plan.draws)
        if method in source.methods:
            fits.append((fitted.method, fitted.relaxed, fitted.expected_error_.mean, seconds))
    if source.module is not None:
        module = source.module
        fits.append(("its own network", lambda q: module(q.float()).double(), None, 0.0))
    reference = reference or Enumerated(source)
    expected, noise = reference.expected_ms(p)
    some = p[: plan.slow_gradients if source.slow and not is_small else plan.gradients]
    gradients = [reference.gradient_ms(row) for row in some]
    rows = []
    for name, relaxed, claimed, seconds in fits:
        with torch.no_grad():
            error = np.abs(relaxed(torch.from_numpy(p)).numpy() / expected - 1)
        alike = [
            cosine(space.choices, q, gradient_of(relaxed, q), g) for q, g in zip(some, gradients, strict=True)
        ]  # fmt: skip
        rows.append(Row(
            type(space).__name__, source.device, source.name, name, float(error.mean()), float(error.max()),
            float(np.mean(alike)), float((noise / expected).mean()), claimed, seconds,
        ))  # fmt: skip
        say(str(rows[-1]))
    return rows


def of_keys(at: AtArchs) -> Callable[[Sequence[Arch]], np.ndarray]:
    """The same function of a list of tuples."""
    return lambda archs: at(np.array(archs))


# -- speed -------------------------------------------------------------------------------------------


def median_ms(run: Callable[[], object], repeats: int) -> float:
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        run()
        times.append(1e3 * (time.perf_counter() - start))
    return statistics.median(times)


def loss_speed(darts: Sequence[Source], plan: Plan) -> list[Speed]:
    """Forward and backward of the latency loss, from the alphas of a DARTS supernet on."""
    found, loss = [], LatencyLoss(1.0)
    for source in darts:
        if source.name not in ("lut", "physical"):
            continue
        method: Method = "additive" if source.name == "lut" else "multilinear"
        expected = ExpectedLatency(of_keys(source.at), source.space, inputs="arch", method=method)
        alphas = torch.zeros(2, 14, 8, requires_grad=True)

        def step(expected: ExpectedLatency = expected, alphas: torch.Tensor = alphas) -> None:
            loss(expected(alphas.softmax(-1))).backward()

        what = f"latency loss forward + backward on darts, {source.name} ({expected.method})"
        found.append(Speed(what, median_ms(step, plan.repeats), 0.3, plan.repeats))
    return found


def table_speed(
    found: Sequence[Source], encoded: Remembered, archs: Sequence[Arch], ms: np.ndarray, quick: bool
) -> list[Speed]:
    """All cells of NAS-Bench-201, from architectures to latencies; from graphs, which have to be built, too."""
    space = found[0].space
    every = np.array(list(sampling.enumerate_archs(space))[: 100 if quick else None])
    what = f"{len(every):,} nasbench201 cells by "
    table = build.fit_choices(LutPredictor(space), archs, ms, Metadata("a device", "a runtime", 1, 1, "float32"))
    speeds = [
        Speed(f"{what}a latency table", median_ms(lambda: [table.sum_ms(arch) for arch in tuples(every)], 3), 1000.0, 3)
    ]
    start = time.perf_counter()
    Remembered(space, PhysicalEncoder().transform)(every)
    built_ms = 1e3 * (time.perf_counter() - start)
    encoded(every)
    for source in found:
        ms_of_all = median_ms(lambda at=source.at: at(every), 3)  # type: ignore[misc]
        known = ", their quantities known" if source.slow else ""
        speeds.append(Speed(f"{what}{source.name}{known}", ms_of_all, 1000.0, 3))
        if source.slow:
            total_ms = built_ms + ms_of_all
            speeds.append(Speed(f"{what}{source.name}, graphs built and encoded", total_ms, 1000.0, 1))
    return speeds


def onnx_speed(space: SearchSpace, archs: Sequence[Arch], ms: np.ndarray, plan: Plan) -> list[Speed]:
    """One ONNX file of about 200 operators."""
    physical = PhysicalPredictor(space).fit(archs, ms)
    arch = min(archs[:50], key=lambda a: abs(len(space.graph(a).nodes) - 200))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "network.onnx"
        onnx_io.save(space.graph(arch), path)
        graph = onnx_io.load(path)
        repeats = max(plan.repeats // 10, 3)
        what = f"one ONNX model of {len(graph.nodes)} operators predicted by physical"
        return [
            Speed(what, median_ms(lambda: physical.predict([graph]), repeats), 10.0, repeats),
            Speed(f"{what}, the file read, too", median_ms(lambda: physical.predict([onnx_io.load(path)]), repeats),
                  None, repeats),
        ]  # fmt: skip


# -- report ------------------------------------------------------------------------------------------


def page(rows: Sequence[Row], speeds: Sequence[Speed], where: str, plan: Plan) -> str:
    """Markdown."""
    ours = [row for row in rows if row.method != "its own network"]
    missed = [row for row in ours if not reached(row)]
    slow = [speed for speed in speeds if speed.goal_ms is not None and speed.ms > speed.goal_ms]
    lines = [
        f"`{COMMAND}`",
        "",
        "# The relaxed latency against Monte Carlo, and its speed",
        "",
        f"{plan.alphas} random alphas from almost uniform to almost decided. Reference: of NAS-Bench-201 the sum over "
        "all 15,625 cells, each with its probability; of DARTS the mean latency of architectures drawn "
        f"({plan.draws} of each alpha, {plan.slow_draws} where graphs are built), with a multilinear control variate; "
        "its standard error is the last column. Gradients are those to the alphas, at "
        f"{plan.gradients} alphas ({plan.slow_gradients} where graphs are drawn). Each predictor learned from "
        f"{plan.trained} networks; DARTS: {where}.",
        "",
        f"Goals: mean at most {GOALS['mean']:.0%}, worst at most {GOALS['worst']:.0%}, cosine at least "
        f"{GOALS['cosine']}. {len(ours) - len(missed)} of {len(ours)} relaxations reach them{named(missed)}. Rows of "
        '"its own network" feed probabilities to the predictor\'s own network, as LA-DARTS does, for comparison.',
        "",
        "| space | device | predictor | relaxed as | mean | worst | cosine | goals | told by `expected_error_` "
        "| fit, s | Monte Carlo |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
        *map(line, rows),
        "",
        "## Speed",
        "",
        f"`{COMMAND} --only-speed` times this part alone. Medians. "
        + (f"Missed: {'; '.join(s.what for s in slow)}." if slow else "Every goal is reached."),
        "",
        "| what | ms | goal, ms | |",
        "|---|---|---|---|",
        *(f"| {s.what} | {s.ms:.3g} | {'' if s.goal_ms is None else f'{s.goal_ms:g}'} | {answer(s)} |" for s in speeds),
    ]  # fmt: skip
    return "\n".join(lines) + "\n"


def named(missed: Sequence[Row]) -> str:
    return "".join(f"; missed: {r.space}, {r.device}, {r.predictor} ({r.method})" for r in missed)


def reached(row: Row) -> bool:
    return row.mean <= GOALS["mean"] and row.worst <= GOALS["worst"] and row.cosine >= GOALS["cosine"]


def answer(speed: Speed) -> str:
    return "" if speed.goal_ms is None else "yes" if speed.ms <= speed.goal_ms else "missed"


def line(r: Row) -> str:
    claimed = "" if r.claimed is None else f"{r.claimed:.2%}"
    return (
        f"| {r.space} | {r.device} | {r.predictor} | {r.method} | {r.mean:.2%} | {r.worst:.1%} | {r.cosine:.4f} | "
        f"{'yes' if reached(r) else 'missed'} | {claimed} | {r.fit_s:.1f} | {r.monte_carlo:.2%} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", nargs="?", type=Path, default=ROOT / "reports" / "relaxed-latency")
    parser.add_argument("--darts", type=Path, default=ROOT / "latency_data" / "darts-cpu-1t", help="a data set")
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data", help="the data of others")
    parser.add_argument("--quick", action="store_true", help="so little work that only the program is tried")
    parser.add_argument("--only-speed", action="store_true", help="time again, and keep the errors that OUT holds")
    arguments = parser.parse_args()
    if not arguments.data.is_dir():
        sys.exit(f"no data in {arguments.data}; give the folder as --data")
    torch.set_num_threads(1)
    plan = QUICK if arguments.quick else Plan()
    start = time.monotonic()
    cells = plugins.load("space", "nasbench201")
    darts = Darts(channels=8, cells=3) if arguments.quick else plugins.load("space", "darts")
    encoded = {space: Remembered(space, PhysicalEncoder().transform) for space in (cells, darts)}
    rows: list[Row] = []
    if arguments.only_speed:
        rows = [Row(**row) for row in json.loads((arguments.out / "results.json").read_text())["rows"]]
    for device in DEVICES[-1:] if arguments.only_speed else DEVICES[: 1 if arguments.quick else None]:
        archs, ms = published(arguments.data, cells, device, plan.trained)
        all_of_them = device == DEVICES[0] and not (arguments.quick or arguments.only_speed)
        found = sources(cells, encoded[cells], device, archs, ms, all_of_them, plan.mlp_steps)
        for source in () if arguments.only_speed else found:
            rows += judged(source, plan)
    speeds = table_speed(found, encoded[cells], archs, ms, arguments.quick)
    speeds += onnx_speed(cells, archs, ms, plan)
    if not arguments.only_speed:
        write(arguments.out, rows, speeds, "not yet", plan, time.monotonic() - start)
    where, archs, ms = of_darts(darts, arguments.darts, plan.trained)
    all_of_them = not (arguments.quick or arguments.only_speed)
    found = sources(darts, encoded[darts], where.split(",")[0], archs, ms, all_of_them, plan.mlp_steps)
    for source in () if arguments.only_speed else found:
        rows += judged(source, plan)
    speeds += loss_speed(found, plan)
    print(write(arguments.out, rows, speeds, where, plan, time.monotonic() - start))


def write(
    out: Path, rows: Sequence[Row], speeds: Sequence[Speed], where: str, plan: Plan, seconds: float
) -> str:  # fmt: skip
    """Returns the page."""
    out.mkdir(parents=True, exist_ok=True)
    text = page(rows, speeds, where, plan)
    (out / "README.md").write_text(text, encoding="utf-8")
    record = {
        "command": COMMAND, "seconds": seconds, "darts": where, "plan": asdict(plan), "goals": GOALS,
        "rows": [asdict(row) for row in rows], "speeds": [asdict(speed) for speed in speeds],
    }  # fmt: skip
    (out / "results.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    return text


if __name__ == "__main__":
    main()
