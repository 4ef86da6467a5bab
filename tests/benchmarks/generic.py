"""Makes a predictor of any network for this machine, sets it against networks of families that it never saw, and writes
both: latency_data/predictors/DEVICE-HARDWARE.hwp, which hwprof ships, and reports/generic, a page for each device.

    OMP_NUM_THREADS=1 python -m tests.benchmarks.generic measure [--device cpu-1t] [--minutes 25] [--models FOLDER]
    OMP_NUM_THREADS=1 python -m tests.benchmarks.generic report [--device cpu-1t]   # again, from what was measured

`measure` wants a quiet machine. It collects a generic sample for six tenths of the time, measures the networks to
predict for three, then trains. What it measures is kept in build/generic.db: another call collects more. --device takes
a device, or a runtime, of which it takes the first device that runs here. A runtime of integers gets every network
quantized. FOLDER holds the wheels of other people's networks that foreign_models.py names. --root FOLDER writes
everything there instead: to rehearse with --minutes 1.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cache, partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np

mpl.use("svg")
from matplotlib import pyplot as plt

from hwprof import cost, plugins, workloads
from hwprof.data import dataset
from hwprof.data.store import Store
from hwprof.device import Device, available
from hwprof.errors import HwprofError
from hwprof.graph import Graph
from hwprof.interfaces import Execute, OneVariantBackend
from hwprof.jobs import collecting
from hwprof.jobs.inputs import Wanted
from hwprof.measure import executed
from hwprof.measure.machine import fingerprint
from hwprof.measure.opening import require_runnable, smallest
from hwprof.measure.recording import Options, recording
from hwprof.measurement import FAST, Measurement, Status
from hwprof.predictors import learning, shipped
from hwprof.predictors.base import conformal_quantile
from hwprof.predictors.kernels import MOST_OUTSIDE
from hwprof.predictors.left_out import left_out_error
from hwprof.predictors.trained import Trained
from hwprof.spaces import sampling
from hwprof.variants.spec import change
from tests.benchmarks.foreign_models import networks as networks_of

ROOT = Path(__file__).parents[2]
SPACES = ("blockqnn", "darts", "fbnet", "hat", "nasbench201", "ofa_mbv3", "resnet_shrink", "rnn_lm")
PER_SPACE = 3
GOALS = {"light networks": 10.0, "workloads": 12.0, "third-party": 15.0, "spaces": 12.0}  # percent, after 15 minutes
COMMAND = "OMP_NUM_THREADS=1 python -m tests.benchmarks.generic measure"
COLLECTING, TESTING = 0.6, 0.3  # of the time
PART = 6  # networks between two looks at the clock
# Many networks count more than the last percent of each.
PROTOCOL = replace(FAST, budget_s=0.5, pilot_processes=2, min_processes=2)
MOST_SHIPPED = 60.0  # percent: the left-out error of families above which a predictor is not shipped
MINUTES = 15  # of collecting
FAMILIES_GOAL = 12.0  # percent
FEWEST = 3  # networks without which there is nothing to judge
PAUSE_S = 60.0  # without a process, after which nothing is being collected


@dataclass(frozen=True)
class Place:
    """Where everything of a device is, below a root."""

    root: Path
    device: Device

    @property
    def store(self) -> Path:
        return self.root / "build" / "generic.db"

    @property
    def listed(self) -> Path:
        """The group of each network to predict, by digest, on all devices."""
        return self.root / "build" / "generic-networks.json"

    @property
    def pages(self) -> Path:
        return self.root / "reports" / "generic"

    @property
    def data(self) -> Path:
        """The sample's folder: that of the device, unless it holds what another machine has measured."""
        folder = self.root / "latency_data" / f"generic-{self.device.name}"
        hardware = fingerprint(Options().limited_transport, self.device)
        is_ours = not folder.exists() or dataset.read(folder).card.hardware == hardware
        return folder if is_ours else folder.with_name(f"{folder.name}-{hardware}")

    @property
    def variant(self) -> str:
        """The variant in which the device's runtime takes networks, if it takes one alone."""
        backend = plugins.load("backend", self.device.backend)
        wanted = Wanted(variant=backend.variant) if isinstance(backend, OneVariantBackend) else Wanted()
        return wanted.on(self.device, Options()).variant or ""

    def predictor(self, hardware: str) -> Path:
        folder = self.root / "latency_data" / "predictors"
        folder.mkdir(parents=True, exist_ok=True)
        return folder / shipped.path_of(self.device.name, hardware).name


@dataclass(frozen=True)
class Row:
    """A network that nothing was learned from. `group`: of families like it."""

    group: str
    network: str
    measured_ms: float
    predicted_ms: float
    low_ms: float
    high_ms: float
    doubt: str

    @property
    def error(self) -> float:
        return self.predicted_ms / self.measured_ms - 1


def device_of(name: str) -> Device:
    """The device of this name, or the first one that runs here of the runtime of this name. Raises InputError for
    another name, and the reason of the last device where none runs."""
    devices = [device for device in map(Device.load, available()) if device.backend == name]
    if name in available() or not devices:
        return Device.load(name)
    for device in devices:
        try:
            require_runnable(smallest(device), device, Options().limited_transport)
        except HwprofError as error:
            reason = error
        else:
            return device
    raise reason


def varied(found: Iterator[tuple[str, Graph]], variant: str) -> Iterator[tuple[str, Graph]]:
    """The networks of each group in the variant, without those that it does not fit."""
    changed = change(variant)
    for group, graph in found:
        try:
            yield group, changed(graph).renamed(graph.name)
        except HwprofError as error:
            print(f"left out: {graph.name}: {error}", file=sys.stderr)


def networks(models: Path | None, work: Path) -> Iterator[tuple[str, Graph]]:
    for name in workloads.names():
        yield ("light networks" if name.startswith("light_") else "workloads"), workloads.build(name)
    for name in SPACES:
        space = plugins.load("space", name)
        for arch in sampling.random_archs(space, PER_SPACE, np.random.default_rng(5)):
            yield name, space.graph(arch)
    if models:
        yield from third_party(models, work)


def third_party(folder: Path, work: Path) -> Iterator[tuple[str, Graph]]:
    """Networks of other people and PyTorch modules, with the shapes and values that their own code hands over.

    work: where their files are kept for as long as they are measured.
    """
    work.mkdir(parents=True, exist_ok=True)
    for name, _, opened in networks_of(folder, work):
        if name.startswith("onnx/"):
            continue  # the light networks
        try:
            yield "third-party", opened(work).renamed(name.removesuffix(".onnx"))
        except HwprofError as error:
            print(f"left out: {name}: {error}", file=sys.stderr)


def measure(place: Place, minutes: float, models: Path | None) -> None:
    """Collects, measures what is to be predicted, and reports; a network that fails costs only itself."""
    start, variant = time.monotonic(), place.variant
    options = Options(
        PROTOCOL,
        allow_unfit=True,
        wait_s=600.0,
        with_operators=False,
        keep_unconverged=True,
        on_note=partial(print, flush=True),
    )
    collected = collecting.collect(
        "generic", place.device, minutes=COLLECTING * minutes, variant=variant, out=place.data, store=place.store,
        options=options,
    )  # fmt: skip
    print(f"collected {len(collected.dataset.entries)} networks in {time.monotonic() - start:.0f} s", flush=True)
    found = list(varied(networks(models, place.root / "build" / "third-party"), variant))
    groups = {**groups_of(place), **{graph.digest: group for group, graph in found}}
    place.listed.write_text(json.dumps([(group, digest) for digest, group in groups.items()]))
    end = max(start + 60 * (COLLECTING + TESTING) * minutes, time.monotonic() + 60 * TESTING * minutes / 2)
    order = np.random.default_rng(0).permutation(len(found)).tolist()  # so that each group has some whenever it ends
    with Store(place.store) as store, recording(place.device, store, options) as recorder:
        while order and (len(found) - len(order) < PART or time.monotonic() < end):
            part, order = order[:PART], order[PART:]
            try:
                for outcome in recorder.profile_many([found[i][1] for i in part]):
                    print(outcome.graph.name, outcome.error or "measured", flush=True)
            except HwprofError as error:
                print(f"left out: {error}", flush=True)
    print(f"measured what is to be predicted; {len(order)} networks were left out for lack of time", flush=True)
    report(place)


def groups_of(place: Place) -> Mapping[str, str]:
    """The group of each network to predict, by digest; none before the first call."""
    return {digest: group for group, digest in json.loads(place.listed.read_text())} if place.listed.exists() else {}


def measured(place: Place, hardware: str) -> list[tuple[str, Graph, Measurement]]:
    """The networks to predict, each with its group and newest measurement. The same network may have several names."""
    groups, rows = groups_of(place), dict[str, tuple[str, Graph, Measurement]]()
    with Store(place.store) as store:
        for m in store.measurements():
            text = store.graph(m.digest) if m.digest in groups else None
            ours = (m.device.digest, m.hardware) == (place.device.digest, hardware)
            if text and ours and m.status is not Status.INVALID:
                rows[m.digest] = groups[m.digest], Graph.from_json(text), m
    return list(rows.values())


def collecting_minutes(data: dataset.Dataset) -> float:
    """For how long the networks were collected: from process to process, without the pauses."""
    starts = sorted(datetime.fromisoformat(p.started) for m in data.measurements() for p in m.processes)
    seconds = [(after - before).total_seconds() for before, after in pairwise(starts)]
    return sum(s for s in seconds if s < PAUSE_S) / 60


def judged(
    predictor: Trained, tested: Sequence[tuple[str, Graph, Measurement]], execute: Execute | None = None
) -> list[Row]:
    """execute: what the runtime executes of a network."""
    graphs = [graph for _, graph, _ in tested]
    certain = predictor.predict(graphs, execute=execute)
    anyway = predictor.predict(graphs, execute=execute, extrapolate=True, lower_bound=True)
    return [
        Row(group, m.model, m.normalized.median, a.latency_ms, a.low_ms, a.high_ms, "" if c.is_known else c.doubt)
        for (group, _, m), c, a in zip(tested, certain, anyway, strict=True)
    ]


def macs_line(data: dataset.Dataset, tested: Sequence[tuple[str, Graph, Measurement]]) -> np.ndarray:
    """ms, [n]: log-linear in the multiply-adds, learned from the same networks."""
    macs = np.array([max(cost.of(graph).macs, 1) for graph in data.graphs(learning.space_of(data.card))])
    slope, start = np.polyfit(np.log(macs), np.log(data.normalized_ms), 1)
    return np.exp(start + slope * np.log([_macs(graph) for _, graph, _ in tested]))


def _macs(graph: Graph) -> float:
    """NaN where they are not known: of an operator without a rule, or of a tensor without a shape."""
    try:
        return float(cost.of(graph).macs) if not cost.unknown_operators(graph) else np.nan
    except HwprofError:
        return np.nan


def report(place: Place) -> None:
    """Trains, and writes the predictor and the pages from what was measured."""
    transport = Options().limited_transport
    with executed.asked(place.device, transport, partial(print, flush=True), place.data) as execute:
        write(place, None if execute is None else cache(execute))


def write(place: Place, execute: Execute | None) -> None:
    place.pages.mkdir(parents=True, exist_ok=True)
    data, device = dataset.read(place.data), place.device
    start = time.process_time()
    trained = learning.learn(data, "kernels", execute=execute)
    seconds = time.process_time() - start
    assert trained.origin is not None
    ships = trained.origin.mape <= MOST_SHIPPED
    file = place.predictor(data.card.hardware) if ships else place.store.with_name(f"generic-{device.name}.hwp")
    trained.save(file)
    told = "" if ships else f"; not shipped, because that is above {MOST_SHIPPED:.0f} %"
    print(f"wrote {file}: left-out error {trained.origin.mape:.1f} %{told}", flush=True)
    tested = measured(place, data.card.hardware)
    if len(tested) < FEWEST:
        print("too few networks were measured to judge it: no page was written")
        return
    rows = judged(trained, tested, execute)
    try:
        physical = judged(learning.learn(data, "physical"), tested)
    except HwprofError as error:
        print(f"physical: {error}")
        physical = [replace(row, predicted_ms=np.nan) for row in rows]
    start = time.process_time()
    trained.predict([graph for _, graph, _ in tested])
    each_ms = 1000 * (time.process_time() - start) / len(tested)
    line = macs_line(data, tested) / [m.normalized.median for *_, m in tested] - 1
    draw(rows, place.pages / f"{device.name}.svg")
    families = families_of(trained.predictor)
    record = {
        "cpu": data.card.machine.get("cpu", ""), "hardware": data.card.hardware, "learned": data.card.rows,
        "minutes": collecting_minutes(data), "families": [families[-1].mape, families[-1].mape_of_all],
        "networks": [vars(row) for row in rows],
    }  # fmt: skip
    (place.pages / f"{device.name}.json").write_text(json.dumps(record, indent=1) + "\n")
    lines = page(data, trained, rows, physical, line, seconds, each_ms, device, file)
    (place.pages / f"{device.name}.md").write_text(lines)
    records = {path.stem: json.loads(path.read_text()) for path in sorted(place.pages.glob("*.json"))}
    (place.pages / "README.md").write_text(index(records))


def index(records: Mapping[str, Mapping[str, Any]]) -> str:
    """records: what `report` wrote, by device. Returns the page on all devices."""
    lines = [
        f"<!-- {COMMAND} --device DEVICE -->",
        "# Networks of families that a predictor never saw",
        "",
        f"One predictor for each device, shipped with hwprof unless its error on families left out is above "
        f"{MOST_SHIPPED:.0f} %. MAPE of the predicted networks in percent, and how many of the networks these are; the "
        f"rest are abstentions. The goals are those for {MINUTES} minutes of collecting. The page of each device has "
        "every network.",
        "",
        f"| device | processor | networks learned from | collected in, minutes | {' | '.join(GOALS)} | families left "
        "out (without abstaining) | 90 % intervals hold | median half-width |",
        f"| --- | --- | --: | --: |{' --: |' * (len(GOALS) + 3)}",
        f"| goal | | | {MINUTES} | {' | '.join(f'{goal:.0f}' for goal in GOALS.values())} | {FAMILIES_GOAL:.0f} | 85 % "
        "| 20 % |",
        *(_device_line(name, record) for name, record in records.items()),
        "",
        "Some rules were chosen after the abstentions of these networks on cpu-1t had been seen (2026-11-29): kernels "
        "without multiply-adds are known if they are no larger than those learned from; neither a bias nor weights "
        "beyond the caches make a product unknown; absorbed operators have a common kind; and the sample has families "
        "at the edges of real networks (`hwprof.spaces.generic_extremes`). The counts of abstentions are not blind, on "
        "any device.",
    ]
    return "\n".join(lines) + "\n"


def _device_line(device: str, record: Mapping[str, Any]) -> str:
    rows = [Row(**row) for row in record["networks"]]
    (inside, width), (known, every) = intervals(rows), record["families"]
    cells = []
    for group in GOALS:
        some = [row for row in rows if row.group == group or (group == "spaces" and row.group in SPACES)]
        errors = [abs(row.error) for row in some if not row.doubt]
        cells.append(f"{100 * np.mean(errors):.1f} ({len(errors)} of {len(some)})" if errors else f"0 of {len(some)}")
    return (
        f"| [{device}]({device}.md) | {record['cpu']} {record['hardware']} | {record['learned']} | "
        f"{'' if 'minutes' not in record else format(record['minutes'], '.0f')} | {' | '.join(cells)} | "
        f"{known:.1f} ({every:.1f}) | {inside:.0%} | {width:.0%} |"
    )


def intervals(rows: Sequence[Row]) -> tuple[float, float]:
    """The share of the predicted networks that the 90 % intervals hold, and their median half-width."""
    known = [row for row in rows if not row.doubt]
    inside = np.mean([row.low_ms <= row.measured_ms <= row.high_ms for row in known])
    return float(inside), float(np.median([(row.high_ms / row.low_ms) ** 0.5 - 1 for row in known]))


def page(
    data: dataset.Dataset, trained: Trained, rows: list[Row], physical: list[Row], line: np.ndarray, seconds: float,
    each_ms: float, device: Device, file: Path,
) -> str:  # fmt: skip
    card, origin = data.card, trained.origin
    assert origin is not None
    known = [row for row in rows if not row.doubt]
    converged = sum(entry.status == Status.CONVERGED.value for entry in data.entries)
    widths = [(high - low) / 2 / ms for ms, low, high in (entry.label for entry in data.entries)]
    inside, width = intervals(rows)
    size = file.stat().st_size
    lines = [
        f"<!-- {COMMAND} --device {device.name} -->",
        f"# Networks of families that the predictor never saw, on {device.name}",
        "",
        f"{card.machine.get('cpu', '')} {card.hardware}; {card.rows} operators and random networks, measured on "
        f"{card.first_date[:10]} by {collecting_minutes(data):.0f} minutes of `hwprof collect --sample generic` "
        f"({converged} of them to their precision; "
        f"{_labels(widths)}). Trained in {seconds:.0f} s on one "
        f"thread{_besides(trained.predictor)}; {each_ms:.1f} ms a prediction, from the graph on by rules; "
        f"the file has {size / 1e3:.0f} kB. Percent; "
        "the errors are of the predicted networks, abstentions apart.",
        "",
        "| networks | n | abstains | MAPE | goal | worst | mean signed | without abstaining | `physical`, same data | "
        "MACs line |",
        "| --- | --: | --: | --: | --: | --: | --: | --: | --: | --: |",
    ]
    groups = list(dict.fromkeys(row.group for row in rows))
    chosen = {group: [row.group == group for row in rows] for group in groups}
    chosen["spaces"] = [row.group in SPACES for row in rows]
    chosen["all"] = [True] * len(rows)
    lines += [_group(name, rows, physical, line, np.array(mask)) for name, mask in chosen.items()]
    lines += [
        "",
        _choice(trained.predictor),
        "",
        f"The 90 % intervals hold {inside:.0%} of the predicted networks; their median half-width is {width:.0%}.",
        "",
        "## Families of the sample left out of the training",
        "",
        "A fifth of the families at a time. The MAPE is that of the networks that would be predicted; the 90 % "
        "intervals are those by the errors of the other families.",
        "",
        "| family | n | abstains | MAPE | without abstaining | intervals hold |",
        "| --- | --: | --: | --: | --: | --: |",
        *(
            f"| {f.name} | {f.n} | {f.n - f.known} | {f.mape:.1f} | {f.mape_of_all:.1f} | {f.inside:.0%} |".replace(
                "nan%", ""
            ).replace("nan", "")
            for f in families_of(trained.predictor)
        ),
        "",
        f"![predicted against measured]({device.name}.svg)",
        "",
        "## Abstentions, and why",
        "",
        "| network | measured ms | would be | because |",
        "| --- | --: | --: | --- |",
        *(f"| {r.network} | {r.measured_ms:.4g} | {r.error:+.0%} | {r.doubt} |" for r in rows if r.doubt),
        "",
        "## Light networks, workloads and third-party networks",
        "",
        "| network | measured ms | predicted | 90 % interval | error |",
        "| --- | --: | --: | --: | --: |",
        *(
            f"| {r.network} | {r.measured_ms:.4g} | {r.predicted_ms:.4g} | {r.low_ms:.4g} .. {r.high_ms:.4g} | "
            f"{r.error:+.0%} |"
            for r in known
            if r.group not in SPACES
        ),
    ]
    return "\n".join(lines) + "\n"


@dataclass(frozen=True)
class Family:
    """n networks of a family left out, of which `known` would be predicted. inside: the share of these in their 90 %
    intervals."""

    name: str
    n: int
    known: int
    mape: float
    mape_of_all: float
    inside: float


def families_of(predictor: Any) -> list[Family]:
    """The families that a predictor of kernels was judged by, the one with the largest error first, and all together
    at the end."""
    judged = predictor.by_runtime_ or predictor
    names, known = np.array(judged.families_), judged.outside_ <= MOST_OUTSIDE
    errors, scores = np.abs(judged.errors_), np.abs(judged.errors_) / np.hypot(judged.spreads_, judged.least_spread_)
    inside = np.zeros(len(names), bool)
    for name in set(names.tolist()):
        inside |= (names == name) & (scores <= conformal_quantile(scores[known & (names != name)], 0.9))

    def family(name: str, own: np.ndarray) -> Family:
        percent = 100 * np.abs(np.expm1(-judged.errors_))
        some = own & known
        means = [float(a.mean()) if len(a) else np.nan for a in (percent[some], percent[own], inside[some])]
        return Family(name, int(own.sum()), int(some.sum()), *means)

    found = [family(name, names == name) for name in sorted(set(names.tolist()))]
    found.sort(key=lambda one: -np.nan_to_num(one.mape))
    return [*found, family("all", np.ones(len(errors), bool))]


def _besides(predictor: Any) -> str:
    return "" if np.isnan(predictor.mape_by_runtime_) else ", without the time of asking the runtime"


def _choice(predictor: Any) -> str:
    """Which kernels it predicts by, and what decided that."""
    by_runtime = predictor.mape_by_runtime_
    if np.isnan(by_runtime):
        return "The runtime does not say which kernels it executes: they are told by rules."
    by_rules = left_out_error(predictor.errors_).mape
    chosen = (
        "The former are used where the runtime is installed and they are like those learned from"
        if predictor.by_runtime_
        else "The latter are used"
    )
    return (
        f"By the kernels that the runtime says it executes, the error on families left out is {by_runtime:.1f} %, by "
        f"those that the rules tell from the graph {by_rules:.1f} %. {chosen}."
    )


def _labels(half_widths: Sequence[float]) -> str:
    known = [width for width in half_widths if np.isfinite(width)]
    if len(known) < len(half_widths) / 2:
        return "too few processes each for an interval of most labels"
    return f"half of the labels are known to +-{np.median(known):.0%} or better"


def _group(name: str, rows: list[Row], physical: list[Row], line: np.ndarray, mask: np.ndarray) -> str:
    some = [row for row, wanted in zip(rows, mask, strict=True) if wanted]
    errors = 100 * np.array([row.error for row in some if not row.doubt])
    every = 100 * np.abs([row.error for row in some])
    other = 100 * np.abs([row.error for row, wanted in zip(physical, mask, strict=True) if wanted])
    mape = np.abs(errors).mean() if len(errors) else np.nan
    goal = GOALS.get(name)
    asked = "" if goal is None else f"{goal:.0f}{'' if mape <= goal else ', not met' if len(errors) else ', not known'}"
    worst, signed = (np.abs(errors).max(), errors.mean()) if len(errors) else (np.nan, np.nan)
    cells = (
        name, len(some), len(some) - len(errors), f"{mape:.1f}", asked, f"{worst:.0f}", f"{signed:+.1f}",
        f"{every.mean():.1f}", f"{np.nanmean(other):.1f}", f"{100 * np.nanmean(np.abs(line[mask])):.0f}",
    )  # fmt: skip
    return f"| {' | '.join(map(str, cells))} |".replace("+nan", "").replace("nan", "")


def draw(rows: list[Row], path: Path) -> None:
    figure, axes = plt.subplots(figsize=(6.5, 5))
    groups = list(dict.fromkeys("spaces" if row.group in SPACES else row.group for row in rows))
    for i, group in enumerate(groups):
        for hollow in (False, True):
            some = [
                r for r in rows if ("spaces" if r.group in SPACES else r.group) == group and bool(r.doubt) == hollow
            ]
            axes.scatter(
                [r.measured_ms for r in some], [r.predicted_ms for r in some], s=22, edgecolors=f"C{i}",
                facecolors="none" if hollow else f"C{i}", label=None if hollow else group,
            )  # fmt: skip
    ends = [min(r.measured_ms for r in rows), max(r.measured_ms for r in rows)]
    axes.plot(ends, ends, color="0.5", linewidth=0.8)
    axes.set(xscale="log", yscale="log", xlabel="measured, ms", ylabel="predicted, ms (hollow: it abstains)")
    axes.legend(frameon=False)
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("what", choices=("measure", "report"))
    parser.add_argument("--device", default="cpu-1t")
    parser.add_argument("--minutes", type=float, default=MINUTES / COLLECTING, help="in all; by default 25")
    parser.add_argument("--models", type=Path)
    parser.add_argument("--root", type=Path, default=ROOT)
    asked = parser.parse_args()
    place = Place(asked.root, device_of(asked.device))
    place.store.parent.mkdir(parents=True, exist_ok=True)
    measure(place, asked.minutes, asked.models) if asked.what == "measure" else report(place)


if __name__ == "__main__":
    main()
