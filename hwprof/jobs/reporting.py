"""Writes reports of the measurements and results in a store: a page, Markdown, JSON or a trace."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from hwprof.data.result import Result
from hwprof.data.store import DEFAULT_PATH, Store
from hwprof.data.store_care import existing
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
from hwprof.measurement import Comparison, Evidence, Measurement, Peaks, at_one_speed
from hwprof.report import (
    comparison_markdown,
    comparison_record,
    profile_markdown,
    profile_record,
    render_comparison,
    render_profile,
    render_results,
    render_trace,
    results_markdown,
    results_records,
)
from hwprof.report.history import Step

_ENDINGS = (".html", ".md", ".json")


def peaks(device: Device | str, transport: Transport = LOCAL, wait_s: float = 0.0) -> Peaks | None:
    """The device's measured ceilings; None for an emulated core, which has no speed.

    Raises MachineBusyError when another hwprof still measures there after `wait_s`."""
    chosen = device_of(device)
    if evidence_of(chosen) is Evidence.EMULATED:
        return None
    with held(transport, chosen, wait_s) as alone:
        return measure_peaks(chosen, alone)


def report(
    models: Sequence[str] = (),
    out: Path | str = "hwprof.html",
    store: Path | str = DEFAULT_PATH,
    device: str | None = None,
    *,
    comparison: bool = False,
    results: bool = False,
    trace: Path | str | None = None,
    peaks: bool = True,
    command: str = "hwprof.report",
) -> list[Path]:
    """Writes a page (.html), Markdown (.md) or JSON (.json) of the profiles that the store holds, or of its last
    comparison, or of the results of searches and compressions. Returns the files written.

    models, device: only measurements of these, by name. trace: also writes the profiles for Perfetto or Chrome.
    peaks: measures the device's peaks for the roofline. command: the command line that the page names as its origin.

    Raises InputError when nothing in the store matches, or the file has another ending.
    """
    out = Path(out)
    if out.suffix not in _ENDINGS:
        raise InputError(f"a report is an .html, .md or .json file, not {out.name!r}")
    if comparison and (models or results):
        raise InputError(
            "--comparison reports the networks that were compared last; leave out the models and --results"
        )
    with existing(Path(store)) as opened:
        if results:
            pages = {out: _results_text(_results(opened, models), device, out, command)}
        else:
            margin, found = _last_comparison(opened) if comparison else (None, _profiles(opened, models, device))
            pages = _measured_pages(opened, found, margin, out, Path(trace) if trace else None, peaks, command)
    for path, text in pages.items():
        write_text(path, text)
    return list(pages)


def history(model: str, store: Path | str = DEFAULT_PATH, device: str | None = None) -> list[Measurement]:
    """The measurements of the model of this name that the store holds, oldest first, those of one machine against the
    same undisturbed anchors. Raises InputError for none."""
    return [step.measurement for step in history_steps(model, store, device)]


def history_steps(model: str, store: Path | str = DEFAULT_PATH, device: str | None = None) -> list[Step]:
    """The measurements that `history` returns, with the shapes of the inputs of each. Raises InputError for none."""
    with existing(Path(store)) as opened:
        found = [m for m in opened.history(model) if m.processes and _is_wanted(m, [model], device)]
        known = ", ".join(dict.fromkeys(m.model for m in opened.measurements()))
        inputs = {digest: _inputs(opened.graph(digest)) for digest in {m.digest for m in found}}
    if not found:
        raise InputError(f"the store {str(store)!r} holds no measurement of {model!r}; it has {known or 'none'}")
    found = at_one_speed(sorted(found, key=lambda m: m.processes[-1].started))
    return [Step(m, inputs[m.digest]) for m in found]


def _inputs(graph: str | None) -> str:
    """The shapes of a stored graph's inputs, as --shape takes them."""
    inputs = Graph.from_json(graph).inputs if graph else ()
    return " ".join(f"{t.name}={','.join(map(str, t.shape))}" for t in inputs)


def _last_comparison(store: Store) -> tuple[float, list[Measurement]]:
    found, margin = store.last_comparison() or ([], 0.0)
    return margin, found


def _profiles(store: Store, models: Sequence[str], device: str | None) -> list[Measurement]:
    return at_one_speed([m for m in store.measurements() if _is_wanted(m, models, device)])


def _measured_pages(
    store: Store,
    found: list[Measurement],
    margin: float | None,
    out: Path,
    trace: Path | None,
    with_peaks: bool,
    command: str,
) -> dict[Path, str]:
    """margin: that of a comparison, in which the others were measured against the first; None for profiles."""
    if not found:
        raise InputError(f"the store {store.path!r} holds no matching measurement")
    graphs = stored_graphs(store, found)
    known = peaks(found[0].device) if with_peaks and found[0].evidence is Evidence.MEASURED else None
    if margin is None:
        pages = {out: _profile_text(found, graphs, known, out, command)}
    else:
        rows = comparing.compare_all(found[0], found[1:], margin)
        pages = _comparison_pages(rows, graphs, known, out, command)
    return pages | ({trace: render_trace(found, graphs)} if trace else {})


def _results(store: Store, models: Sequence[str]) -> list[Result]:
    found = [r for r in store.results() if not models or r.model in models]
    if not found:
        raise InputError(f"the store {store.path!r} holds no matching result of a search or compression")
    return found


def _results_text(found: Sequence[Result], device: str | None, out: Path, command: str) -> str:
    if device is not None and not any(device in (*r.measured, r.target.device) for r in found):
        known = ", ".join(sorted({name for r in found for name in (*r.measured, r.target.device)}))
        raise InputError(f"there is no result for device {device!r}; known: {known}")
    if out.suffix == ".json":
        return json.dumps(results_records(found, device), indent=2, allow_nan=False)
    render = render_results if out.suffix == ".html" else results_markdown
    return render(found, command, device)


def stored_graphs(store: Store, measurements: Iterable[Measurement]) -> dict[str, Graph]:
    """The graphs of the measurements that the store holds, by digest."""
    return {m.digest: Graph.from_json(text) for m in measurements if (text := store.graph(m.digest))}


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
