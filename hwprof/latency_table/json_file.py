"""hwprof's own table file, `hwprof.lut/1`: one JSON object with metadata, numeric attributes, correction and rows."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from hwprof.errors import InputError
from hwprof.files import json_value, read_bytes, write_bytes
from hwprof.latency_table.correction import Correction, Pattern
from hwprof.latency_table.rows import Content, Metadata, Row
from hwprof.latency_table.staircase import NumericAttribute

SCHEMA = "hwprof.lut/1"


def read(path: Path) -> Content:
    """Raises InputError for a file that is not a table, is newer, or names no device."""
    subject = f"latency table {path}"
    record = json_value(read_bytes(path, subject), subject)
    if not isinstance(record, dict) or "rows" not in record:
        raise InputError(f"latency table {path}: it does not hold a table in the format {SCHEMA}")
    return with_header(path, record, [_row(path, i, r) for i, r in enumerate(record["rows"])])


def write(table: Content, path: Path) -> None:
    """Raises EnvironmentUnfitError where the file cannot be written."""
    record = {**header(table), "rows": [_row_record(row) for row in table.rows]}
    write_bytes(path, (json.dumps(record, indent=1) + "\n").encode())


def header(table: Content) -> dict[str, Any]:
    """Everything but the rows, JSON-ready."""
    return {
        "schema": SCHEMA,
        "metadata": asdict(table.metadata),
        "numeric": [asdict(a) for a in table.numeric],
        "calibration": asdict(table.correction) if table.correction else None,  # the name of the format
    }


def with_header(path: Path, record: Mapping[str, Any], rows: list[Row]) -> Content:
    """The table of a header and rows. Raises InputError, naming the file."""
    if record.get("schema") != SCHEMA:
        raise InputError(f"latency table {path}: schema is {record.get('schema')!r}, this version reads {SCHEMA!r}")
    metadata = record.get("metadata") or {}
    if not metadata.get("device"):
        raise InputError(f"latency table {path}: it names no device; a table without its device cannot be used")
    try:
        numeric = tuple(NumericAttribute(**a) for a in record["numeric"])
        return Content(Metadata(**metadata), tuple(rows), numeric, _correction(record["calibration"]))
    except (KeyError, TypeError) as error:
        raise InputError(f"latency table {path}: the header is not in the format {SCHEMA}: {error}") from None
    except InputError as error:
        raise InputError(f"latency table {path}: {error}") from None


def _row_record(row: Row) -> dict[str, Any]:
    record = {"op": row.op, "attributes": dict(row.attributes), "ms": row.ms}
    if row.low_ms is not None:
        record["interval_ms"] = [row.low_ms, row.high_ms]
    if row.n is not None:
        record["n"] = row.n
    return record


def _row(path: Path, number: int, record: Any) -> Row:
    try:
        interval = record.get("interval_ms")
        pair = (float(interval[0]), float(interval[1])) if interval else None
        return Row.of(record["op"], record["attributes"], float(record["ms"]), pair, record.get("n"))
    except (AttributeError, KeyError, TypeError, ValueError, IndexError) as error:
        raise InputError(f"latency table {path}: row {number} cannot be read: {error}") from None


def _correction(record: Mapping[str, Any] | None) -> Correction | None:
    if record is None:
        return None
    patterns = tuple(Pattern(**p) for p in record["patterns"])
    quantiles = tuple((float(level), float(r)) for level, r in record["quantiles"])
    return Correction(**{**record, "patterns": patterns, "quantiles": quantiles})
