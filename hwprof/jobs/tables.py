"""Latency-table jobs: measure or predict the rows, check the sums against whole networks, convert, draw."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hwprof import plugins
from hwprof.data.store import Store
from hwprof.device import Device
from hwprof.errors import InputError
from hwprof.graph import Graph
from hwprof.interfaces import Arch, Predictor, SearchSpace
from hwprof.latency_table import LatencyTable, Metadata, NumericAttribute, bits, build
from hwprof.latency_table.build import TableCheck
from hwprof.latency_table.operators import Attribute, Operator, distinct
from hwprof.latency_table.sweep import at_channels
from hwprof.measure.machine import fingerprint, require_times
from hwprof.measure.recording import Options, recording
from hwprof.measurement import Evidence, Measurement, Status
from hwprof.objective.arch_latency import ArchLatency, takes_of
from hwprof.spaces import sampling
from hwprof.spaces.varied import VariedSpace, change, titled

Operators = Sequence[tuple[Operator, Graph]]
_OWN_SUFFIXES = (".json", ".parquet")
_LEAST_NETWORKS = 4


@dataclass(frozen=True, slots=True)
class Workbench:
    """Where a job measures: the device, the store that keeps the samples, and how."""

    device: Device
    store: Store
    options: Options


@dataclass(frozen=True, slots=True)
class Learned:
    """A predictor, and the metadata of the tables that it fills."""

    predictor: Predictor
    metadata: Metadata

    @classmethod
    def load(cls, path: Path, device: Device, space: str | None = None) -> Learned:
        """space: whose choices it will predict.

        Raises InputError for a file that is no predictor, or one that learned from another device or space,
        EnvironmentUnfitError without its libraries.
        """
        with plugins.optional_library("a predictor"):
            from hwprof.predictors.trained import Trained
        trained = Trained.load(path)
        if trained.origin is not None:
            trained.require(space, device.name)
        where = (device.name, device.backend, device.threads, device.batch, device.precision)
        return cls(trained.predictor, Metadata(*where, protocol=f"predicted by {path.name}"))


@dataclass(frozen=True, slots=True)
class Built:
    """`unconverged`: how many of its measurements did not reach their target precision."""

    table: LatencyTable
    unconverged: int = 0


# -- build -------------------------------------------------------------------------------------------


def operator_table(found: Operators, source: Workbench | Learned, numeric: Sequence[NumericAttribute] = ()) -> Built:
    """Each operator measured, or predicted, as a network of its own. Raises the error of the first that cannot be.

    numeric: attributes beside the bit widths, which are numeric in every table of operators.
    """
    numeric = (*numeric, *bits.NUMERIC)
    if isinstance(source, Learned):
        if takes_of(source.predictor) == "arch":
            raise InputError(
                f"the predictor ({source.metadata.protocol}) takes architectures, not single operators; take physical "
                "or gcn, or --rows choices"
            )
        return Built(build.build_from_predictions(found, source.predictor.predict, source.metadata, numeric))
    measured = measure([single for _, single in found], source)
    rows = [(o.op, o.attributes, m) for (o, _), m in zip(found, measured, strict=True)]
    return Built(build.build_from_measurements(rows, numeric), _unconverged(measured))


def choice_table(
    space: VariedSpace, source: Workbench | Learned, networks: int | None = None, seed: int = 0
) -> Built:  # fmt: skip
    """What each choice at each position adds, fitted to whole networks of the space, measured or predicted."""
    archs = fitting_archs(space.space, networks, seed)
    regression: build.ChoiceRegression = plugins.load("predictor", "lut")(space.space)
    if isinstance(source, Learned):
        ms, metadata, unconverged = ArchLatency(source.predictor, space)(np.array(archs)), source.metadata, 0
    else:
        measured = measure([space.graph(arch) for arch in archs], source)
        ms, metadata = np.array([m.normalized.median for m in measured]), build.metadata_of(measured)
        unconverged = _unconverged(measured)
    widths = bits.of_network(space.graph(archs[0])) if space.variant else {}
    table = build.fit_choices(regression, archs, ms, metadata, widths)
    return Built(build.with_space(table, titled(space.name, space.variant)), unconverged)


def fitting_archs(space: SearchSpace, networks: int | None, seed: int) -> list[Arch]:
    """Architectures that a table of choices is fitted on: by default twice as many as it has free entries."""
    free = sum(options - 1 for options in space.choices) + 1
    wanted = networks or min(2 * free, sampling.size(space))
    if wanted < free:
        raise InputError(f"a table of this space's choices has {free} free entries; {wanted} networks are too few")
    return sampling.stratified(space, wanted, np.random.default_rng(seed))


def covering_graphs(space: SearchSpace, networks: int | None, seed: int) -> list[Graph]:
    """Networks in which every choice of every position occurs: by default four times."""
    wanted = networks or min(4 * max(space.choices), sampling.size(space))
    return [space.graph(arch) for arch in sampling.stratified(space, wanted, np.random.default_rng(seed))]


def operators_of(graphs: Sequence[Graph], points: Mapping[str, Sequence[int]], variant: str = "") -> Operators:
    """The different operators of the graphs in the variant, each with its network, and the same at the `points` of
    their channels (`cin`, `cout`) where those are free.

    Raises InputError for an unknown variant, and where points are given but no operator's channels are free.
    """
    changed = change(variant)
    found = distinct([changed(graph) for graph in graphs])
    if not points:
        return found
    swept = [network for _, single in distinct(graphs) for _, network in at_channels(single, points)]
    if not swept:
        raise InputError(
            f"no operator has free channels ({', '.join(points)}); of a quantized network sweep the float one, with "
            "--variant"
        )
    more = distinct([changed(network) for network in swept])
    return list({operator.key: (operator, single) for operator, single in [*found, *more]}.values())


# -- check -------------------------------------------------------------------------------------------


def require_space(table: LatencyTable, name: str) -> None:
    """Raises InputError when the table holds the choices of another space."""
    if table.holds_choices and table.metadata.space not in ("", name):
        raise InputError(f"the table holds choices of the space {table.metadata.space}, not of {name}")


def check(table: LatencyTable, networks: Sequence[Graph], bench: Workbench, archs: Sequence[Arch] = ()) -> TableCheck:
    """Measures whole networks and sets the table's sums against them; `archs` where the table holds choices.

    Raises InputError, before anything is measured, for fewer than four networks, one that the table does not
    hold, or a table of another device or machine.
    """
    if len(networks) < _LEAST_NETWORKS:
        raise InputError(f"a check needs at least {_LEAST_NETWORKS} networks, {len(networks)} were given")
    _require_same_place(table.metadata, bench)
    summed: Sequence[Graph | Arch] = archs if table.holds_choices else networks
    if len(summed) != len(networks):
        raise InputError("the table holds the choices of a search space; give the space instead of models")
    for network in summed:
        table.sum_ms(network)
    return build.check(table, summed, [m.normalized.median for m in measure(networks, bench)])


def fresh_archs(space: SearchSpace, networks: int, seed: int) -> list[Arch]:
    """Other networks than those that a table of the same seed was built from, where the space is large."""
    return sampling.random_archs(space, networks, np.random.default_rng([seed, 1]))


def measure(graphs: Sequence[Graph], bench: Workbench) -> list[Measurement]:
    """The measurements of the graphs, in their order; equal ones are measured once. Raises the error of the first that
    failed."""
    require_times(bench.device)
    with recording(bench.device, bench.store, bench.options) as recorder:
        measured = recorder.measure(graphs)
    for doubt in dict.fromkeys(warning for m in measured for warning in m.build_warnings):
        bench.options.on_note(f"warning: {doubt}")
    return measured


def _require_same_place(metadata: Metadata, bench: Workbench) -> None:
    device = bench.device
    if metadata.device != device.name:
        raise InputError(f"the table holds for {metadata.device}, not for {device.name}; check it where it holds")
    here = fingerprint(bench.options.transport, device) if metadata.hardware else ""
    if metadata.hardware != here:
        raise InputError(
            f"the table holds for {metadata.device} on hardware {metadata.hardware}; this is {here}: build one here"
        )


def _unconverged(measured: Sequence[Measurement]) -> int:
    # Whatever disturbs this machine, the times of a device that is not measured stand.
    return sum(m.evidence is Evidence.MEASURED and m.status is not Status.CONVERGED for m in measured)


# -- convert, draw -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Foreign:
    """What the user says of a table in another tool's format."""

    format: str
    metadata: Metadata
    unit: str | None = None
    numeric: tuple[NumericAttribute, ...] = ()
    allow_pickle: bool = False


def read(path: Path, foreign: Foreign | None = None) -> LatencyTable:
    """A table of our own (.json, .parquet), or of the format that `foreign` names."""
    if foreign is None:
        return LatencyTable.load(path)
    return LatencyTable.read(
        foreign.format, path, foreign.metadata,
        unit=foreign.unit, numeric=foreign.numeric, allow_pickle=foreign.allow_pickle,
    )  # fmt: skip


def write(table: LatencyTable, path: Path, format: str | None = None) -> list[str]:  # noqa: A002 -- the option's name
    """In our own format (.json, .parquet), or the one named. Returns what that cannot hold."""
    if format is None:
        table.save(path)
        return []
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        table.to(format, path)
    return [str(w.message) for w in told]


def is_own(path: Path) -> bool:
    """The file is in one of hwprof's own formats, by its name."""
    return path.suffix in _OWN_SUFFIXES


def plot(table: LatencyTable, path: Path, attribute: str, op: str, key: Mapping[str, Attribute]) -> None:
    """The staircase over one numeric attribute. Raises EnvironmentUnfitError without matplotlib."""
    with plugins.optional_library("a figure of a table"):
        from hwprof.latency_table.plot import plot_steps
    plot_steps(table, path, attribute, op, **key)
