"""Latency tables: measures or predicts their rows, and checks their sums against whole networks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Literal, TypeAlias

import numpy as np

from hwprof import plugins
from hwprof.data.store import DEFAULT_PATH, Store, opened
from hwprof.device import Device
from hwprof.errors import InputError
from hwprof.files import temporary_folder
from hwprof.graph import Graph
from hwprof.interfaces import Arch, Predictor, SearchSpace
from hwprof.jobs.inputs import Wanted
from hwprof.jobs.inputs import networks as opened_networks
from hwprof.latency_table import LatencyTable, Metadata, NumericAttribute, bits, build
from hwprof.latency_table.build import TableCheck
from hwprof.latency_table.operators import Operator, distinct
from hwprof.latency_table.sweep import at_channels
from hwprof.measure.machine import fingerprint, require_times
from hwprof.measure.recording import Options, recording
from hwprof.measurement import Evidence, Measurement, Status
from hwprof.objective.arch_latency import ArchLatency, takes_of
from hwprof.onnx_io import GivenInputs
from hwprof.spaces import sampling
from hwprof.spaces.varied import VariedSpace, titled
from hwprof.variants.float_operators import told_of
from hwprof.variants.spec import change
from hwprof.workloads.loading import Shapes

Operators = Sequence[tuple[Operator, Graph]]
Rows: TypeAlias = Literal["operators", "choices"]
NO_SWEEP: Mapping[str, range] = MappingProxyType({})
_FEWEST_NETWORKS = 4


@dataclass(frozen=True, slots=True)
class OnDevice:
    """Latencies are measured on the device, kept in the store, and taken as the options say."""

    device: Device
    store: Store
    options: Options


@dataclass(frozen=True, slots=True)
class ByPredictor:
    """Latencies are predicted; `metadata` is that of the tables that the predictor fills."""

    predictor: Predictor
    metadata: Metadata

    @classmethod
    def load(cls, source: Path, device: Device, space: str | None = None) -> ByPredictor:
        """source: as `open_predictor` takes it. space: whose choices it will predict.

        Raises InputError for one that is not a predictor, or one that learned from another device or space,
        EnvironmentUnfitError without its libraries.
        """
        with plugins.optional_library("a predictor"):
            from hwprof.jobs.predicting import open_predictor
        trained = open_predictor(source)
        if trained.origin is not None:
            trained.require(space, device.name)
        where = (device.name, device.backend, device.threads, device.batch, device.precision)
        return cls(trained.predictor, Metadata(*where, protocol=f"predicted by {source.name}"))


@dataclass(frozen=True, slots=True)
class Built:
    """A table that was built. `unconverged`: the number of its measurements that did not reach their target
    precision."""

    table: LatencyTable
    unconverged: int = 0


# -- build -------------------------------------------------------------------------------------------


def build_table(
    models: object = (),
    device: Device | str = "cpu-1t",
    *,
    space: str | VariedSpace | None = None,
    rows: Rows = "operators",
    networks: int | None = None,
    sweep: Mapping[str, range] = NO_SWEEP,
    variant: str = "",
    predictor: Path | str | None = None,
    shapes: Shapes | None = None,
    inputs: GivenInputs | None = None,
    store: Store | Path | str = DEFAULT_PATH,
    options: Options | None = None,
    seed: int = 0,
) -> Built:
    """The table of the operators of `models` (one, or a sequence) or of a search space; with rows="choices", of the
    time that each choice of the space adds. A `VariedSpace` may take the place of the models.

    networks: the number of networks of the space to use; `seed` decides which. sweep: also times convolutions and
    products at these numbers of channels, `{"cout": range(8, 65, 8)}`. predictor: an .hwp file, or a device that hwprof
    ships one for, that predicts the rows; without one they are measured. inputs: as `profile` takes them, for every
    model. variant: applied to each network.

    Raises InputError for models and a space at once (or neither), or choices without a space, and the error of the
    first operator or network that could not be measured.
    """
    given = [] if isinstance(models, VariedSpace) else _listed(models)
    searched = _varied(models if isinstance(models, VariedSpace) else space, variant)
    if (searched is None) == (not given):
        raise InputError("give either models or --space")
    if rows == "choices" and (searched is None or sweep):
        raise InputError("--rows choices needs --space and takes no --sweep")
    chosen = device if isinstance(device, Device) else Device.load(device)
    numeric = [NumericAttribute(name, points.step) for name, points in sweep.items()]
    with opened(store if predictor is None else ":memory:") as kept:
        source: OnDevice | ByPredictor = OnDevice(chosen, kept, replace(options or Options(), with_operators=False))
        if predictor is not None:
            of_space = searched.name if searched and rows == "choices" else None
            source = ByPredictor.load(Path(predictor), chosen, of_space)
        if searched and rows == "choices":
            return choice_table(searched, source, networks, seed)
        if searched:
            graphs, variant = covering_graphs(searched.space, networks, seed), searched.variant
        else:
            graphs = _networks(given, shapes, inputs, options or Options())
        if isinstance(source, OnDevice):
            for warning in told_of(change(variant)(graphs[0])):
                source.options.on_warning(warning)
        return operator_table(operators_of(graphs, sweep, variant), source, numeric)


def _networks(
    models: Sequence[object], shapes: Shapes | None, inputs: GivenInputs | None, options: Options
) -> list[Graph]:
    """The networks whose operators are measured: these have no weights, so that the networks' files may go."""
    with opened_networks(models, options, shapes=shapes, inputs=inputs) as graphs:
        return graphs


def _listed(models: object) -> list[object]:
    return list(models) if isinstance(models, list | tuple) else [models]


def _varied(space: str | VariedSpace | None, variant: str) -> VariedSpace | None:
    if space is None or (isinstance(space, VariedSpace) and not variant):
        return space
    return VariedSpace(space.name if isinstance(space, VariedSpace) else space, variant)


def operator_table(found: Operators, source: OnDevice | ByPredictor, numeric: Sequence[NumericAttribute] = ()) -> Built:
    """The table of operators, each measured or predicted as a network of its own.

    numeric: attributes in addition to the bit widths, which are numeric in every table of operators. Raises the error
    of the first operator that cannot be measured or predicted.
    """
    numeric = (*numeric, *bits.NUMERIC)
    if isinstance(source, ByPredictor):
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
    space: VariedSpace, source: OnDevice | ByPredictor, networks: int | None = None, seed: int = 0
) -> Built:  # fmt: skip
    """The table of the time that each choice at each position adds, fitted to whole networks of the space, measured or
    predicted."""
    archs = fitting_archs(space.space, networks, seed)
    regression: build.ChoiceRegression = plugins.load("predictor", "lut")(space.space)
    if isinstance(source, ByPredictor):
        ms, metadata, unconverged = ArchLatency(source.predictor, space)(np.array(archs)), source.metadata, 0
    else:
        measured = measure([space.graph(arch) for arch in archs], source)
        ms, metadata = np.array([m.normalized.median for m in measured]), build.metadata_of(measured)
        unconverged = _unconverged(measured)
    widths = bits.of_network(space.graph(archs[0])) if space.variant else {}
    table = build.fit_choices(regression, archs, ms, metadata, widths)
    return Built(build.with_space(table, titled(space.name, space.variant)), unconverged)


def fitting_archs(space: SearchSpace, networks: int | None, seed: int) -> list[Arch]:
    """The architectures that a table of choices is fitted on: by default twice as many as it has free entries. Raises
    InputError for fewer than these."""
    free = sum(options - 1 for options in space.choices) + 1
    wanted = networks or min(2 * free, sampling.size(space))
    if wanted < free:
        raise InputError(
            f"a table of this space's choices has {free} free entries; {wanted} networks are too few: "
            f"give at least {free}"
        )
    return sampling.stratified(space, wanted, np.random.default_rng(seed))


def covering_graphs(space: SearchSpace, networks: int | None, seed: int) -> list[Graph]:
    """Networks in which every choice of every position occurs: by default four times."""
    wanted = networks or min(4 * max(space.choices), sampling.size(space))
    return [space.graph(arch) for arch in sampling.stratified(space, wanted, np.random.default_rng(seed))]


def operators_of(graphs: Sequence[Graph], points: Mapping[str, Sequence[int]], variant: str = "") -> Operators:
    """The different operators of the graphs in the variant, each with a network of its own; also at the `points` of
    their channels (`cin`, `cout`) where these are free.

    Raises InputError for an unknown variant, and where points are given but no operator's channels are free.
    """
    changed = change(variant)
    found = distinct([changed(graph) for graph in graphs])
    if not points:
        return found
    swept = [network for _, single in distinct(graphs) for _, network in at_channels(single, points)]
    if not swept:
        raise InputError(
            f"no operator has channels that can be changed ({', '.join(points)}); to sweep a quantized network, "
            "give the float one and --variant"
        )
    more = distinct([changed(network) for network in swept])
    return list({operator.key: (operator, single) for operator, single in [*found, *more]}.values())


# -- check -------------------------------------------------------------------------------------------


def check_table(
    table: LatencyTable,
    models: object = (),
    *,
    space: str | VariedSpace | None = None,
    networks: int = 20,
    variant: str = "",
    device: Device | str | None = None,
    shapes: Shapes | None = None,
    store: Store | Path | str = DEFAULT_PATH,
    options: Options | None = None,
    seed: int = 0,
) -> TableCheck:
    """Compares the table's sums with whole networks, measured now: `models`, or this many networks of the space.

    device: the table's own by default. Raises InputError for models and a space at once (or neither), fewer than four
    networks, one that the table does not hold, or a table of another space, device or machine.
    """
    searched, given = _varied(space, variant), _listed(models)
    if (searched is None) == (not given):
        raise InputError("give either models or --space")
    asked = table.metadata.device if device is None else device
    chosen = asked if isinstance(asked, Device) else Device.load(asked)
    with temporary_folder() as folder, opened(store) as kept:
        if searched:
            require_space(table, titled(searched.name, searched.variant))
            archs = fresh_archs(searched.space, networks, seed)
            graphs = [searched.graph(arch) for arch in archs]
        else:
            changed, archs, wanted = change(variant), [], Wanted(shapes=shapes, as_onnx=True)
            graphs = [changed(wanted.load(model, folder)) for model in given]
        return check(table, graphs, OnDevice(chosen, kept, replace(options or Options(), with_operators=False)), archs)


def require_space(table: LatencyTable, name: str) -> None:
    """Raises InputError when the table holds the choices of another space."""
    if table.holds_choices and table.metadata.space not in ("", name):
        raise InputError(f"the table holds choices of the space {table.metadata.space}, not of {name}")


def check(table: LatencyTable, networks: Sequence[Graph], place: OnDevice, archs: Sequence[Arch] = ()) -> TableCheck:
    """Measures whole networks and compares the table's sums with them; `archs` where the table holds choices.

    Raises InputError, before anything is measured, for fewer than four networks, one that the table does not
    hold, or a table of another device or machine.
    """
    if len(networks) < _FEWEST_NETWORKS:
        raise InputError(f"a check needs at least {_FEWEST_NETWORKS} networks, {len(networks)} were given")
    _require_same_place(table.metadata, place)
    summed: Sequence[Graph | Arch] = archs if table.holds_choices else networks
    if len(summed) != len(networks):
        raise InputError("the table holds the choices of a search space; give the space instead of models")
    for network in summed:
        table.sum_ms(network)
    return build.check(table, summed, [m.normalized.median for m in measure(networks, place)])


def fresh_archs(space: SearchSpace, networks: int, seed: int) -> list[Arch]:
    """Architectures that, where the space is large, a table of the same seed was not built from."""
    return sampling.random_archs(space, networks, np.random.default_rng([seed, 1]))


def measure(graphs: Sequence[Graph], place: OnDevice) -> list[Measurement]:
    """The measurements of the graphs, in their order; equal ones are measured once. Raises the error of the first that
    failed."""
    require_times(place.device)
    with recording(place.device, place.store, place.options) as recorder:
        measured = recorder.measure(graphs)
    for doubt in dict.fromkeys(warning for m in measured for warning in m.build_warnings):
        place.options.on_note(f"warning: {doubt}")
    return measured


def _require_same_place(metadata: Metadata, place: OnDevice) -> None:
    device = place.device
    if metadata.device != device.name:
        raise InputError(
            f"the table is for device {metadata.device}, not for {device.name}; check it on {metadata.device}"
        )
    here = fingerprint(place.options.limited_transport, device) if metadata.hardware else ""
    if metadata.hardware != here:
        raise InputError(
            f"the table is for {metadata.device} on hardware {metadata.hardware}, this is {here}; build a table here"
        )


def _unconverged(measured: Sequence[Measurement]) -> int:
    # A disturbance of this machine does not change the times of a device that is not measured.
    return sum(m.evidence is Evidence.MEASURED and m.status is not Status.CONVERGED for m in measured)
