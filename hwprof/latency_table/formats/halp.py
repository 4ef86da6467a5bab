"""HALP's table (NVlabs/HALP): a pickle of {"batch_cin_cout_fmap_kernel_stride_groups": ms}, convolutions only."""

from __future__ import annotations

import re
from pathlib import Path

from hwprof.errors import InputError
from hwprof.latency_table.formats import loss, pickle_file
from hwprof.latency_table.formats.source import Source
from hwprof.latency_table.operators import Attribute
from hwprof.latency_table.rows import Content, Row

_KEY = ("batch", "cin", "cout", "fmap", "kernel", "stride", "groups")
_FIELDS = ("batch", "cin", "cout", "h", "w", "kernel", "stride", "groups")


def read(path: Path, source: Source) -> list[Row]:
    """Conv rows; the feature map is the height and width of the input."""
    scale = source.stated_unit_ms("ms", "HALP's tables")
    content = pickle_file.read(path, source)
    if not isinstance(content, dict):
        raise InputError(f"latency table {path}: it is not a dict of HALP's keys")
    return [_row(path, str(key), float(ms) * scale) for key, ms in content.items()]


def write(table: Content, path: Path) -> list[str]:
    """Raises InputError when the table holds no square convolution."""
    found, lost = loss.placed([r for r in table.rows if _square(r)], table.rows, _FIELDS, "HALP's format")
    content = {_key(dict(row.attributes)): row.ms for row in found.values()}
    pickle_file.write(path, content)
    return [*lost, *loss.of(table)]


def _row(path: Path, key: str, ms: float) -> Row:
    if not re.fullmatch(r"\d+(_\d+){6}", key):
        raise InputError(f"latency table {path}: key {key!r} is not {'_'.join(_KEY)}")
    fields = dict(zip(_KEY, map(int, key.split("_")), strict=True))
    fmap = fields.pop("fmap")
    return Row.of("Conv", {**fields, "h": fmap, "w": fmap}, ms)


def _square(row: Row) -> bool:
    a = dict(row.attributes)
    whole = all(isinstance(a.get(name), int) for name in _FIELDS)
    return row.op == "Conv" and whole and a["h"] == a["w"] and a.get("dilation", 1) == 1


def _key(attributes: dict[str, Attribute]) -> str:
    return "_".join(str(attributes["h" if name == "fmap" else name]) for name in _KEY)
