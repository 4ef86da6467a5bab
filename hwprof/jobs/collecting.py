"""Collecting: architectures of a space are drawn, measured in one sweep and written as a data set.

The sweep goes through the networks in parts, each measured round by round: only one part's graphs are in
memory (300 quantized networks are gigabytes), and each is built once. What a slow hour does to one part and
not to another is what the anchors correct.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain, islice, repeat
from pathlib import Path
from typing import Any

import numpy as np

from hwprof.data import dataset
from hwprof.data.dataset import CARD, Dataset, Entry
from hwprof.data.store import Store
from hwprof.device import Device
from hwprof.encoders.execution import HYPOTHESES
from hwprof.encoders.physical import PhysicalEncoder, by_hypothesis
from hwprof.errors import InputError
from hwprof.graph import Graph
from hwprof.interfaces import Arch, SearchSpace
from hwprof.jobs.profiling import profile_many
from hwprof.measure.machine import require_times
from hwprof.measure.recording import Options, Outcome
from hwprof.measure.rounds import Cohort
from hwprof.measurement import Measurement, Status, at_one_speed
from hwprof.predictors.base import MIN_SAMPLES
from hwprof.predictors.left_out import LeftOutError, left_out_error
from hwprof.predictors.physical import PhysicalPredictor
from hwprof.spaces import sampling
from hwprof.spaces.varied import VariedSpace

PART = 50  # networks in memory at once; a part's rounds still last minutes, longer than most disturbances
BATCH = 10  # networks between two looks at the error
CANDIDATES = 100  # of which a batch is chosen
FEWEST_JUDGED = 20  # below this a cross-validated error says nothing
_COUNTED = (
    "The figures are instructions of one inference on an emulated core, by class: no latency, not measured on it."
)
_LABEL = "The label is normalized_ms, the latency at the machine's undisturbed speed; latency_ms is as the clock ran."


@dataclass(frozen=True, slots=True)
class Plan:
    """What to collect: `n` networks with different graphs, at most `n` with a `target_mape` (percent), at which
    the cross-validated error of the default predictor ends the sweep."""

    space: str
    device: Device
    n: int
    variant: str = ""
    seed: int = 0
    target_mape: float | None = None

    @property
    def name(self) -> str:
        return "-".join(filter(None, (self.space, self.variant.replace(":", ""), self.device.name)))


@dataclass(frozen=True, slots=True)
class Collected:
    """`failed` could not be measured; `error` is that of the default predictor, known with a target only."""

    dataset: Dataset
    failed: tuple[Outcome, ...] = ()
    error: LeftOutError | None = None


def collect(plan: Plan, out: Path, store: Store, options: Options) -> Collected:
    """Measures and writes the data set. The same call after an interruption goes on from the store.

    Raises InputError for a plan that does not fit the data set that stands in `out`, and the error of a
    network when none could be measured.
    """
    _check(plan, out)
    asked = replace(options, with_operators=False, keep_unconverged=True)
    sweep = _Sweep(plan, VariedSpace(plan.space, plan.variant), store, asked)
    if plan.target_mape is None:
        sweep.measure(sweep.fresh(drawn_archs(sweep.space.space, plan.seed)), plan.n)
        error = None
        if sweep.tried < plan.n:
            options.on_note(f"space {plan.space} has only {sweep.tried} different networks")
    else:
        error = _until(sweep, plan.target_mape)
    return Collected(sweep.write(out), tuple(sweep.failed), error)


def _check(plan: Plan, out: Path) -> None:
    if plan.target_mape is not None:
        require_times(plan.device)
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
        raise InputError(f"{out} holds {card.rows} networks, {plan.n} would be fewer; give another --out or more --n")


@dataclass(slots=True)
class _Sweep:
    """What was measured so far, by architecture, and the digests of all graphs that were seen."""

    plan: Plan
    space: VariedSpace
    store: Store
    options: Options
    measured: dict[Arch, Measurement] = field(default_factory=dict)
    failed: list[Outcome] = field(default_factory=list)
    digests: set[str] = field(default_factory=set)
    tried: int = 0

    def fresh(self, archs: Iterator[Arch]) -> Iterator[tuple[Arch, Graph]]:
        """Those whose graph was not seen yet. Ends after as many repetitions in a row as sampling takes for the
        end of a space."""
        repeated = 0
        for arch in archs:
            graph = self.space.graph(arch)
            if graph.digest not in self.digests:
                self.digests.add(graph.digest)
                repeated = 0
                yield arch, graph
            elif (repeated := repeated + 1) >= sampling.ATTEMPTS:
                return

    def measure(self, networks: Iterator[tuple[Arch, Graph]], n: int) -> None:
        """The first `n`, or as many as there are."""
        while part := dict(islice(networks, min(PART, n))):
            n -= len(part)
            self.tried += len(part)
            by_digest = {graph.digest: arch for arch, graph in part.items()}
            for outcome in profile_many(list(part.values()), self.plan.device, self.store, self.options):
                self._take(by_digest[outcome.graph.digest], outcome)

    def latencies_ms(self) -> np.ndarray:
        """[n_measured], ms, normalized."""
        return np.array([m.normalized.median for m in self._at_one_speed().values()])

    def write(self, out: Path) -> Dataset:
        """Raises the error of a network when nothing was measured."""
        if not self.measured:
            raise self.failed[0].error if self.failed and self.failed[0].error else InputError("nothing was measured")
        measurements = self._at_one_speed()
        card = dataset.card_of(out.name, list(measurements.values()), self.plan.space)
        how = (
            "by D-optimal design, at random, then where predictors disagreed"
            if self.plan.target_mape is not None
            else "at random"
        )
        label = _LABEL if card.unit == dataset.MS else _COUNTED
        doubts = dict.fromkeys(warning for m in measurements.values() for warning in m.build_warnings)
        for doubt in doubts:
            self.options.on_note(f"warning: {doubt}")
        about = [f"Drawn {how}, seed {self.plan.seed}, different graphs only.", label, *(f"{d}." for d in doubts)]
        entries = [Entry.of(m, arch) for arch, m in measurements.items()]
        return dataset.write(out, replace(card, variant=self.plan.variant, description=" ".join(about)), entries)

    def _take(self, arch: Arch, outcome: Outcome) -> None:
        if outcome.stored and outcome.measurement is not None:  # no rounds ran, so nobody was told
            processes = [list(outcome.measurement.processes)]
            self.options.on_progress(Cohort((outcome.graph,), processes, ended=True))
        if outcome.error is not None:
            self.failed.append(outcome)
        if outcome.measurement is not None and outcome.measurement.status is not Status.INVALID:
            self.measured[arch] = outcome.measurement

    def _at_one_speed(self) -> Mapping[Arch, Measurement]:
        return dict(zip(self.measured, at_one_speed(list(self.measured.values())), strict=True))


def drawn_archs(space: SearchSpace, seed: int) -> Iterator[Arch]:
    """Architectures at random; the first n are the same however many are taken. Ends where all are listed."""
    rng = np.random.default_rng(seed)
    if sampling.size(space) <= sampling.ENUMERABLE:
        archs = list(sampling.enumerate_archs(space))
        yield from (archs[i] for i in rng.permutation(len(archs)))
        return
    while True:
        yield sampling.repaired(space, tuple(rng.integers(space.choices).tolist()), rng)


# -- until the error is small enough -------------------------------------------------------------------


def _until(sweep: _Sweep, target_mape: float) -> LeftOutError | None:
    """Measures batches: the most informative for a linear model, then random ones (the error is theirs, too),
    then those on which predictors disagree; until the upper bound of the cross-validated error is on
    target. None when too few networks could be measured to know it."""
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
    known_ms: [n_measured], the latencies of those that were, in the order of the sweep."""

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
        self.sweep.measure(((arch, self.sweep.space.graph(arch)) for arch in archs), len(archs))
        self.known_ms = self.sweep.latencies_ms()

    def rows(self, archs: Iterable[Arch]) -> Any:
        """[n, n_features]."""
        return np.stack([self.encoded[arch] for arch in archs])

    def fitted(self, predictor: PhysicalPredictor) -> PhysicalPredictor:
        """On all that was measured."""
        return predictor.fit(self.rows(self.sweep.measured), self.known_ms)


def _most_informative(pool: _Pool, size: int) -> list[Arch]:
    features = by_hypothesis(pool.rows(pool.candidates))[:, HYPOTHESES.index("every")]
    order = sampling.d_optimal(features, size, np.random.default_rng(pool.sweep.plan.seed))
    return [pool.candidates[i] for i in order]


def _last_drawn(pool: _Pool, size: int) -> list[Arch]:
    """Random ones, since no earlier batch passed them over."""
    return pool.candidates[-size:]


def _most_disputed(pool: _Pool, size: int) -> list[Arch]:
    """By predictors each of which believes in another execution of the graph; any, as long as there are none."""
    if len(pool.known_ms) < MIN_SAMPLES:
        return pool.candidates[:size]
    members = [pool.fitted(PhysicalPredictor(hypotheses=(h,), process="never")) for h in HYPOTHESES]
    opinions = np.stack([member.predict(pool.rows(pool.candidates)) for member in members])
    return [pool.candidates[i] for i in sampling.most_disputed(opinions, size)]


def _progress(sweep: _Sweep, error: LeftOutError) -> str:
    return f"{len(sweep.measured)} networks: left-out error {error.mape:.1f} % ({error.low:.1f} .. {error.high:.1f})"
