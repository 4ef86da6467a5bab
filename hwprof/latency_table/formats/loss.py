"""Describes the content of a table that a plain format cannot hold, and finds the rows that it can hold."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from hwprof.errors import InputError
from hwprof.latency_table.operators import Attribute
from hwprof.latency_table.rows import Content, Row


def of(table: Content, holds: Collection[str] = ()) -> list[str]:
    """holds: which of "device", "interval", "n" the format keeps. Returns one phrase for each loss."""
    m = table.metadata
    device = "" if "device" in holds else f"device {m.device}, "
    lost = [f"{device}runtime {m.runtime}, threads {m.threads}, batch {m.batch}, dtype {m.dtype}"]
    if "interval" not in holds and any(r.low_ms is not None for r in table.rows):
        lost.append("intervals")
    if "n" not in holds and any(r.n is not None for r in table.rows):
        lost.append("sample counts")
    if table.correction:
        lost.append("correction")
    if table.numeric:
        lost.append(f"numeric attributes and granules ({', '.join(a.name for a in table.numeric)})")
    return lost


def placed(
    rows: Sequence[Row], all_rows: Sequence[Row], fields: Sequence[str], tool: str
) -> tuple[dict[tuple[Attribute, ...], Row], list[str]]:
    """The rows by operator and `fields`, and phrases for the rows and attributes that are lost.

    Raises InputError when no row has the fields, or two rows differ only in content that is lost.
    """
    found: dict[tuple[Attribute, ...], Row] = {}
    for row in rows:
        attributes = dict(row.attributes)
        if not attributes.keys() >= set(fields):
            continue
        key = (row.op, *(attributes[name] for name in fields))
        if key in found:
            raise InputError(f"{tool} cannot tell {found[key].title} from {row.title}; leave one of them out")
        found[key] = row
    if not found:
        raise InputError(f"no row of the table fits {tool}, which holds rows of {', '.join(fields)}")
    others = sorted({row.op for row in all_rows} - {row.op for row in found.values()})
    lost = []
    if len(found) < len(all_rows):
        lost.append(f"{len(all_rows) - len(found)} of {len(all_rows)} rows ({', '.join(others) or 'other shapes'})")
    if dropped := sorted({name for row in found.values() for name, _ in row.attributes} - set(fields)):
        lost.append(f"attributes {', '.join(dropped)}")
    return found, lost
