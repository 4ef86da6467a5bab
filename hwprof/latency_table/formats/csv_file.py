"""CSV: columns op, ms, low_ms, high_ms, n and one per attribute; an empty field is an attribute that the row does not
have."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from pathlib import Path

from hwprof.errors import InputError
from hwprof.files import read_text, write_bytes
from hwprof.latency_table.formats import loss
from hwprof.latency_table.formats.source import Source
from hwprof.latency_table.operators import Attribute
from hwprof.latency_table.rows import Content, Row
from hwprof.time_unit import ms_per

_OWN = ("op", "ms", "low_ms", "high_ms", "n")


def read(path: Path, source: Source) -> list[Row]:
    """`unit` scales ms, low_ms and high_ms of a foreign file. Raises InputError, naming the line."""
    scale = ms_per(source.unit or "ms")
    try:
        file = io.StringIO(read_text(path, f"latency table {path}"), newline="")
        return [_row(path, line, record, scale) for line, record in enumerate(csv.DictReader(file), 2)]
    except csv.Error as error:
        raise InputError(f"latency table {path}: {error}") from None


def write(table: Content, path: Path) -> list[str]:
    """Raises InputError, naming the row, for one that has no place in the format."""
    names = sorted({name for row in table.rows for name, _ in row.attributes})
    refused = sorted(set(names) & set(_OWN))
    if refused:
        raise InputError(f"attribute {refused[0]!r} has the name of a fixed column of the CSV format; rename it")
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, ["op", *names, *_OWN[1:]], restval="", lineterminator="\n")
    writer.writeheader()
    for row in table.rows:
        writer.writerow({name: getattr(row, name) for name in _OWN} | dict(row.attributes))
    write_bytes(path, buffer.getvalue().encode())
    lost = loss.of(table, holds=("interval", "n"))
    if any(isinstance(v, str) and not isinstance(_value(v), str) for row in table.rows for _, v in row.attributes):
        lost.append("the type of text attributes that look like numbers")
    return lost


def _row(path: Path, line: int, record: Mapping[str, str | None], scale: float) -> Row:
    try:
        attributes = {k: _value(v) for k, v in record.items() if k not in _OWN and v}
        low, high, n = record.get("low_ms"), record.get("high_ms"), record.get("n")
        interval = (float(low) * scale, float(high) * scale) if low and high else None
        return Row.of(
            record["op"] or "", attributes, float(record["ms"] or "nan") * scale, interval, int(n) if n else None
        )
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"latency table {path}: line {line} cannot be read: {error}") from None


def _value(text: str) -> Attribute:
    for number in (int, float):
        try:
            return number(text)
        except ValueError:
            continue
    return text
