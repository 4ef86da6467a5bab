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
    """The keys of all rows are the header; what a row lacks is empty."""
    if format is Format.JSON:
        write_json(list(rows))
        return
    header = list(dict.fromkeys(key for row in rows for key in row))
    cells = [["" if row.get(key) is None else str(row[key]) for key in header] for row in rows]
    if format is Format.CSV:
        csv.writer(sys.stdout, lineterminator="\n").writerows([header, *cells])
    elif format is Format.MD:
        _write_markdown(header, cells)
    else:
        _write_table(header, cells, title)


def _write_markdown(header: Sequence[str], cells: Sequence[Sequence[str]]) -> None:
    escaped = [[cell.replace("|", "\\|") for cell in row] for row in cells]
    lines = [header, ["---"] * len(header), *escaped]
    sys.stdout.writelines("| " + " | ".join(line) + " |\n" for line in lines)


def _write_table(header: Sequence[str], cells: Sequence[Sequence[str]], title: str) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(title=title or None, title_justify="left", box=box.SIMPLE_HEAD)
    for i, key in enumerate(header):
        numeric = all(_is_numeric(row[i]) for row in cells)
        table.add_column(key, justify="right" if numeric else "left", overflow="fold")
    for row in cells:
        table.add_row(*map(Text, row))
    console = Console(file=sys.stdout)
    if not console.is_terminal:
        console.width = 200  # a file has no width to respect
    console.print(table)


def _is_numeric(cell: str) -> bool:
    return cell[:1] in "+-0123456789"


def note(text: str) -> None:
    """A line for a person, on standard error."""
    sys.stderr.write(text + "\n")


def warn(text: str) -> None:
    """A warning that the reader needs before using the result."""
    note(f"hwprof: warning: {text}")
