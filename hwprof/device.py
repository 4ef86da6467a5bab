"""A device: hardware, runtime and settings, read from `devices/NAME.toml`. Two thread counts are two devices."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hwprof.errors import InputError
from hwprof.files import reading, toml_table

SCHEMA = "hwprof.device/1"
Option = str | int | float | bool

_SHIPPED = Path(__file__).parent / "_devices"  # in the wheel
_CHECKOUT = Path(__file__).parent.parent / "devices"  # in a source checkout


@dataclass(frozen=True, slots=True)
class Device:
    """`threads` 0 means all cores that this process may use; `cores` is "auto", a tuple of CPU numbers or a cluster
    name ("big", "little"). `options` belong to the backend, which rejects unknown ones.

    `remote`: the address of a device other than this machine, in the backend's terms. It is not a property of the
    device: neither the digest nor stored records include it.
    """

    name: str
    backend: str
    description: str = ""
    kind: str = "cpu"
    threads: int = 1
    cores: str | tuple[int, ...] = "auto"
    batch: int = 1
    precision: str = "float32"
    options: tuple[tuple[str, Option], ...] = ()
    remote: str = ""

    @classmethod
    def load(cls, name: str | Path) -> Device:
        """By name (a user's folder is searched first) or by the path of a .toml file. Raises InputError."""
        path = Path(name)
        if path.suffix == ".toml":
            if not path.is_file():
                raise InputError(f"there is no device file {str(path)!r}")
            return _read(path)
        for folder in search_path():
            candidate = folder / f"{name}.toml"
            if candidate.is_file():
                return _read(candidate)
        known = ", ".join(available()) or "none"
        raise InputError(f"no device is named {str(name)!r}; known: {known}")

    @property
    def option(self) -> Mapping[str, Option]:
        return dict(self.options)

    @property
    def digest(self) -> str:
        """16 hexadecimal digits over everything that can change a latency, so without name and description."""
        record = self.to_record()
        del record["name"], record["description"]
        return hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()[:16]

    def to_record(self, with_address: bool = False) -> dict[str, Any]:
        """A JSON-ready dict; `from_record` reads it back. The address is for a worker, which must reach the device."""
        record = {
            "name": self.name, "backend": self.backend, "description": self.description, "kind": self.kind,
            "threads": self.threads, "cores": self.cores if isinstance(self.cores, str) else list(self.cores),
            "batch": self.batch, "precision": self.precision, "options": dict(self.options),
        }  # fmt: skip
        return record | {"remote": self.remote} if with_address and self.remote else record

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Device:
        """Raises InputError, naming the field, for one that is missing, unknown or of the wrong type."""
        return _from_record(dict(record))

    def with_options(self, **options: Option) -> Device:
        return replace(self, options=tuple(sorted({**self.option, **options}.items())))


def search_path() -> Iterator[Path]:
    """The folders in which device files are searched: $HWPROF_DEVICES, ./devices, then the shipped ones."""
    if extra := os.environ.get("HWPROF_DEVICES"):
        yield from (Path(p) for p in extra.split(os.pathsep))
    yield Path("devices")
    yield _SHIPPED
    yield _CHECKOUT


def available() -> list[str]:
    """Sorted names of the device files on the search path."""
    return sorted({p.stem for folder in search_path() if folder.is_dir() for p in folder.glob("*.toml")})


def _read(path: Path) -> Device:
    subject = f"device file {path}"
    table = toml_table(path, subject)
    with reading(subject):
        schema = table.pop("schema", None)
        if schema is None:
            raise InputError(f'the schema is missing; add the first line schema = "{SCHEMA}"')
        if schema != SCHEMA:
            raise InputError(f"schema is {schema!r}, but this version reads {SCHEMA!r}")
        return _from_record({"name": path.stem, **table})


def _from_record(record: dict[str, Any]) -> Device:
    expected: dict[str, type] = {
        "name": str, "backend": str, "description": str, "kind": str, "threads": int, "batch": int, "precision": str,
        "options": dict, "remote": str,
    }  # fmt: skip
    unknown = sorted(record.keys() - expected.keys() - {"cores"})
    if unknown:
        raise InputError(f"unknown field {unknown[0]!r}; known: {', '.join(sorted([*expected, 'cores']))}")
    for field in ("name", "backend"):
        if field not in record:
            raise InputError(f"field {field!r} is missing")
    for field, kind in expected.items():
        if field in record and (not isinstance(record[field], kind) or isinstance(record[field], bool)):
            raise InputError(f"field {field!r} must be {kind.__name__}, not {record[field]!r}")
    options = _checked_options(record.pop("options", {}))
    cores = _checked_cores(record.pop("cores", "auto"))
    device = Device(**record, cores=cores, options=options)
    if device.threads < 0 or device.batch < 1:
        raise InputError(f"threads must be >= 0 and batch >= 1, not {device.threads} and {device.batch}")
    return device


def _checked_options(options: dict[str, Any]) -> tuple[tuple[str, Option], ...]:
    for key, value in options.items():
        if not isinstance(value, str | int | float | bool):
            raise InputError(f"option {key!r} must be a string, number or boolean, not {value!r}")
    return tuple(sorted(options.items()))


def _checked_cores(cores: Any) -> str | tuple[int, ...]:
    if isinstance(cores, str):
        return cores
    if not isinstance(cores, list | tuple) or not all(isinstance(c, int) and c >= 0 for c in cores):
        raise InputError(f"field 'cores' must be a word or a list of CPU numbers, not {cores!r}")
    return tuple(cores)
