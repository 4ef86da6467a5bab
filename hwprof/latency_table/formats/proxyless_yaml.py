"""ProxylessNAS's table (mit-han-lab/proxylessnas): YAML, a mean in ms by dash key."""

from __future__ import annotations

from pathlib import Path

from hwprof.latency_table.formats import dash_key, loss, yaml_file
from hwprof.latency_table.formats.source import Source
from hwprof.latency_table.rows import Content, Row


def read(path: Path, source: Source) -> list[Row]:
    """Raises InputError for a file that does not hold such a table."""
    scale = source.stated_unit_ms("ms", "ProxylessNAS's tables")
    return [Row.of(*dash_key.parse(key), entry["mean"] * scale) for key, entry in yaml_file.entries(path).items()]


def write(table: Content, path: Path) -> list[str]:
    """Raises InputError, naming the row, for one that has no place in the format."""
    yaml_file.write(path, {dash_key.of(row): {"mean": row.ms} for row in table.rows})
    return loss.of(table)
