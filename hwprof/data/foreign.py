"""Makes a data set from other people's measurements: CSV, Parquet or JSON Lines, one network per row."""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeAlias

import pyarrow as pa
import pyarrow.parquet as pq

from hwprof.data import dataset
from hwprof.data.dataset import Arch, Card, Dataset, Entry
from hwprof.errors import InputError, one_line
from hwprof.files import json_value
from hwprof.time_unit import ms_per

Cell: TypeAlias = str | int | float | bool | list[object] | dict[str, object] | None


@dataclass(frozen=True, slots=True)
class Refusal:
    """A row that was left out. Rows count from 1; the header of a CSV file is not counted."""

    row: int
    reason: str


@dataclass(frozen=True, slots=True)
class Import:
    """An imported data set. `repeated`: the number of rows that repeat a network with the same latency; only the first
    row of a network counts."""

    dataset: Dataset
    refused: tuple[Refusal, ...]
    repeated: int


def import_file(
    path: Path,
    out: Path,
    card: Card,
    parse: Callable[..., Arch],
    arch_columns: Sequence[str],
    latency_column: str,
    unit: str,
) -> Import:
    """The data set, with the rows that were refused.

    parse: called with the cells of `arch_columns` (one text, as a space's `parse`, or several structured ones);
    it raises InputError for cells that are not an architecture. Rows are also refused for a latency that is 0,
    negative, NaN or missing, and so are all rows of a network that has two different latencies.

    Raises InputError for an unknown column or unit, a card without source or licence, or when no row is left.
    """
    if not card.source or not card.licence:
        raise InputError("imported data need a source and a licence; give both")
    scale = ms_per(unit)
    good: dict[Arch, dict[int, float]] = {}
    refused: list[Refusal] = []
    for number, record in enumerate(_records(path), 1):
        if number == 1:
            _check_columns(path, record, (*arch_columns, latency_column))
        try:
            arch, ms = _parsed(record, parse, arch_columns, latency_column, scale)
        except InputError as error:
            refused.append(Refusal(number, str(error)))
        else:
            good.setdefault(arch, {})[number] = ms
    return _written(out, card, good, refused)


def _written(out: Path, card: Card, good: Mapping[Arch, Mapping[int, float]], refused: list[Refusal]) -> Import:
    """good: for each architecture its latency, ms, by row number."""
    entries = []
    for arch, by_row in good.items():
        different = sorted(set(by_row.values()))
        if len(different) == 1:
            entries.append(Entry(different[0], arch))
            continue
        reason = f"rows {', '.join(map(str, by_row))} give one network {different[0]:g} to {different[-1]:g} ms"
        refused += [Refusal(row, reason) for row in by_row]
    refused.sort(key=lambda r: r.row)
    if not entries:
        first = f"; row {refused[0].row}: {refused[0].reason}" if refused else ""
        raise InputError(f"no row can be imported, {len(refused)} were refused{first}")
    repeated = sum(len(by_row) - 1 for by_row in good.values() if len(set(by_row.values())) == 1)
    return Import(dataset.write(out, replace(card, evidence="imported"), entries), tuple(refused), repeated)


def _check_columns(path: Path, record: Mapping[str, Cell], columns: Sequence[str]) -> None:
    missing = [c for c in columns if c not in record]
    if missing:
        known = ", ".join(str(name)[:40] for name in list(record)[:20])
        raise InputError(f"{path} has no column {missing[0]!r}; known: {known}")


def _parsed(
    record: Mapping[str, Cell],
    parse: Callable[..., Arch],
    arch_columns: Sequence[str],
    latency_column: str,
    scale: float,
) -> tuple[Arch, float]:
    latency = record.get(latency_column)
    ms = _number(latency) * scale
    if not (ms > 0 and math.isfinite(ms)):
        raise InputError(f"latency {latency!r:.80} is not a positive number")
    cells = [record.get(c) for c in arch_columns]
    if None in cells:
        raise InputError(f"column {arch_columns[cells.index(None)]!r} is empty")
    return parse(*cells), ms


def _number(cell: Cell) -> float:
    """The number in a cell; nan where there is none."""
    try:
        return float(cell) if isinstance(cell, str | int | float) and not isinstance(cell, bool) else math.nan
    except (ValueError, OverflowError):
        return math.nan


def _records(path: Path) -> Iterator[Mapping[str, Cell]]:
    readers = {".csv": _csv, ".parquet": _parquet, ".jsonl": _json_lines, ".ndjson": _json_lines}
    if path.suffix not in readers:
        raise InputError(f"{path} is not a {', '.join(readers)} file; convert it to one of these")
    try:
        yield from readers[path.suffix](path)
    except (OSError, ValueError, TypeError, OverflowError, csv.Error, pa.ArrowException) as error:
        raise InputError(f"{path}: {one_line(error)}") from None


def _csv(path: Path) -> Iterator[Mapping[str, Cell]]:
    with path.open(newline="", encoding="utf-8") as file:
        yield from csv.DictReader(file)


def _json_lines(path: Path) -> Iterator[Mapping[str, Cell]]:
    with path.open(encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            if line.strip():
                record = json_value(line, f"{path}, line {number}")
                if not isinstance(record, dict):
                    raise InputError(f"{path}, line {number}: it is not a JSON object")
                yield record


def _parquet(path: Path) -> Iterator[Mapping[str, Cell]]:
    for batch in pq.ParquetFile(path).iter_batches():
        yield from batch.to_pylist()
