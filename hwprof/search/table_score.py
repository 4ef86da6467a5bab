"""Scores from a table, such as the accuracies of NAS-Bench-201 (Dong and Yang, arXiv 2001.00326)."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hwprof import plugins
from hwprof.errors import InputError
from hwprof.files import read_text, reading
from hwprof.interfaces import Arch
from hwprof.spaces.varied import VariedSpace

ARCH_COLUMN = "arch"


@dataclass(frozen=True, slots=True, eq=False)
class TableScore:
    """Scores by architecture. Raises InputError for an architecture that is not in the table."""

    by_arch: Mapping[Arch, float]
    name: str = "the table"

    @classmethod
    def load(cls, path: Path, space: VariedSpace, column: str | None = None) -> TableScore:
        """Reads a .csv or .parquet file with the architectures in the column "arch", in the space's notation.

        column: that of the scores; by default the only other one. Raises InputError for a file that is missing or of
        another kind, a column that is not there, a score that is not a number, and a row that is not of the space.
        """
        if not path.is_file():
            raise InputError(f"there is no table of scores {str(path)!r}")
        rows = _parquet(path) if path.suffix == ".parquet" else _csv(path)
        if not rows or ARCH_COLUMN not in rows[0]:
            raise InputError(f"{path.name}: a table of scores has a column 'arch' and at least one row")
        chosen = _column(path, [name for name in rows[0] if name and name != ARCH_COLUMN], column)
        found = {}
        for number, row in enumerate(rows, 1):
            try:
                found[space.parse(str(row[ARCH_COLUMN]))] = float(row[chosen])
            except (TypeError, ValueError):
                raise InputError(f"{path.name}, row {number}: {row[chosen]!r} is not a score") from None
        return cls(found, path.name)

    def __call__(self, arch: Arch) -> float:
        try:
            return self.by_arch[arch]
        except KeyError:
            raise InputError(f"{self.name} has no score of architecture {'-'.join(map(str, arch))}") from None


def _column(path: Path, columns: list[str], wanted: str | None) -> str:
    if wanted is None and len(columns) == 1:
        return columns[0]
    if wanted not in columns:
        given = f"has no column {wanted!r}" if wanted else "has several columns of scores"
        raise InputError(f"{path.name} {given}; name one of: {', '.join(columns)}")
    return wanted


def _csv(path: Path) -> list[dict[str, Any]]:
    subject = f"table of scores {path}"
    with reading(subject):
        return list(csv.DictReader(io.StringIO(read_text(path, subject), newline="")))


def _parquet(path: Path) -> list[dict[str, Any]]:
    with plugins.optional_library("a .parquet file"):
        import pyarrow as pa
        import pyarrow.parquet as pq
    try:
        rows: list[dict[str, Any]] = pq.read_table(path).to_pylist()
    except pa.ArrowInvalid as error:
        raise InputError(f"{path.name} is not a .parquet file: {str(error).splitlines()[0]}") from None
    return rows
