"""Writes results to standard output as a table, JSON, CSV or Markdown; notes go to standard error."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from hwprof.cli.options import Format


def write_json(records: object) -> None:
    """records: JSON-ready. Raises ValueError for NaN, which JSON does not have."""
    json.dump(records, sys.stdout, indent=2, allow_nan=False, default=str)
    sys.stdout.write("\n")


def write_rows(rows: Sequence[Mapping[str, Any]], format: Format, title: str = "") -> None:  # noqa: A002 -- the option's name
    """rows: all with the same keys, which become the header."""
    if format is Format.JSON:
        write_json(list(rows))
    elif format is Format.CSV:
        _write_csv(rows)
    elif format is Format.MD:
        _write_markdown(rows)
    else:
        _write_table(rows, title)


def _write_csv(rows: Sequence[Mapping[str, Any]]) -> None:
    writer = csv.DictWriter(sys.stdout, list(rows[0]) if rows else [], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)


def _write_markdown(rows: Sequence[Mapping[str, Any]]) -> None:
    header = list(rows[0]) if rows else []
    lines = [header, ["---"] * len(header), *([str(v).replace("|", "\\|") for v in row.values()] for row in rows)]
    sys.stdout.writelines("| " + " | ".join(line) + " |\n" for line in lines)


def _write_table(rows: Sequence[Mapping[str, Any]], title: str) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(title=title or None, title_justify="left", box=box.SIMPLE_HEAD)
    for key in rows[0] if rows else ():
        numeric = all(_is_numeric(row[key]) for row in rows)
        table.add_column(key, justify="right" if numeric else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text("" if v is None else str(v)) for v in row.values()))
    console = Console(file=sys.stdout)
    if not console.is_terminal:
        console.width = 200  # a file has no width to respect
    console.print(table)


def _is_numeric(value: object) -> bool:
    return isinstance(value, int | float) or str(value)[:1] in "+-0123456789"


def note(text: str) -> None:
    """A line for a person, on standard error."""
    sys.stderr.write(text + "\n")


def warn(text: str) -> None:
    """A warning that the reader needs before using the result."""
    note(f"hwprof: warning: {text}")
