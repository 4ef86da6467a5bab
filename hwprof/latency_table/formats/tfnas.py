"""TF-NAS's table (AberHu/TF-NAS), read only: a pickle of {"block_key": {middle channels: ms}, "base": ms}.

172 entries of the published GPU table are negative; such entries are refused with their keys.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hwprof.errors import InputError
from hwprof.latency_table.formats import pickle_file
from hwprof.latency_table.formats.source import Source
from hwprof.latency_table.rows import Content, Row, refuse


def read(path: Path, source: Source) -> list[Row]:
    """Rows `block` with `name` and `mid_channels`, and `base` for the fixed part of the network.

    Raises InputError, naming the entries, for latencies that are not positive.
    """
    scale = source.stated_unit_ms("ms", "TF-NAS's tables")
    content = pickle_file.read(path, source)
    try:
        found = list(_entries(content))
    except (AttributeError, TypeError, ValueError) as error:
        raise InputError(f"latency table {path}: it is not a table of TF-NAS: {error}") from None
    refuse(f"latency table {path}: latencies that are not positive", [
        f"{name}[{channels}]={ms:g} ms" for name, channels, ms in found if not ms > 0
    ])  # fmt: skip
    return [
        Row.of("block", {"name": name, "mid_channels": channels}, ms * scale)
        if channels is not None
        else Row.of(name, {}, ms * scale)
        for name, channels, ms in found
    ]


def write(table: Content, path: Path) -> list[str]:
    """Always raises InputError: the format is a pickle that only TF-NAS's own search reads."""
    raise InputError(f"TF-NAS's format can only be read; write the table of {table.metadata.device} to {path} as csv")


def _entries(content: Any) -> Iterator[tuple[str, int | None, float]]:
    for name, value in content.items():
        if isinstance(value, int | float):
            yield name, None, float(value)
            continue
        for channels, ms in value.items():
            yield name, int(channels), float(ms)
