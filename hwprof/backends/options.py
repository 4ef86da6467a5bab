"""Reads a device's options into the dataclass in which a backend declares the options that it supports."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import MISSING, fields
from typing import Any, TypeVar, get_type_hints

from hwprof.device import Device, Option
from hwprof.errors import InputError
from hwprof.graph import Graph

T = TypeVar("T")
_NUMBER = "HWPROF_PROCESS"


def read(kind: type[T], device: Device, values: Mapping[str, Option] | None = None) -> T:
    """An instance of the dataclass `kind`, its fields taken from `values` (default: all of the device's options).

    Raises InputError for an option that is unknown, missing or of the wrong type.
    """
    given = device.option if values is None else values
    types = get_type_hints(kind)
    unknown = sorted(given.keys() - types.keys())
    if unknown:
        raise InputError(
            f"device {device.name!r}: backend {device.backend!r} has no option {unknown[0]!r}; "
            f"known: {', '.join(sorted(types)) or 'none'}"
        )
    for field in fields(kind):  # type: ignore[arg-type]  # a dataclass; TypeVar cannot say so
        if field.name not in given and field.default is MISSING:
            raise InputError(f"device {device.name!r}: backend {device.backend!r} needs the option {field.name!r}")
    return kind(**{name: _checked(device, name, value, types[name]) for name, value in given.items()})


def require_float32(device: Device) -> None:
    """Raises InputError for another `precision`: these runtimes compute in the types of the graph."""
    if device.precision != "float32":
        raise InputError(
            f"device {device.name!r} asks for precision {device.precision!r}, but backend {device.backend!r} "
            'computes in the graph\'s own types; use precision = "float32" and give it a float16 or int8 graph'
        )


def require_onnx(graph: Graph, device: Device) -> None:
    """Raises InputError for a PyTorch program, and for a batch, which only backend 'torch' applies to a network."""
    if graph.is_program:
        raise InputError(
            f"{graph.name!r} is a PyTorch module; backend {device.backend!r} of device {device.name!r} runs only ONNX "
            "networks; use a device with backend 'torch'"
        )
    if device.batch != 1:
        raise InputError(
            f"device {device.name!r} has batch {device.batch}, but backend {device.backend!r} does not change the "
            "batch of a network; give the batch with --shape instead"
        )


@contextmanager
def numbered(process: int) -> Iterator[None]:
    """A context in which networks are opened as by the process with this number (`process_number`)."""
    before = os.environ.get(_NUMBER)
    os.environ[_NUMBER] = str(process)
    try:
        yield
    finally:
        if before is None:
            del os.environ[_NUMBER]
        else:
            os.environ[_NUMBER] = before


def process_number(option: int) -> int:
    """The number of this process in a measurement, for simulated backends: the option or, where that is negative, the
    environment variable HWPROF_PROCESS, else 0. Raises InputError when that is not a number."""
    text = os.environ.get(_NUMBER, "0") if option < 0 else str(option)
    if not text.isdigit():
        raise InputError(f"{_NUMBER} must be the number of the process, not {text!r}")
    return int(text)


def _checked(device: Device, name: str, value: Option, wanted: Any) -> Any:
    if wanted is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, wanted) or (wanted is int and isinstance(value, bool)):
        title = wanted.__name__ if isinstance(wanted, type) else str(wanted)
        raise InputError(f"device {device.name!r}: option {name!r} must be {title}, not {value!r}")
    return value
