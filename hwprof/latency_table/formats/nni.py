"""NNI's table (microsoft/nni, pull request 4600): one Python dict literal per line with
`op_name, op_data_shape (w, h, cin, cout, stride), op_dtype, op_latency`. It states no unit.
"""

from __future__ import annotations

import ast
from dataclasses import replace
from pathlib import Path
from typing import Any

from hwprof.errors import InputError
from hwprof.files import read_text, write_bytes
from hwprof.latency_table.formats import loss
from hwprof.latency_table.formats.source import Source
from hwprof.latency_table.operators import Attribute
from hwprof.latency_table.rows import Content, Row

_SHAPE = ("w", "h", "cin", "cout", "stride")


def read(path: Path, source: Source) -> list[Row]:
    """Raises InputError, naming the line, for one that is not such a record."""
    scale = source.asked_unit_ms("NNI's table")
    lines = read_text(path, f"latency table {path}").splitlines()
    return [_row(path, number, line, scale) for number, line in enumerate(lines, 1) if line.strip()]


def write(table: Content, path: Path) -> list[str]:
    """Latencies are in ms. Raises InputError when no row has w, h, cin, cout and stride."""
    dtype = table.metadata.dtype
    typed = [replace(row, attributes=_typed(row, dtype)) for row in table.rows]
    found, lost = loss.placed(typed, table.rows, (*_SHAPE, "dtype"), "NNI's format")
    lines = [repr(_record(key, row.ms)) for key, row in found.items()]
    write_bytes(path, ("\n".join(lines) + "\n").encode())
    return ["the unit (ms)", *lost, *loss.of(table)]


def _row(path: Path, number: int, line: str, scale: float) -> Row:
    try:
        record = ast.literal_eval(line)
        shape: dict[str, Attribute] = dict(zip(_SHAPE, record["op_data_shape"], strict=True))
        return Row.of(record["op_name"], {**shape, "dtype": record["op_dtype"]}, record["op_latency"] * scale)
    except (ValueError, SyntaxError, LookupError, TypeError, MemoryError, RecursionError):  # the last two: deep nesting
        raise InputError(f"latency table {path}: line {number} is not a record of NNI's table") from None


def _typed(row: Row, dtype: str) -> tuple[tuple[str, Attribute], ...]:
    return tuple(sorted({"dtype": dtype, **dict(row.attributes)}.items()))


def _record(key: tuple[Attribute, ...], ms: float) -> dict[str, Any]:
    op, *shape, dtype = key
    return {"op_name": op, "op_data_shape": tuple(shape), "op_dtype": dtype, "op_latency": ms}
