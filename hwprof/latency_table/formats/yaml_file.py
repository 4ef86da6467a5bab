"""Reads and writes the YAML files of MIT's tables, with the safe loader only."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from hwprof import plugins
from hwprof.errors import InputError
from hwprof.files import write_bytes


def entries(path: Path) -> Mapping[str, Mapping[str, float]]:
    """The entries by key. Raises InputError when the file does not hold such a table."""
    yaml = _yaml()
    # libyaml's loader reads the 1 MB tables ten times faster, but is not built everywhere.
    loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), Loader=loader)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InputError(f"latency table {path}: {' '.join(str(error).split())}") from None
    if not isinstance(content, dict) or not content:
        raise InputError(f"latency table {path}: it is not a mapping from operator keys to latencies")
    for key, value in content.items():
        if not isinstance(value, dict) or not isinstance(value.get("mean"), int | float):
            raise InputError(f"latency table {path}: entry {key!r} has no number as its mean")
    return content


def write(path: Path, content: Mapping[str, Mapping[str, float]]) -> None:
    """Entries keep their order."""
    yaml = _yaml()
    dumper: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
    write_bytes(path, yaml.dump(dict(content), Dumper=dumper, sort_keys=False, width=1000).encode())


def _yaml() -> ModuleType:
    with plugins.optional_library("a table in YAML"):
        import yaml
    return yaml
