"""Converts latency tables from and to other tools' formats, and draws their staircases."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from hwprof import plugins
from hwprof.device import Device, available
from hwprof.errors import InputError
from hwprof.jobs.inputs import networks as opened_networks
from hwprof.latency_table import Attribute, LatencyTable, Metadata, NumericAttribute, formats
from hwprof.measure.recording import Options

_OWN_SUFFIXES = (".json", ".parquet")


@dataclass(frozen=True, slots=True)
class Stated:
    """The facts about a foreign table that its format does not hold: the device and settings of its latencies.

    For a device that hwprof knows, the device's file states the rest. `threads` 0 means all. `unit`: that of the times,
    where the format states none. `numeric`: attributes along which latency is a staircase. `allow_pickle`: read formats
    that are pickles, of plain containers and numbers only.
    """

    device: str | None = None
    runtime: str | None = None
    threads: int | None = None
    batch: int | None = None
    dtype: str | None = None
    unit: str | None = None
    numeric: Sequence[NumericAttribute] = ()
    allow_pickle: bool = False


def convert_table(
    source: Path | str,
    target: Path | str,
    from_format: str | None = None,
    to_format: str | None = None,
    stated: Stated | None = None,
    networks: Sequence[object] = (),
) -> list[str]:
    """Reads `source` and writes `target`, in hwprof's own format (.json, .parquet) where no other is named. Returns
    sentences about the content that the target's format cannot hold.

    networks: given as to `profile`, for a format whose rows are a network's layers.

    Raises InputError for an unknown format, where `stated` lacks what the source's format does not say, and where the
    source lacks a layer of the networks.
    """
    source, target = Path(source), Path(target)
    for path, named, option in ((source, from_format, "--from"), (target, to_format, "--to")):
        if named is None and not is_own(path):
            raise InputError(
                f"{path} is not hwprof's own format (.json, .parquet); give {option} {'|'.join(formats.names())}"
            )
    table = LatencyTable.load(source) if from_format is None else read(source, from_format, stated or Stated())
    if networks:
        table = _of_networks(table, to_format, networks)
    return write(table, target, to_format)


def read(path: Path, format: str, stated: Stated) -> LatencyTable:  # noqa: A002 -- the option's name
    """The table of another tool's file. Raises as `convert_table` does."""
    return LatencyTable.read(
        format, path, _metadata(format, stated),
        unit=stated.unit, numeric=stated.numeric, allow_pickle=stated.allow_pickle,
    )  # fmt: skip


def write(table: LatencyTable, path: Path, format: str | None = None) -> list[str]:  # noqa: A002 -- the option's name
    """Writes hwprof's own format, or the one named. Returns sentences about the content that it cannot hold."""
    if format is None:
        table.save(path)
        return []
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        table.to(format, path)
    return [str(w.message) for w in told]


def is_own(path: Path) -> bool:
    """Whether the file's name says that it is in one of hwprof's own formats."""
    return path.suffix in _OWN_SUFFIXES


def plot_table(table: LatencyTable, path: Path | str, attribute: str, op: str, key: Mapping[str, Attribute]) -> None:
    """Draws the staircase over one numeric attribute into an .svg, .png or .pdf file. key: the operator's other
    attributes. Raises EnvironmentUnfitError without matplotlib."""
    with plugins.optional_library("a figure of a table"):
        from hwprof.latency_table.plot import plot_steps
    plot_steps(table, path, attribute, op, **key)


def _of_networks(table: LatencyTable, format: str | None, networks: Sequence[object]) -> LatencyTable:  # noqa: A002
    if format is None:
        raise InputError("networks are for another tool's format; give --to")
    with opened_networks(networks, Options(on_warning=lambda _text: None)) as graphs:
        return LatencyTable(table.metadata, tuple(formats.rows_of_networks(format, table, graphs)))


def _metadata(format: str, stated: Stated) -> Metadata:  # noqa: A002 -- the option's name
    device, runtime, threads, batch, dtype = stated.device, stated.runtime, stated.threads, stated.batch, stated.dtype
    if device in available():
        known = Device.load(device)
        runtime, threads = runtime or known.backend, known.threads if threads is None else threads
        batch, dtype = batch or known.batch, dtype or known.precision
    if device is None or runtime is None or threads is None or batch is None or dtype is None:
        asked = {"device": device, "runtime": runtime, "threads": threads, "batch": batch, "dtype": dtype}
        missing = " ".join(f"--{option}" for option, value in asked.items() if value is None)
        raise InputError(f"a table in {format} does not state where its latencies were measured; give {missing}")
    return Metadata(device, runtime, threads, batch, dtype)
