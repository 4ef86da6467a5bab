"""Imports other people's latencies as a data set, and checks data sets."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from hwprof.data import dataset
from hwprof.data.dataset import Card, Dataset
from hwprof.data.foreign import Cell, Import, import_file
from hwprof.errors import InputError
from hwprof.interfaces import Arch
from hwprof.spaces.varied import VariedSpace


def import_data(
    path: Path, out: Path, card: Card, arch_columns: Sequence[str], latency_column: str, unit: str
) -> Import:
    """Makes a data set in `out` from a .csv, .parquet or .jsonl file. `card` names the space, device, source and
    licence.

    arch_columns: one column holds architectures in the space's notation, or as their choices; several columns hold the
    values that the space's `from_columns` reads. unit: s, ms, us, ns or cycles@200MHz. Raises InputError for an unknown
    space, column or unit, and when no row can be imported."""
    return import_file(path, out, card, _parser(card.space, arch_columns), arch_columns, latency_column, unit)


def validate(folder: Path) -> Dataset:
    """Reads everything in the data set and returns it. Raises InputError where its files contradict each other."""
    data = dataset.read(folder)
    dataset.validate(data, VariedSpace(data.card.space, data.card.variant) if data.card.space else None)
    return data


def _parser(name: str, columns: Sequence[str]) -> Callable[..., Arch]:
    space = VariedSpace(name)
    if len(columns) == 1:
        return lambda cell: space.parse(_text(cell))
    from_columns: Callable[[dict[str, Cell]], Arch] | None = getattr(space.space, "from_columns", None)
    if from_columns is None:
        raise InputError(f"space {name!r} reads an architecture from one column, not from {', '.join(columns)}")
    return lambda *cells: from_columns(dict(zip(columns, cells, strict=True)))


def _text(cell: Cell) -> str:
    return ",".join(map(str, cell)) if isinstance(cell, list) else str(cell)
