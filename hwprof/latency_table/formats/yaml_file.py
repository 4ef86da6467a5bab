"""Reads and writes the YAML files of MIT's tables, with the safe loader only."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from hwprof import plugins
from hwprof.errors import InputError, one_line
from hwprof.files import read_text, write_bytes

_MOST_BYTES = 1 << 26
_DEEPEST = 6  # the stream, the document, the table and an entry, and some more
_LONGEST_SCALAR = 1000


def entries(path: Path) -> Mapping[str, Mapping[str, float]]:
    """The entries by key. Raises InputError when the file does not hold such a table."""
    yaml = _yaml()
    # libyaml's loader reads the 1 MB tables ten times faster, but is not built everywhere.
    loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    text = read_text(path, f"latency table {path}", _MOST_BYTES)
    try:
        _require_plain(yaml.parse(text, Loader=loader), path)
        content = yaml.load(text, Loader=loader)
    except yaml.YAMLError as error:
        raise InputError(f"latency table {path}: {one_line(error)}") from None
    if not isinstance(content, dict) or not content:
        raise InputError(f"latency table {path}: it is not a mapping from operator keys to latencies")
    for key, value in content.items():
        if not isinstance(value, dict) or not isinstance(value.get("mean"), int | float):
            raise InputError(f"latency table {path}: entry {key!r} has no number as its mean")
    return content


def _require_plain(events: Iterable[Any], path: Path) -> None:
    """Raises InputError at the first event that no table needs and that costs a loader much: deep nesting, which takes
    it quadratic time, references and merge keys, which multiply content, and very long numbers."""
    depth = 0
    for event in events:
        kind = type(event).__name__
        depth += kind.endswith("StartEvent") - kind.endswith("EndEvent")
        value = getattr(event, "value", "")
        if depth > _DEEPEST or len(value) > _LONGEST_SCALAR:
            raise InputError(f"latency table {path}: it is nested deeper than a table, or holds a very long value")
        if value == "<<" or getattr(event, "anchor", None) or getattr(event, "tag", None):
            raise InputError(f"latency table {path}: it holds an anchor, a merge key or a tag, which no table needs")


def write(path: Path, content: Mapping[str, Mapping[str, float]]) -> None:
    """Entries keep their order."""
    yaml = _yaml()
    dumper: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
    write_bytes(path, yaml.dump(dict(content), Dumper=dumper, sort_keys=False, width=1000).encode())


def _yaml() -> ModuleType:
    with plugins.optional_library("a table in YAML"):
        import yaml
    return yaml
