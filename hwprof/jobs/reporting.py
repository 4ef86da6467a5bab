"""Reports: what the store holds as a page, Markdown, JSON or a trace, beside the device's measured peaks."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from hwprof.data.store import Store
from hwprof.device import Device
from hwprof.errors import InputError
from hwprof.files import write_text
from hwprof.graph import Graph
from hwprof.jobs.inputs import device_of
from hwprof.measure import compare as comparing
from hwprof.measure.hold import held
from hwprof.measure.machine import evidence_of
from hwprof.measure.peaks import measure_peaks
from hwprof.measure.transport import Transport
from hwprof.measure.worker_process import LOCAL
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

_ENDINGS = (".html", ".md", ".json")


def peaks(device: Device | str, transport: Transport = LOCAL) -> Peaks | None:
    """The device's measured ceilings; None for an emulated core, which has no speed."""
    chosen = device_of(device)
    if evidence_of(chosen) is Evidence.EMULATED:
        return None
    with held(transport, chosen) as alone:
        return measure_peaks(chosen, alone)


def write_report(
    store: Path, out: Path, models: Sequence[str], device: str | None = None, *, comparison: bool = False,
    trace_file: Path | None = None, with_peaks: bool = True, command: str = "",
) -> list[Path]:  # fmt: skip
    """Writes the page (.html), Markdown (.md) or JSON (.json) of what the store holds. Returns the files written.

    Raises InputError when nothing in the store fits, or the file's ending is another.
    """
    if out.suffix not in _ENDINGS:
        raise InputError(f"a report is an .html, .md or .json file, not {out.name!r}")
    if comparison and models:
        raise InputError("--comparison is of the networks compared last; name no models")
    with _existing(store) as opened:
        found, margin = (opened.last_comparison() if comparison else None) or ([], 0.0)
        if not comparison:
            found = [m for m in opened.measurements() if _is_wanted(m, models, device)]
        if not found:
            raise InputError(f"the store {str(store)!r} holds no such measurement")
        graphs = stored_graphs(opened, found)
    known = peaks(found[0].device) if with_peaks and found[0].evidence is Evidence.MEASURED else None
    if comparison:
        rows = comparing.compare_all(found[0], found[1:], margin)
        pages = _comparison_pages(rows, graphs, known, out, command)
    else:
        pages = {out: _profile_text(found, graphs, known, out, command)}
    if trace_file is not None:
        pages[trace_file] = render_trace(found, graphs)
    for path, text in pages.items():
        write_text(path, text)
    return list(pages)


def stored_graphs(store: Store, measurements: Iterable[Measurement]) -> dict[str, Graph]:
    """The graphs of the measurements that the store holds, by digest."""
    return {m.digest: Graph.from_json(text) for m in measurements if (text := store.graph(m.digest))}


def _existing(path: Path) -> Store:
    if not path.exists():
        raise InputError(f"there is no store {str(path)!r}; hwprof profile makes one")
    return Store(path)


def _is_wanted(m: Measurement, models: Sequence[str], device: str | None) -> bool:
    return (not models or m.model in models) and device in (None, m.device.name)


def _profile_text(
    found: Sequence[Measurement], graphs: Mapping[str, Graph], known: Peaks | None, out: Path, command: str
) -> str:
    if out.suffix == ".json":
        return json.dumps([profile_record(m, graphs.get(m.digest)) for m in found], indent=2)
    render = render_profile if out.suffix == ".html" else profile_markdown
    return render(found, graphs, known, command)


def _comparison_pages(
    rows: Sequence[Comparison], graphs: Mapping[str, Graph], known: Peaks | None, out: Path, command: str
) -> dict[Path, str]:
    """One JSON file, or a page for each row: the first under the name that was asked for, then NAME-2, NAME-3, ..."""
    if out.suffix == ".json":
        records = [comparison_record(c, graphs) for c in rows]
        return {out: json.dumps(records[0] if len(records) == 1 else records, indent=2)}
    render = render_comparison if out.suffix == ".html" else comparison_markdown
    names = [out, *(out.with_stem(f"{out.stem}-{i}") for i in range(2, len(rows) + 1))]
    return {name: render(c, graphs, known, command) for name, c in zip(names, rows, strict=True)}
