"""Draws architectures of a space, measures them in one sweep and writes them as a data set.

The sweep goes through the networks in parts, each measured round by round: only the graphs of one part are in
memory (300 quantized networks take gigabytes), and each graph is built once. The anchors correct for a slow hour that
hits one part and not another.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import chain, islice, repeat
from pathlib import Path
from time import monotonic
from typing import Any

import numpy as np

from hwprof.data import dataset
from hwprof.data.dataset import CARD, FOLDER, Dataset, Entry
from hwprof.data.store import DEFAULT_PATH, Store, opened
from hwprof.device import Device
from hwprof.encoders.execution import HYPOTHESES
from hwprof.encoders.kernels import KernelEncoder, Kernels
from hwprof.encoders.physical import PhysicalEncoder, by_hypothesis
from hwprof.errors import HwprofError, InputError
from hwprof.files import temporary_folder
from hwprof.graph import Graph
from hwprof.interfaces import Arch, SearchSpace
from hwprof.jobs.generic_sample import CHOSEN_FROM, Drawn, informed, interleaved
from hwprof.jobs.profiling import profile_many
from hwprof.jobs.side_by_side import on_each
from hwprof.measure.machine import require_times
from hwprof.measure.recording import Options, Outcome
from hwprof.measure.rounds import Cohort
from hwprof.measurement import FAST, Measurement, Status, at_one_speed
from hwprof.onnx_io import GivenInputs, as_texts, with_values
from hwprof.predictors.base import MIN_SAMPLES
from hwprof.predictors.left_out import LeftOutError, left_out_error
from hwprof.predictors.physical import PhysicalPredictor
from hwprof.spaces import SpaceOfFamilies, sampling
from hwprof.spaces.generic_models import own_networks
from hwprof.spaces.varied import VariedSpace, titled
from hwprof.variants.float_operators import told_of
from hwprof.variants.spec import change
from hwprof.workloads.loading import load_network

PART = 50  # networks in memory at once; a part's rounds still last minutes, longer than most disturbances
MOST_PARTS = 10  # at once, for a fleet
BATCH = 10  # networks between two looks at the error
CANDIDATES = 100  # of which a batch is chosen
FEWEST_JUDGED = 20  # below this a cross-validated error says nothing
MOST_UNTIL = 300  # networks, unless told, that are measured until an error is small enough
TIMED_PART = 20  # networks between two looks at the clock
MOST_TIMED = 100_000  # networks, unless told, that are measured until the time is up
_COUNTED = (
    "The figures are the instructions of one inference, by class, counted on an emulated core: they are not latencies."
)
_LABEL = "The label is normalized_ms, the latency at the machine's undisturbed speed; latency_ms is as the clock ran."


@dataclass(frozen=True, slots=True)
class Plan:
    """Which networks to collect: `n` with different graphs of the space of this reference (see `VariedSpace`). With a
    `target_mape` (percent) at most `n`: the sweep ends when the cross-validated error of the default predictor is
    below it. With `minutes` at most `n`: it ends after the networks that are being measured then. models: the user's
    own networks, which are measured as well, with parts and smaller forms of them."""

    space: str
    device: Device
    n: int
    variant: str = ""
    seed: int = 0
    target_mape: float | None = None
    inputs: tuple[tuple[str, str], ...] = ()
    minutes: float | None = None
    models: tuple[Graph, ...] = ()

    @property
    def name(self) -> str:
        """The name of the data set and its folder: SPACE-VARIANT-DEVICE."""
        space = re.sub(r"(\.py)?:", "-", self.space.rpartition("/")[2])
        return "-".join(filter(None, (space, self.variant.replace(":", ""), self.device.name)))


@dataclass(frozen=True, slots=True)
class Collected:
    """A data set that was collected. `failed`: networks that could not be measured. `error`: that of the default
    predictor, known only with a target."""

    dataset: Dataset
    failed: tuple[Outcome, ...] = ()
    error: LeftOutError | None = None


def collect(
    space: str | VariedSpace,
    device: Device | str = "cpu-1t",
    n: int | None = None,
    *,
    until_mape: float | None = None,
    minutes: float | None = None,
    models: Sequence[Graph | str | Path] = (),
    variant: str = "",
    out: Path | str | None = None,
    seed: int = 0,
    inputs: GivenInputs | None = None,
    store: Store | Path | str = DEFAULT_PATH,
    options: Options | None = None,
) -> Collected:
    """Measures `n` networks of a search space and writes them as a data set into `out` (latency_data/SPACE-DEVICE by
    default). The same call continues from the store after an interruption.

    inputs: as `profile` takes them, for every network. until_mape: percent; measure until the cross-validated error of
    a predictor is below it, at most `n` networks (300 by default). minutes: stop after this time; another call goes on
    for as long again. models: of a generic sample, the user's own networks, .onnx files or folders of them, which are
    measured as well, with parts and smaller forms of them; those that cannot be opened are noted. `options`: the fast
    protocol by default.

    Raises InputError without `n`, `until_mape` and `minutes`, or where `out` holds another data set, and the error of a
    network when none could be measured.
    """
    if n is None and until_mape is None and minutes is None:
        raise InputError("give n, the number of networks, until_mape, the error, or minutes, the time at which to stop")
    name, variant = (space.name, variant or space.variant) if isinstance(space, VariedSpace) else (space, variant)
    chosen = device if isinstance(device, Device) else Device.load(device)
    given = tuple(sorted(as_texts(inputs, None).items()))
    most = n if n is not None else MOST_UNTIL if minutes is None else MOST_TIMED
    plan = Plan(name, chosen, most, variant, seed, until_mape, given, minutes)
    asked = options or Options(FAST)
    if models and not isinstance(VariedSpace(name).space, SpaceOfFamilies):
        raise InputError(f"models belong to a generic sample; space {name!r} has networks of its own")
    plan = replace(plan, models=tuple(_own_models(models, asked)))
    with opened(store) as kept:
        return carry_out(plan, Path(out) if out else FOLDER / plan.name, kept, asked)


def _own_models(models: Sequence[Graph | str | Path], options: Options) -> Iterator[Graph]:
    """The networks of the files and of those in the folders."""
    for model in models:
        is_folder = isinstance(model, str | Path) and Path(model).is_dir()
        files = sorted(Path(str(model)).rglob("*.onnx")) if is_folder else [model]
        if not files:
            options.on_note(f"{model} holds no .onnx files")
        for file in files:
            try:
                yield load_network(file)
            except HwprofError as error:
                options.on_note(f"left out: {error}")


def collect_each(
    space: str, devices: Sequence[Device | str], n: int | None = None, *, store: Path | str = DEFAULT_PATH,
    options: Options | None = None, on_progress: Callable[[str, Cohort], None] = lambda _device, _cohort: None,
    **settings: Any,
) -> list[Collected]:  # fmt: skip
    """Collects on each device, as `collect` does with the same settings: a data set for each. On a fleet, all at once.

    on_progress: takes the device's name with each cohort.
    """
    chosen = [device if isinstance(device, Device) else Device.load(device) for device in devices]
    asked = options or Options(FAST)

    def collected(device: Device, own: Store) -> Collected:
        told = replace(asked, on_progress=partial(on_progress, device.name))
        return collect(space, device, n, store=own, options=told, **settings)

    with Store(store) as kept, temporary_folder() as folder:
        return on_each(chosen, collected, kept, asked, folder)


def carry_out(plan: Plan, out: Path, store: Store, options: Options) -> Collected:
    """Measures and writes the data set of a plan; continues and raises as `collect` does."""
    _check(plan, out)
    asked = replace(options, with_operators=False, keep_unconverged=True)
    sweep = _Sweep(plan, VariedSpace(plan.space, plan.variant), store, asked)
    error = None
    if plan.minutes is not None:
        _until_time_is_up(sweep, chain(sweep.held(out), sweep.networks()), monotonic() + 60 * plan.minutes)
    elif plan.target_mape is None:
        sweep.measure(sweep.networks(), plan.n)
        if sweep.tried < plan.n:
            options.on_note(f"space {plan.space} has only {sweep.tried} different networks")
    else:
        error = _until(sweep, plan.target_mape)
    return Collected(sweep.write(out), tuple(sweep.failed), error)


def _check(plan: Plan, out: Path) -> None:
    if plan.target_mape is not None:
        require_times(plan.device)
    if plan.minutes is not None and (plan.target_mape is not None or not plan.minutes > 0):
        raise InputError(f"--minutes must be positive, and does not go with --until; {plan.minutes:g} was given")
    if plan.n < 1:
        raise InputError(f"--n must be at least 1, not {plan.n}")
    if not (out / CARD).exists():
        return
    card = dataset.read(out).card
    device = card.device.digest if card.device else ""
    if (card.space, card.variant, device) != (plan.space, plan.variant, plan.device.digest):
        held = " ".join(filter(None, (card.space, card.variant, "on", card.device_name)))
        raise InputError(f"{out} holds another data set ({held}); give another folder with --out")
    if plan.target_mape is None and plan.n < card.rows:
        raise InputError(
            f"{out} holds {card.rows} networks, more than --n {plan.n}; give another --out or a larger --n"
        )


@dataclass(slots=True)
class _Sweep:
    """A sweep in progress. `measured`: the networks measured so far, by architecture; `own`: the user's, by digest.
    `kernels`: those of the networks of a generic sample, by digest. `digests`: those of all graphs seen so far."""

    plan: Plan
    space: VariedSpace
    store: Store
    options: Options
    measured: dict[Arch, Measurement] = field(default_factory=dict)
    own: dict[str, tuple[Graph, Measurement]] = field(default_factory=dict)
    kernels: dict[str, Kernels] = field(default_factory=dict)
    failed: list[Outcome] = field(default_factory=list)
    digests: set[str] = field(default_factory=set)
    encoder: KernelEncoder = field(default_factory=KernelEncoder)
    tried: int = 0

    def fresh(self, archs: Iterator[Arch]) -> Iterator[tuple[Arch, Graph]]:
        """The architectures whose graph was not seen yet. Ends where sampling would consider the space exhausted, after
        `sampling.ATTEMPTS` repetitions in a row."""
        repeated = 0
        for arch in archs:
            graph = self.graph(arch)
            if graph.digest not in self.digests:
                self.digests.add(graph.digest)
                repeated = 0
                yield arch, graph
            elif (repeated := repeated + 1) >= sampling.ATTEMPTS:
                return

    def held(self, out: Path) -> Iterator[Drawn]:
        """The networks of the data set in the folder. A predictor chose some of them, which may choose others today."""
        if (out / CARD).exists():
            yield from self.fresh(entry.arch for entry in dataset.read(out).entries if entry.arch is not None)

    def networks(self) -> Iterator[Drawn]:
        """The networks to measure, in their order."""
        networks: Iterator[Drawn] = self.fresh(drawn_archs(self.space.space, self.plan.seed))
        if not isinstance(self.space.space, SpaceOfFamilies):
            return networks
        if self.plan.models:
            networks = interleaved(networks, self._fresh_own())
        return informed(networks, self._known, self._encode)

    def _fresh_own(self) -> Iterator[Graph]:
        varied = change(self.plan.variant)
        for graph in own_networks(self.plan.models, self.plan.seed):
            try:
                found = varied(graph).renamed(titled(graph.name, self.plan.variant))
            except HwprofError as error:
                self.options.on_note(f"left out: {error}")
                continue
            if found.digest not in self.digests:
                self.digests.add(found.digest)
                yield found

    def _known(self) -> tuple[list[Kernels], np.ndarray]:
        """Kernels, [n], and latencies, ms, [n], of what is measured; none before there are enough to choose by."""
        if len(self.measured) + len(self.own) < CHOSEN_FROM:
            return [], np.empty(0)
        measurements = self._at_one_speed()
        return [self.kernels[m.digest] for m in measurements], np.array([m.normalized.median for m in measurements])

    def _encode(self, graph: Graph) -> Kernels:
        return self.encoder([graph])[0]

    def graph(self, arch: Arch) -> Graph:
        """The graph of the architecture, with the plan's values for its inputs."""
        return with_values(self.space.graph(arch), dict(self.plan.inputs))

    def measure(self, networks: Iterator[Drawn], n: int) -> None:
        """Measures the first `n` networks, or as many as there are."""
        part_size = PART * min(self.options.machines, MOST_PARTS)
        while part := list(islice(networks, min(part_size, n))):
            if not self.tried:  # what stays float in one network of a space does so in the others
                for warning in told_of(part[0][1]):
                    self.options.on_warning(warning)
            n -= len(part)
            self.tried += len(part)
            by_digest = {graph.digest: arch for arch, graph in part}
            for outcome in profile_many([graph for _, graph in part], self.plan.device, self.store, self.options):
                self._take(by_digest[outcome.graph.digest], outcome)

    def latencies_ms(self) -> np.ndarray:
        """Returns [n_measured + n_own], ms, normalized."""
        return np.array([m.normalized.median for m in self._at_one_speed()])

    def write(self, out: Path) -> Dataset:
        """Raises the error of a network when nothing was measured."""
        if not self.measured and not self.own:
            raise self.failed[0].error if self.failed and self.failed[0].error else InputError("nothing was measured")
        measurements = self._at_one_speed()
        card = dataset.card_of(out.name, measurements, self.plan.space)
        how = (
            "by D-optimal design, at random, then where predictors disagreed"
            if self.plan.target_mape is not None
            else "at random"
        )
        label = _LABEL if card.unit == dataset.MS else _COUNTED
        doubts = dict.fromkeys(warning for m in measurements for warning in m.build_warnings)
        for doubt in doubts:
            self.options.on_note(f"warning: {doubt}")
        about = [f"Drawn {how}, seed {self.plan.seed}, different graphs only.", label, *(f"{d}." for d in doubts)]
        whose = [*((arch, None) for arch in self.measured), *((None, graph) for graph, _ in self.own.values())]
        entries = [Entry.of(m, arch, graph) for m, (arch, graph) in zip(measurements, whose, strict=True)]
        return dataset.write(out, replace(card, variant=self.plan.variant, description=" ".join(about)), entries)

    def _take(self, arch: Arch | None, outcome: Outcome) -> None:
        if outcome.stored and outcome.measurement is not None:  # no rounds ran, so nobody was told
            processes = [list(outcome.measurement.processes)]
            self.options.on_progress(Cohort((outcome.graph,), processes, ended=True))
        if outcome.error is not None:
            self.failed.append(outcome)
        if outcome.measurement is None or outcome.measurement.status is Status.INVALID:
            return
        if isinstance(self.space.space, SpaceOfFamilies):
            self.kernels[outcome.measurement.digest] = self._encode(outcome.graph)
        if arch is None:
            self.own[outcome.graph.digest] = outcome.graph, outcome.measurement
        else:
            self.measured[arch] = outcome.measurement

    def _at_one_speed(self) -> list[Measurement]:
        """[n_measured + n_own]."""
        return at_one_speed([*self.measured.values(), *(m for _, m in self.own.values())])


def _until_time_is_up(sweep: _Sweep, networks: Iterator[Drawn], end_s: float) -> None:
    """Measures a few networks at a time. Networks that are in the store take no time, so that another call goes on."""
    tried = -1
    while tried < sweep.tried < sweep.plan.n and monotonic() < end_s:
        tried = sweep.tried
        sweep.measure(networks, min(TIMED_PART, sweep.plan.n - tried))


def drawn_archs(space: SearchSpace, seed: int) -> Iterator[Arch]:
    """Architectures at random, or in the space's own order; the first n are the same however many are taken. Ends after
    the last one of a space that can be listed."""
    if isinstance(space, sampling.OrderedSpace):
        yield from space.archs(seed)
        return
    rng = np.random.default_rng(seed)
    if sampling.size(space) <= sampling.ENUMERABLE:
        archs = list(sampling.enumerate_archs(space))
        yield from (archs[i] for i in rng.permutation(len(archs)))
        return
    while True:
        yield sampling.repaired(space, tuple(rng.integers(space.choices).tolist()), rng)


# -- until the error is small enough -------------------------------------------------------------------


def _until(sweep: _Sweep, target_mape: float) -> LeftOutError | None:
    """Measures batches until the upper bound of the cross-validated error is on target: the most informative networks
    for a linear model, then random ones (so that the error holds for these, too), then those on which predictors
    disagree. None when too few networks could be measured to know the error."""
    pool = _Pool(sweep, sweep.fresh(drawn_archs(sweep.space.space, sweep.plan.seed)))
    choose = chain((_most_informative, _last_drawn), repeat(_most_disputed))
    error: LeftOutError | None = None
    while (error is None or error.high > target_mape) and sweep.tried < sweep.plan.n:
        pool.fill()
        size = min(BATCH, sweep.plan.n - sweep.tried, len(pool.candidates))
        if not size:
            break
        pool.measure(next(choose)(pool, size))
        if len(sweep.measured) >= FEWEST_JUDGED:
            error = left_out_error(pool.fitted(PhysicalPredictor()).errors_)
            sweep.options.on_note(_progress(sweep, error))
    return error


@dataclass(slots=True)
class _Pool:
    """Drawn architectures with their encoded graphs: `candidates` wait to be measured, in the order of drawing.
    known_ms: [n_measured], the latencies of the measured ones, in the order of the sweep."""

    sweep: _Sweep
    drawn: Iterator[tuple[Arch, Graph]]
    encoded: dict[Arch, np.ndarray] = field(default_factory=dict)
    candidates: list[Arch] = field(default_factory=list)
    known_ms: np.ndarray = field(default_factory=lambda: np.empty(0))

    def fill(self) -> None:
        for arch, graph in islice(self.drawn, CANDIDATES - len(self.candidates)):
            (self.encoded[arch],) = PhysicalEncoder().transform([graph])
            self.candidates.append(arch)

    def measure(self, archs: Sequence[Arch]) -> None:
        self.candidates = [arch for arch in self.candidates if arch not in archs]
        self.sweep.measure(((arch, self.sweep.graph(arch)) for arch in archs), len(archs))
        self.known_ms = self.sweep.latencies_ms()

    def rows(self, archs: Iterable[Arch]) -> Any:
        """Returns [n, n_features]."""
        return np.stack([self.encoded[arch] for arch in archs])

    def fitted(self, predictor: PhysicalPredictor) -> PhysicalPredictor:
        """The predictor, fitted to all measured networks."""
        return predictor.fit(self.rows(self.sweep.measured), self.known_ms)


def _most_informative(pool: _Pool, size: int) -> list[Arch]:
    features = by_hypothesis(pool.rows(pool.candidates))[:, HYPOTHESES.index("every")]
    order = sampling.d_optimal(features, size, np.random.default_rng(pool.sweep.plan.seed))
    return [pool.candidates[i] for i in order]


def _last_drawn(pool: _Pool, size: int) -> list[Arch]:
    """Random architectures, since no earlier batch passed them over."""
    return pool.candidates[-size:]


def _most_disputed(pool: _Pool, size: int) -> list[Arch]:
    """The architectures on which predictors disagree most, each of which assumes another execution of the graph; the
    first ones while there are too few measurements to fit them."""
    if len(pool.known_ms) < MIN_SAMPLES:
        return pool.candidates[:size]
    members = [pool.fitted(PhysicalPredictor(hypotheses=(h,), process="never")) for h in HYPOTHESES]
    opinions = np.stack([member.predict(pool.rows(pool.candidates)) for member in members])
    return [pool.candidates[i] for i in sampling.most_disputed(opinions, size)]


def _progress(sweep: _Sweep, error: LeftOutError) -> str:
    return f"{len(sweep.measured)} networks: left-out error {error.mape:.1f} % ({error.low:.1f} .. {error.high:.1f})"
