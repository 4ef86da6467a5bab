"""Latency tables of other tools, one format per file, each with `read` and `write`.

read(path, source) -> list of rows
write(table, path) -> phrases for the content that the format cannot hold; empty when nothing is lost
"""

from __future__ import annotations

from types import ModuleType

from hwprof.errors import InputError
from hwprof.latency_table.formats import (
    csv_file,
    fbnet_json,
    halp,
    haq,
    modelopt,
    netadapt,
    nni,
    ofa_yaml,
    proxyless_yaml,
    tfnas,
)
from hwprof.latency_table.formats.source import Source

__all__ = ["Source", "load", "names"]

_FORMATS: dict[str, ModuleType] = {
    "csv": csv_file,
    "fbnet-json": fbnet_json,
    "halp": halp,
    "haq": haq,
    "modelopt": modelopt,
    "netadapt": netadapt,
    "nni": nni,
    "ofa-yaml": ofa_yaml,
    "proxyless-yaml": proxyless_yaml,
    "tfnas": tfnas,
}


def names() -> list[str]:
    """Sorted names of the formats."""
    return sorted(_FORMATS)


def load(name: str) -> ModuleType:
    """The module of a format. Raises InputError for an unknown one."""
    if name not in _FORMATS:
        raise InputError(f"no table format is named {name!r}; known: {', '.join(names())}")
    return _FORMATS[name]
