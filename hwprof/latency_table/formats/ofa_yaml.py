"""Once-for-all's table (mit-han-lab/once-for-all): YAML for one image size, count, mean and variance in ms by dash key.

The 95 % interval of a row and the variance of its samples are two forms of one fact, given the count:
interval = mean ± 1.96 sqrt(variance / count). Another interval is named as lost.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

from hwprof.latency_table.formats import dash_key, loss, yaml_file
from hwprof.latency_table.formats.source import Source
from hwprof.latency_table.rows import Content, Row

_Z_975 = 1.959964


def read(path: Path, source: Source) -> list[Row]:
    """Raises InputError for a file that does not hold such a table."""
    scale = source.stated_unit_ms("ms", "Once-for-all's tables")
    return [_row(key, entry, scale) for key, entry in yaml_file.entries(path).items()]


def write(table: Content, path: Path) -> list[str]:
    """Raises InputError, naming the row, for one that has no place in the format."""
    yaml_file.write(path, {dash_key.of(row): _entry(row) for row in table.rows})
    lost = loss.of(table, holds=("interval", "n"))
    if any(not _symmetric(row) for row in table.rows):
        lost.append("intervals that are asymmetric or without a sample count")
    return lost


def _row(key: str, entry: Mapping[str, float], scale: float) -> Row:
    mean, count, variance = entry["mean"], entry.get("count"), entry.get("var")
    if not count or variance is None:
        return Row.of(*dash_key.parse(key), mean * scale, n=int(count) if count else None)
    half = _Z_975 * math.sqrt(variance / count)
    return Row.of(*dash_key.parse(key), mean * scale, ((mean - half) * scale, (mean + half) * scale), int(count))


def _entry(row: Row) -> dict[str, float]:
    entry: dict[str, float] = {} if row.n is None else {"count": row.n}
    entry["mean"] = row.ms
    if row.n is not None and row.low_ms is not None and row.high_ms is not None:
        entry["var"] = ((row.high_ms - row.low_ms) / 2 / _Z_975) ** 2 * row.n
    return entry


def _symmetric(row: Row) -> bool:
    if row.low_ms is None or row.high_ms is None:
        return True
    return row.n is not None and math.isclose(row.low_ms + row.high_ms, 2 * row.ms, rel_tol=1e-9)
