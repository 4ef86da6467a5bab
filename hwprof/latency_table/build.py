"""Builds latency tables from measurements or predictions, and checks their sums against whole networks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Protocol

import numpy as np

from hwprof import metrics
from hwprof.errors import InputError
from hwprof.graph import Graph
from hwprof.interfaces import Arch, LatencyFunction
from hwprof.latency_table import bits, correction, operators
from hwprof.latency_table.correction import Correction
from hwprof.latency_table.operators import Attribute, Operator
from hwprof.latency_table.rows import CHOICE, Metadata, Row
from hwprof.latency_table.staircase import NumericAttribute
from hwprof.latency_table.table import LatencyTable
from hwprof.measurement import Measurement

NO_WIDTHS: Mapping[str, int] = MappingProxyType({})
_LEAST_SHARE = 0.01  # of the mean network's latency that the rows of the fastest one add up to


@dataclass(frozen=True, slots=True)
class TableCheck:
    """The errors of a table's sums against whole networks. MAPE in percent; `within_10` is the share of corrected sums
    within 10 %.

    Each network is left out of the correction that judges it. `stored_mape` is the MAPE of the correction that the
    table came with, None without one. `table` holds the new correction.
    """

    table: LatencyTable
    networks: int
    raw_mape: float
    corrected_mape: float
    within_10: float
    stored_mape: float | None = None


def build_from_measurements(
    rows: Iterable[tuple[str, Mapping[str, Attribute], Measurement]], numeric: Sequence[NumericAttribute] = ()
) -> LatencyTable:
    """rows: operator, attributes and the measurement of each, all from one device and one machine. The table takes
    normalized latencies, since the machine's speed may have changed between the measurements.

    Raises InputError for measurements from several devices or machines.
    """
    rows = list(rows)
    if not rows:
        raise InputError("a latency table needs at least one measurement")
    measured = [m for *_, m in rows]
    return LatencyTable(
        metadata_of(measured),
        tuple(
            Row.of(op, attributes, s.median, (s.low, s.high), m.samples)
            for op, attributes, m in rows
            for s in (m.normalized,)
        ),
        tuple(numeric),
    )


def build_from_predictions(
    found: Sequence[tuple[Operator, Graph]],
    latency_ms: LatencyFunction,
    metadata: Metadata,
    numeric: Sequence[NumericAttribute] = (),
) -> LatencyTable:
    """found: operators, each with a network of its own, whose latency is predicted. `metadata.protocol` should name the
    predictor."""
    ms = latency_ms([single for _, single in found])
    rows = tuple(Row.of(o.op, o.attributes, float(t)) for (o, _), t in zip(found, ms, strict=True))
    return LatencyTable(metadata, rows, tuple(numeric))


def build_from_choices(
    choice_ms: Sequence[np.ndarray], constant_ms: float, metadata: Metadata, widths: Mapping[str, int] = NO_WIDTHS
) -> LatencyTable:
    """choice_ms: for each position the times, [n_choices], that its choices add; constant_ms: the time that every
    network of the space takes in addition; widths: `w_bits` and `a_bits` of a variant's networks.

    An added time may be zero or negative, a row may not. So the latency of the fastest network is spread evenly over
    the positions, which does not change the sums over networks. Raises InputError when that latency is not positive.
    """
    fastest = constant_ms + sum(float(ms.min()) for ms in choice_ms)
    if not fastest > 0:
        raise InputError(f"the choices give the fastest network {fastest:g} ms; a latency must be positive")
    share = fastest / len(choice_ms)
    rows = [
        Row.of(CHOICE, {"position": i, "choice": c, **widths}, float(t - ms.min()) + share)
        for i, ms in enumerate(choice_ms)
        for c, t in enumerate(ms)
    ]
    return LatencyTable(metadata, tuple(rows), bits.NUMERIC if widths else ())


class ChoiceRegression(Protocol):
    """A regression of latency on choices, such as the predictor `lut`. errors_: [n], log(measured / predicted) of
    networks left out of the fit."""

    base_ms_: float
    errors_: np.ndarray

    @property
    def costs_ms_(self) -> list[np.ndarray]:
        """For each position the times, [n_choices], that its choices add."""

    def fit(self, X: Sequence[Arch], y: np.ndarray) -> ChoiceRegression:
        """X: [n] architectures; y, ms: [n]."""


def fit_choices(
    regression: ChoiceRegression,
    archs: Sequence[Arch],
    latency_ms: Sequence[float] | np.ndarray,
    metadata: Metadata,
    widths: Mapping[str, int] = NO_WIDTHS,
) -> LatencyTable:
    """The table of choices that fits whole networks best, with the quantiles of its errors on networks left out.
    latency_ms: [n_archs].

    The fastest network is often not among those of the fit, and the sum that fits the others can be negative there.
    Rows are positive nevertheless: the correction subtracts the time that was added to them.

    Raises InputError when there are fewer networks than free entries.
    """
    fitted = regression.fit(archs, np.asarray(latency_ms, float))
    fastest_ms = fitted.base_ms_ + sum(float(ms.min()) for ms in fitted.costs_ms_)
    added_ms = max(0.0, _LEAST_SHARE * fitted.base_ms_ - fastest_ms)
    table = build_from_choices(fitted.costs_ms_, fitted.base_ms_ + added_ms, metadata, widths)
    return table.with_correction(correction.of_end_to_end(np.expm1(fitted.errors_), a_ms=-added_ms))


def check(table: LatencyTable, networks: Sequence[Graph | Arch], measured_ms: Sequence[float]) -> TableCheck:
    """Fits the table's correction to whole networks. measured_ms: [n_networks].

    Raises InputError for fewer than four, or for one with an operator that the table does not hold.
    """
    raw_ms = [table.sum_ms(network) for network in networks]
    graphs = [network for network in networks if isinstance(network, Graph)]
    are_graphs = len(graphs) == len(networks)
    found = _of_graphs(table, graphs, measured_ms) if are_graphs else [correction.fit(raw_ms, measured_ms)]
    best = min(found, key=lambda c: c.mape)
    return TableCheck(
        table=table.with_correction(best),
        networks=len(networks),
        raw_mape=metrics.mape(np.asarray(measured_ms), np.asarray(raw_ms)),
        corrected_mape=100 * best.mape,
        within_10=best.within_10,
        stored_mape=metrics.mape(np.asarray(measured_ms), table.network_ms(networks)) if table.correction else None,
    )


def _of_graphs(table: LatencyTable, graphs: Sequence[Graph], measured_ms: Sequence[float]) -> Iterator[Correction]:
    """Candidate corrections: with and without residuals per pair of operators, which on few networks only fit noise;
    and of sums over all or only over live operators, which is right where the runtime drops the others."""
    live = [graph.live() for graph in graphs]
    for executed, drops_dead in ((graphs, False), (live, True)):
        sums = [table.sum_ms(graph) for graph in executed]
        pairs = [operators.pairs(graph) for graph in executed]
        for patterns in (None, pairs):
            yield replace(correction.fit(sums, measured_ms, patterns), live=drops_dead)


def metadata_of(measurements: Sequence[Measurement]) -> Metadata:
    """The metadata of a table of these measurements. Raises InputError when they come from several devices or
    machines."""
    first = measurements[0]
    for m in measurements:
        if (m.device.digest, m.hardware) != (first.device.digest, first.hardware):
            raise InputError(
                f"measurements of {first.device.name} on {first.hardware} and of {m.device.name} on {m.hardware} "
                "do not belong in one table; build one table for each"
            )
    device, p = first.device, first.protocol
    protocol = f"{first.evidence}; target ±{p.target:.1%}, {p.min_processes} to {p.max_processes} processes"
    doubts = dict.fromkeys(warning for m in measurements for warning in m.build_warnings)
    return Metadata(
        device=device.name,
        runtime=device.backend,
        threads=device.threads,
        batch=device.batch,
        dtype=device.precision,
        runtime_version=", ".join(f"{name} {version}" for name, version in sorted(first.versions.items())),
        hardware=first.hardware,
        date=min((process.started for m in measurements for process in m.processes), default=""),
        protocol="; ".join((protocol, *doubts)),
    )


def with_space(table: LatencyTable, space: str) -> LatencyTable:
    """The table with the name of the search space that its choices belong to."""
    return replace(table, metadata=replace(table.metadata, space=space))
