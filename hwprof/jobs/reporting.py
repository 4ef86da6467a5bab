"""Writing what the store holds as a page, Markdown, JSON or a trace."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from hwprof.errors import InputError
from hwprof.files import write_text
from hwprof.graph import Graph
from hwprof.jobs.measuring import peaks
from hwprof.measure import compare as comparing
from hwprof.measurement import Comparison, Evidence, Measurement, Peaks
from hwprof.report import (
    comparison_markdown,
    comparison_record,
    profile_markdown,
    profile_record,
    render_comparison,
    render_profile,
    render_trace,
)
from hwprof.store import Store


def write_report(
    store: Path, out: Path, models: Sequence[str], device: str | None = None, *, comparison: bool = False,
    trace_file: Path | None = None, with_peaks: bool = True, command: str = "",
) -> list[Path]:  # fmt: skip
    """Writes the page (.html), Markdown (.md) or JSON (.json) of what the store holds. Returns the files written.

    Raises InputError when nothing in the store fits, or the file's ending is another.
    """
    if out.suffix not in (".html", ".md", ".json"):
        raise InputError(f"a report is an .html, .md or .json file, not {out.name!r}")
    with _existing(store) as opened:
        context = (opened.last_comparison() or "none") if comparison else ""
        found = [m for m in opened.measurements(context) if _is_wanted(m, models, device)]
        if not found:
            raise InputError(f"the store {str(store)!r} holds no such measurement")
        graphs = {m.digest: Graph.from_json(text) for m in found if (text := opened.graph(m.digest))}
    ceilings_ = peaks(found[0].device) if with_peaks and found[0].evidence is Evidence.MEASURED else None
    if comparison:
        text = _comparison_text(comparing.compare_all(found[0], found[1:])[0], graphs, ceilings_, out, command)
    else:
        text = _profile_text(found, graphs, ceilings_, out, command)
    write_text(out, text)
    if trace_file is None:
        return [out]
    write_text(trace_file, render_trace(found, graphs))
    return [out, trace_file]


def _existing(path: Path) -> Store:
    if not path.exists():
        raise InputError(f"there is no store {str(path)!r}; hwprof profile makes one")
    return Store(path)


def _is_wanted(m: Measurement, models: Sequence[str], device: str | None) -> bool:
    return (not models or m.model in models) and device in (None, m.device.name)


def _profile_text(
    found: Sequence[Measurement], graphs: Mapping[str, Graph], ceilings_: Peaks | None, out: Path, command: str
) -> str:
    if out.suffix == ".json":
        return json.dumps([profile_record(m, graphs.get(m.digest)) for m in found], indent=2)
    render = render_profile if out.suffix == ".html" else profile_markdown
    return render(found, graphs, ceilings_, command)


def _comparison_text(
    comparison: Comparison, graphs: Mapping[str, Graph], ceilings_: Peaks | None, out: Path, command: str
) -> str:
    if out.suffix == ".json":
        return json.dumps(comparison_record(comparison, graphs), indent=2)
    render = render_comparison if out.suffix == ".html" else comparison_markdown
    return render(comparison, graphs, ceilings_, command)
