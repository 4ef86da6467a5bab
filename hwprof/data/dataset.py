"""A data set: the folder of a card (dataset.toml), networks (graphs.jsonl) and measurements (measurements.parquet).

Raw samples are kept. Row i of both files is the same network. Where the card names a search space, a network is its
architecture and digest: the space rebuilds the graph, the digest proves that it is still the same one, and 600 cells
take a few kB. Without a space, or if the writer asks for it, the whole Graph is in the file as well.
"""

from __future__ import annotations

import gc
import hashlib
import io
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields, replace
from itertools import zip_longest
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from hwprof import instructions as counting
from hwprof.device import Device
from hwprof.errors import InputError, one_line
from hwprof.files import read_bytes, reading, toml_table, write_bytes, write_text
from hwprof.graph import Graph
from hwprof.measurement import Measurement

SCHEMA = "hwprof.dataset/1"
FOLDER = Path("latency_data")  # of data sets that hwprof measured
CARD, GRAPHS, MEASUREMENTS = "dataset.toml", "graphs.jsonl", "measurements.parquet"
Arch = tuple[int, ...]
_REQUIRED = frozenset({"digest", "arch", "status", "latency_ms"})  # columns of `MEASUREMENTS`; others came later
MS, INSTRUCTIONS = "ms", "instructions"

_STATE = pa.struct(
    {
        "clock_mhz": pa.float64(), "memory_clock_mhz": pa.float64(), "power_w": pa.float64(),
        "temperature_c": pa.float64(), "throttled": pa.list_(pa.string()), "energy_mj": pa.float64(),
    }
)  # fmt: skip
_BLOCK = pa.struct(
    {
        "start_ns": pa.int64(), "samples_ns": pa.list_(pa.int64()), "runs_per_sample": pa.int32(),
        "anchors_ns": pa.map_(pa.string(), pa.float64()), "cpu_ns": pa.int64(), "rejected": pa.string(),
        "states": pa.list_(_STATE), "cpu_samples_ns": pa.list_(pa.int64()), "runs_per_cpu_sample": pa.int32(),
        "anchors_cpu_ns": pa.map_(pa.string(), pa.float64()),
    }
)  # fmt: skip
_PROCESS = pa.struct(
    {
        "round": pa.int32(), "started": pa.string(), "open_ns": pa.int64(), "cold_ns": pa.int64(),
        "warmup_ns": pa.list_(pa.int64()), "warmup": pa.string(), "blocks": pa.list_(_BLOCK),
        "peak_memory_bytes": pa.int64(), "energy_mj": pa.float64(), "warnings": pa.list_(pa.string()),
        "figures": pa.map_(pa.string(), pa.float64()),
        "build": pa.string(),
        "instructions": pa.list_(pa.map_(pa.string(), pa.int64())),
        "cores": pa.int32(), "cpu_time": pa.string(), "other_cpus": pa.float64(), "clock": pa.string(),
    }
)  # fmt: skip
_COLUMNS = pa.schema(
    {
        "digest": pa.string(), "arch": pa.list_(pa.int32()), "status": pa.string(), "latency_ms": pa.float64(),
        "low_ms": pa.float64(), "high_ms": pa.float64(), "normalized_ms": pa.float64(),
        "normalized_low_ms": pa.float64(), "normalized_high_ms": pa.float64(), "normalized_clock": pa.string(),
        "instructions": pa.map_(pa.string(), pa.float64()),
        "record": pa.string(),  # of the measurement, JSON, without its processes
        "processes": pa.list_(_PROCESS),
    }
)  # fmt: skip


_KINDS: Mapping[str, type] = {"str": str, "int": int}


class _Space(Protocol):
    """The part of a search space that a data set needs."""

    choices: Sequence[int]

    def graph(self, arch: Arch) -> Graph: ...


@dataclass(frozen=True, slots=True)
class Card:
    """The facts about a data set. An empty text means "not known". Dates are UTC. `device` is None for a device that
    hwprof has not measured.

    `unit` is the unit of the figures: "ms", or "instructions" for an emulated core, which has no latencies.

    `space`: the search space by its installed name, or as the user named it (package.module:OBJECT, file.py:OBJECT).
    `variant`: the change (int8, ...) to the space's networks before they were measured. `hardware` identifies the
    machine, `machine` describes it.

    `rows` and the two sums are filled in by `write`.
    """

    name: str
    device_name: str
    space: str = ""
    variant: str = ""
    description: str = ""
    licence: str = ""
    source: str = ""
    evidence: str = ""
    backend: str = ""
    hardware: str = ""
    first_date: str = ""
    last_date: str = ""
    machine: Mapping[str, Any] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    protocol: Mapping[str, float] = field(default_factory=dict)
    device: Device | None = None
    unit: str = MS
    rows: int = 0
    graphs_sha256: str = ""
    measurements_sha256: str = ""


@dataclass(frozen=True, slots=True)
class Entry:
    """One network with its latency, ms, and the bounds of its 95 % interval. `normalized_ms` is the latency at the
    machine's undisturbed speed by `normalized_clock`, where that is known (`hwprof.measurement.estimate`).

    `arch` is None outside of a search space, `graph` is None where the space rebuilds it, `digest` is empty where
    neither hwprof nor the source knows the graph. On an emulated core there are `instructions` of one inference, by
    class, and no latency (nan).
    """

    latency_ms: float
    arch: Arch | None = None
    digest: str = ""
    low_ms: float = math.nan
    high_ms: float = math.nan
    normalized_ms: float = math.nan
    normalized_low_ms: float = math.nan
    normalized_high_ms: float = math.nan
    status: str = ""
    graph: Graph | None = None
    measurement: Measurement | None = None
    instructions: Mapping[str, float] | None = None
    normalized_clock: str = ""

    @classmethod
    def of(cls, measurement: Measurement, arch: Arch | None = None, graph: Graph | None = None) -> Entry:
        """The entry of a measured network."""
        if measurement.is_counted:
            return cls(
                math.nan, arch, measurement.digest, status=measurement.status.value, graph=graph,
                measurement=measurement, instructions=measurement.instructions,
            )  # fmt: skip
        low, high = measurement.interval_ms
        n = measurement.normalized
        return cls(
            measurement.latency_ms, arch, measurement.digest, low, high, n.median, n.low, n.high,
            measurement.status.value, graph, measurement, normalized_clock=measurement.clock_name,
        )  # fmt: skip

    @property
    def label(self) -> tuple[float, float, float]:
        """The latency to learn, ms, and the bounds of its 95 % interval: normalized where that is known."""
        if math.isnan(self.normalized_ms):
            return self.latency_ms, self.low_ms, self.high_ms
        return self.normalized_ms, self.normalized_low_ms, self.normalized_high_ms


@dataclass(frozen=True, slots=True)
class Dataset:
    """A data set that was read. Its entries hold no `measurement`: raw samples are read when asked for."""

    folder: Path
    card: Card
    entries: tuple[Entry, ...]

    @property
    def archs(self) -> list[Arch]:
        """One choice per position for each network. Raises InputError when an entry has no architecture."""
        found = [e.arch for e in self.entries if e.arch is not None]
        if len(found) < len(self.entries):
            raise InputError(
                f"data set {self.card.name}: {len(self.entries) - len(found)} networks have no architecture"
            )
        return found

    @property
    def latency_ms(self) -> np.ndarray:
        """Latencies as the clock ran, [n], ms. Raises InputError for counted instructions."""
        self._require(MS)
        return np.array([e.latency_ms for e in self.entries])

    @property
    def normalized_ms(self) -> np.ndarray:
        """Latencies at the machine's undisturbed speed, or plain ones where these are not known, [n], ms. Raises
        InputError for counted instructions."""
        self._require(MS)
        return np.array([e.label[0] for e in self.entries])

    @property
    def instructions(self) -> np.ndarray:
        """Instructions of one inference, [n, n_classes], in the order of `hwprof.instructions.CLASSES`. Raises
        InputError for latencies."""
        self._require(INSTRUCTIONS)
        return np.array([counting.vector(e.instructions or {}) for e in self.entries])

    def graphs(self, space: _Space | None = None) -> list[Graph]:
        """The networks, from the file or rebuilt by the space that the card names.

        Raises InputError without the space, or when it no longer builds the network that was measured.
        """
        with _uncollected():
            return list(self.each_graph(space))

    def each_graph(self, space: _Space | None = None) -> Iterator[Graph]:
        """The networks of `graphs`, one at a time: the graphs of a large data set do not fit in memory together."""
        return (self._graph(entry, space) for entry in self.entries)

    def measurements(self) -> Iterator[Measurement]:
        """The measurements with their raw samples, in the order of the entries that have one."""
        subject = f"data set {self.folder}: {MEASUREMENTS}"
        for row in _records(self.folder / MEASUREMENTS, subject):
            with reading(subject):
                record, processes = row["record"], row["processes"]
                found = Measurement.from_record({**json.loads(record), "processes": processes}) if record else None
            if found is not None:
                yield found

    def _require(self, unit: str) -> None:
        if self.card.unit != unit:
            raise InputError(
                f"data set {self.card.name} ({self.card.evidence or 'of unknown evidence'}) holds {self.card.unit}, "
                f"not {unit}; give another data set"
            )

    def _graph(self, entry: Entry, space: _Space | None) -> Graph:
        if entry.graph is not None:
            return entry.graph
        if space is None or entry.arch is None:
            raise InputError(
                f"data set {self.card.name} holds no graphs; give its space, {self.card.space or 'unknown'}"
            )
        graph = space.graph(entry.arch)
        if entry.digest and entry.digest != graph.digest and entry.digest != graph.former_digest:
            raise InputError(
                f"data set {self.card.name}: space {self.card.space} no longer builds the network that was "
                f"measured for {entry.arch}; use the version of the space that built it"
            )
        return graph


@contextmanager
def _uncollected() -> Iterator[None]:
    """Python looks for no cycles meanwhile: graphs have none, and looking took half of the time to build one."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


_CARD_KINDS = {f.name: _KINDS.get(str(f.type), dict) for f in fields(Card)}


def card_of(name: str, measurements: Sequence[Measurement], space: str = "", licence: str = "Apache-2.0") -> Card:
    """The card of measurements by hwprof. Raises InputError when they come from more than one device or machine."""
    if not measurements:
        raise InputError(f"data set {name} would be empty; measure something first")
    first = measurements[0]
    for m in measurements:
        if (m.device.digest, m.hardware, m.evidence) != (first.device.digest, first.hardware, first.evidence):
            raise InputError(f"data set {name}: {m.model} was measured on another device or machine than {first.model}")
    started = sorted(p.started for m in measurements for p in m.processes)
    return Card(
        name=name, device_name=first.device.name, space=space, licence=licence, evidence=first.evidence.value,
        source=f"{first.evidence} by hwprof", backend=first.device.backend, hardware=first.hardware,
        first_date=started[0] if started else "", last_date=started[-1] if started else "",
        machine=dict(first.environment.get("hardware", {})), versions=dict(first.versions),
        protocol=asdict(first.protocol), device=first.device,
        unit=INSTRUCTIONS if first.is_counted else MS,
    )  # fmt: skip


def write(folder: Path, card: Card, entries: Sequence[Entry], with_graphs: bool = False) -> Dataset:
    """Writes the folder and reads it back. The card is written last: a folder without one was not finished.

    Raises InputError for a latency that is not positive, a network that occurs twice, or one that has neither a graph
    nor a space that rebuilds it.
    """
    _check(card, entries, with_graphs)
    graphs = "".join(_graph_line(e, with_graphs or not card.space or e.arch is None) + "\n" for e in entries).encode()
    buffer = io.BytesIO()
    table = pa.Table.from_pylist([_row(e) for e in entries], schema=_COLUMNS)
    pq.write_table(table, buffer, compression="zstd")
    folder.mkdir(parents=True, exist_ok=True)
    write_bytes(folder / GRAPHS, graphs)
    write_bytes(folder / MEASUREMENTS, buffer.getvalue())
    written = replace(
        card, rows=len(entries), graphs_sha256=_sha256(graphs), measurements_sha256=_sha256(buffer.getvalue())
    )
    write_text(folder / CARD, _to_toml(written))
    return read(folder)


def read(folder: str | Path) -> Dataset:
    """The data set of a folder, or of that name in latency_data/. Raises InputError when a file is missing, changed
    since it was written, or has a newer format."""
    folder = Path(folder)
    if not folder.exists() and (FOLDER / folder / CARD).exists():
        folder = FOLDER / folder
    subject = f"data set {folder}"
    with reading(subject):
        card = _card(toml_table(folder / CARD, f"{subject}: {CARD}"))
        graphs, measurements = (read_bytes(folder / name, f"{subject}: {name}") for name in (GRAPHS, MEASUREMENTS))
    for name, content, expected in (
        (GRAPHS, graphs, card.graphs_sha256),
        (MEASUREMENTS, measurements, card.measurements_sha256),
    ):
        if _sha256(content) != expected:
            raise InputError(f"{subject}: {name} changed since its card was written (sha256 differs)")
    try:
        with reading(subject):
            return Dataset(folder, card, _entries(graphs, measurements, card))
    except pa.ArrowException as error:
        raise InputError(f"{subject}: {MEASUREMENTS} is damaged: {one_line(error)}") from None


def _entries(graphs: bytes, measurements: bytes, card: Card) -> tuple[Entry, ...]:
    """Raises InputError, without the data set's name, where the files do not belong together."""
    lines = graphs.decode().splitlines()
    table = pq.ParquetFile(pa.BufferReader(measurements))
    present = set(table.schema_arrow.names)
    if absent := sorted(_REQUIRED - present):
        raise InputError(f"{MEASUREMENTS} has no column {absent[0]!r}; another version of hwprof wrote it")
    if not table.metadata.num_rows == len(lines) == card.rows:
        n_rows = table.metadata.num_rows
        raise InputError(f"{card.rows} rows in the card, {len(lines)} graphs, {n_rows} measurements")
    columns = [name for name in _COLUMNS.names if name in present and name not in ("record", "processes")]
    for name in columns:
        if (found := table.schema_arrow.field(name).type) != _COLUMNS.field(name).type:
            raise InputError(f"column {name} of {MEASUREMENTS} has the type {found}, not {_COLUMNS.field(name).type}")
    rows = table.read(columns=columns).to_pylist(maps_as_pydicts="strict")
    return tuple(_entry(row, line) for row, line in zip(rows, lines, strict=True))


def _records(path: Path, subject: str) -> Iterator[dict[str, Any]]:
    """The rows with raw samples, a few at a time."""
    try:
        for batch in pq.ParquetFile(path).iter_batches(64, columns=["record", "processes"]):
            yield from batch.to_pylist(maps_as_pydicts="strict")
    except (OSError, pa.ArrowException) as error:
        raise InputError(f"{subject} is damaged: {one_line(error)}") from None


def validate(dataset: Dataset, space: _Space | None = None) -> None:
    """Compares every graph with its digest and every measurement with its row. Raises InputError where they differ."""
    if dataset.card.space and space is not None:
        for arch in (entry.arch for entry in dataset.entries if entry.arch is not None):
            if len(arch) != len(space.choices) or not all(0 <= c < n for c, n in zip(arch, space.choices, strict=True)):
                raise InputError(f"data set {dataset.card.name}: {arch} is not an architecture of {dataset.card.space}")
    if space is not None or not dataset.card.space:
        for _ in dataset.each_graph(space):
            pass
    measured = [e for e in dataset.entries if e.status]
    for entry, measurement in zip_longest(measured, dataset.measurements()):
        if entry is None or measurement is None:
            raise InputError(f"data set {dataset.card.name}: not every measured row has its samples")
        figure = measurement.instructions if measurement.is_counted else measurement.latency_ms
        held = entry.instructions if measurement.is_counted else entry.latency_ms
        if (measurement.digest, figure) != (entry.digest, held):
            raise InputError(f"data set {dataset.card.name}: the samples of {measurement.model} do not match its row")


def _check(card: Card, entries: Sequence[Entry], with_graphs: bool) -> None:
    if not entries:
        raise InputError(f"data set {card.name} would be empty")
    seen: set[object] = set()
    for number, entry in enumerate(entries, 1):
        if card.unit == INSTRUCTIONS and not entry.instructions:
            raise InputError(f"data set {card.name}: row {number} has no instructions")
        if card.unit == MS and not (entry.latency_ms > 0 and math.isfinite(entry.latency_ms)):
            raise InputError(f"data set {card.name}: row {number} has a latency of {entry.latency_ms} ms")
        identity = entry.arch if entry.arch is not None else entry.digest
        if identity in seen:
            raise InputError(f"data set {card.name}: row {number} repeats the network {identity}")
        seen.add(identity)
        if entry.graph is None and (with_graphs or not (card.space and entry.arch is not None)):
            raise InputError(f"data set {card.name}: row {number} has no graph, and no space can rebuild it")


def _graph_line(entry: Entry, with_graph: bool) -> str:
    graph = json.loads(entry.graph.to_json()) if with_graph and entry.graph is not None else None
    record = {"arch": entry.arch, "digest": entry.digest, **({"graph": graph} if graph else {})}
    return json.dumps(record, separators=(",", ":"))


def _row(entry: Entry) -> dict[str, Any]:
    row = {name: getattr(entry, name) for name in _COLUMNS.names if name not in ("record", "processes")}
    m = entry.measurement
    record = json.dumps(m.to_record(with_processes=False)) if m else None
    return {**row, "record": record, "processes": m.to_record()["processes"] if m else None}


def _entry(row: Mapping[str, Any], line: str) -> Entry:
    graph = json.loads(line).get("graph")
    arch = tuple(row["arch"]) if row["arch"] is not None else None
    return Entry(**{**row, "arch": arch, "graph": Graph.from_json(json.dumps(graph)) if graph else None})


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


# -- the card ------------------------------------------------------------------------------------------


def _to_toml(card: Card) -> str:
    """A TOML document: strings and numbers first, then one table for each mapping."""
    values = {f.name: getattr(card, f.name) for f in fields(card)}
    values["device"] = card.device.to_record() if card.device else None
    plain = {k: v for k, v in values.items() if not isinstance(v, Mapping) and v not in (None, "")}
    lines = [f'schema = "{SCHEMA}"', *(f"{k} = {_toml_value(v)}" for k, v in plain.items())]
    for name, table in values.items():
        if isinstance(table, Mapping) and table:
            lines += ["", f"[{name}]", *(f"{_toml_value(k)} = {_toml_value(v)}" for k, v in table.items())]
    return "\n".join(lines) + "\n"


def _toml_value(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_toml_value(k)} = {_toml_value(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_toml_value, value)) + "]"
    # JSON's strings, numbers and booleans are TOML's, but for the one control character that JSON leaves bare.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _card(record: dict[str, Any]) -> Card:
    schema = record.pop("schema", None)
    if schema != SCHEMA:
        raise InputError(f"schema is {schema!r}, this version reads {SCHEMA!r}")
    unknown = sorted(record.keys() - {f.name for f in fields(Card)})
    if unknown or not {"name", "device_name", "rows"} <= record.keys():
        raise InputError(
            f"the card has {'an unknown field ' + unknown[0] if unknown else 'no name, device_name or rows'}"
        )
    for name, kind in _CARD_KINDS.items():
        if not isinstance(record.get(name, kind()), kind):
            raise InputError(f"{name} in the card is {record[name]!r:.80}, not of type {kind.__name__}")
    device = Device.from_record(record["device"]) if "device" in record else None
    return Card(**{**record, "device": device})
