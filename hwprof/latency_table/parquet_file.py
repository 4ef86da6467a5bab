"""The same table as Parquet: one column per attribute, the header of `hwprof.lut/1` in the file's metadata."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from hwprof.errors import InputError, one_line
from hwprof.files import json_value, read_bytes, write_bytes
from hwprof.latency_table.json_file import header, with_header
from hwprof.latency_table.rows import Content, Row

_HEADER = b"hwprof.lut"
_OWN = ("op", "ms", "low_ms", "high_ms", "n")
_MOST_ROWS, _MOST_COLUMNS, _BATCH = 2_000_000, 1000, 4096
_PREFIX = "key."  # keeps an attribute named "n" apart from the number of samples


def read(path: Path) -> Content:
    """Raises InputError for a file that is not a table, is newer, or names no device."""
    subject = f"latency table {path}"
    try:
        file = pq.ParquetFile(pa.BufferReader(read_bytes(path, subject)))
        record = json_value((file.schema_arrow.metadata or {})[_HEADER], subject)
        rows = [_row(values) for values in _records(file, subject)]
    except (KeyError, TypeError, ValueError, pa.ArrowException) as error:
        reason = one_line(error)
        raise InputError(f"{subject}: hwprof did not write it, or it is damaged: {reason}") from None
    return with_header(path, record, rows)


def _records(file: pq.ParquetFile, subject: str) -> Iterator[dict[str, Any]]:
    """The rows. They are counted while they are read: a column of one value takes no space in the file."""
    if file.metadata.num_rows > _MOST_ROWS or file.metadata.num_columns > _MOST_COLUMNS:
        raise InputError(f"{subject}: it has more than {_MOST_ROWS:,} rows or {_MOST_COLUMNS:,} columns")
    for batch in file.iter_batches(_BATCH, use_threads=False):
        yield from batch.to_pylist()


def write(table: Content, path: Path) -> None:
    """Raises InputError when an attribute is a number in one row and text in another."""
    names = sorted({name for row in table.rows for name, _ in row.attributes})
    columns: dict[str, list[Any]] = {name: [getattr(row, name) for row in table.rows] for name in _OWN}
    for name in names:
        columns[_PREFIX + name] = [dict(row.attributes).get(name) for row in table.rows]
    try:
        rows = pa.table(columns)
    except pa.ArrowInvalid as error:
        raise InputError(f"cannot write {path}: an attribute mixes numbers and text: {error}") from None
    buffer = io.BytesIO()
    pq.write_table(rows.replace_schema_metadata({_HEADER: json.dumps(header(table))}), buffer)
    write_bytes(path, buffer.getvalue())


def _row(values: Mapping[str, Any]) -> Row:
    attributes = {
        name.removeprefix(_PREFIX): value
        for name, value in values.items()
        if name.startswith(_PREFIX) and value is not None
    }
    interval = (values["low_ms"], values["high_ms"]) if values["low_ms"] is not None else None
    return Row.of(values["op"], attributes, values["ms"], interval, values["n"])
