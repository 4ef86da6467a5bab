"""NetAdapt's table (denru01/netadapt): a pickle of {layer: {properties, "latency": {(cin, cout): seconds}}}.

It belongs to one network: the layer's name is part of the key. Properties are kept as text.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hwprof.errors import InputError
from hwprof.latency_table.formats import loss, pickle_file
from hwprof.latency_table.formats.source import Source
from hwprof.latency_table.operators import Attribute
from hwprof.latency_table.rows import Content, Row, refuse

_MS_PER_S = 1e3
_TYPE = "layer_type_str"
_REQUIRED = {"layer", "cin", "cout"}


def read(path: Path, source: Source) -> list[Row]:
    """Rows of op = layer type with `layer`, `cin`, `cout` and the layer's properties."""
    scale = source.stated_unit_ms("s", "NetAdapt's tables")
    content = pickle_file.read(path, source)
    try:
        return [row for name, layer in content.items() for row in _rows(name, layer, scale)]
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise InputError(f"latency table {path}: it is not a table of NetAdapt: {error}") from None


def write(table: Content, path: Path) -> list[str]:
    """Raises InputError for rows without layer, cin and cout: the format belongs to one network's layers."""
    refuse("NetAdapt's tables need rows with layer, cin, cout", [
        r.title for r in table.rows if not set(dict(r.attributes)) >= _REQUIRED
    ])  # fmt: skip
    content: dict[str, dict[str, Any]] = {}
    for row in table.rows:
        attributes = dict(row.attributes)
        properties = {k: _value(v) for k, v in attributes.items() if k not in _REQUIRED}
        layer = content.setdefault(str(attributes["layer"]), {**properties, _TYPE: row.op, "latency": {}})
        layer["latency"][(attributes["cin"], attributes["cout"])] = row.ms / _MS_PER_S
    pickle_file.write(path, content)
    return loss.of(table)


def _rows(name: str, layer: Mapping[str, Any], scale: float) -> list[Row]:
    shared: dict[str, Attribute] = {k: repr(v) for k, v in layer.items() if k not in ("latency", _TYPE)}
    return [
        Row.of(layer[_TYPE], {**shared, "layer": name, "cin": int(cin), "cout": int(cout)}, float(s) * scale)
        for (cin, cout), s in layer["latency"].items()
    ]


def _value(attribute: Attribute) -> Any:
    """The property that the text writes as a literal, or else the text itself."""
    try:
        return ast.literal_eval(str(attribute))
    except (ValueError, SyntaxError):
        return attribute
