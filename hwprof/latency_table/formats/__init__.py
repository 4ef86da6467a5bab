"""Latency tables of other tools, one format per file, each with `read` and `write`.

read(path, source) -> list of rows
write(table, path) -> phrases for the content that the format cannot hold; empty when nothing is lost

A format whose rows are the layers of networks may also have

of_networks(table, graphs) -> list of rows that `write` takes, from a table of operators
"""

from __future__ import annotations

from collections.abc import Sequence
from types import ModuleType

from hwprof.errors import InputError
from hwprof.graph import Graph
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
from hwprof.latency_table.rows import Content, Row

__all__ = ["Source", "load", "names", "rows_of_networks"]

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


def rows_of_networks(name: str, table: Content, graphs: Sequence[Graph]) -> list[Row]:
    """The rows of the format for the layers of networks, from a table of operators. Raises InputError for a format
    without layers, and where the table lacks one of them."""
    module = load(name)
    if not hasattr(module, "of_networks"):
        raise InputError(f"rows of {name} are not those of a network's layers; leave the networks out")
    found: list[Row] = module.of_networks(table, graphs)
    return found
