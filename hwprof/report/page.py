"""One self-contained HTML page: the verdict, then the evidence. It loads nothing and needs no script."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib.resources import files

from hwprof.data.result import Result
from hwprof.errors import InputError
from hwprof.graph import Graph
from hwprof.measurement import Comparison, Measurement, Peaks
from hwprof.report import (
    boards,
    causes,
    distribution,
    front,
    history,
    intervals,
    operators,
    pairs,
    processes,
    quantity,
    results,
    roofline,
    sweep,
    tables,
    timeline,
    treemap,
    verdict,
    warmup,
)
from hwprof.report.boards import FleetState
from hwprof.report.markup import Markup, comment, element, join
from hwprof.report.operators import Breakdown
from hwprof.report.results import Front
from hwprof.report.svg import WIDTH
from hwprof.report.sweep import Sweep
from hwprof.report.tables import Cell, Fact, Table
from hwprof.report.verdict import Tone, Verdict

_SHORT = 30  # rows; a longer table of kernels is folded
_MARKS = {Tone.GOOD: "✓", Tone.CAUTION: "!", Tone.BAD: "✕"}


def render_profile(
    measurements: Sequence[Measurement], graphs: Mapping[str, Graph], peaks: Peaks | None, command: str
) -> str:
    """The page of one or several profiles. `graphs` are looked up by digest; for a missing one only its rows are left
    out. `command` is recorded as the origin of the page. Raises InputError without a measurement."""
    answer = verdict.of_profiles(measurements)
    alone = len(measurements) == 1
    overview = [] if alone else [_overview(measurements, graphs)]
    sections = [_profile(m, graphs.get(m.digest), peaks, i, alone) for i, m in enumerate(measurements)]
    return _document(answer, "profile", [*overview, *sections], command)


def render_comparison(comparison: Comparison, graphs: Mapping[str, Graph], peaks: Peaks | None, command: str) -> str:
    """The page of a comparison: the ratio, the causes of the difference, then both profiles."""
    sides = (comparison.a, comparison.b)
    body = [_compared(comparison, graphs, peaks)]
    body += [_profile(m, graphs.get(m.digest), peaks, i, alone=False) for i, m in enumerate(sides)]
    return _document(verdict.of_comparison(comparison), "comparison", body, command)


def render_results(found: Sequence[Result], command: str, device: str | None = None) -> str:
    """The page of searches' and compressions' results: the fronts of metric against measured latency, one for each
    model, task and device, then all results in a table. Raises InputError without a result (on the device)."""
    rows = results.found_in(found, device)
    drawn = [_front(f, with_note=i == 0) for i, f in enumerate(results.fronts(rows))]
    body = element("section", *drawn, element("div", _table(results.table(rows)), class_="figure full"))
    return _document(results.verdict(rows), "results", [body], command)


def render_sweep(found: Sweep, command: str) -> str:
    """The page of a sweep: who is fastest, who cannot run it, and every measurement."""
    note = (
        "Latencies are at the machine's undisturbed speed, with the 95 % interval of the median; latencies that were "
        "calculated do not compete for the fastest."
    )
    figure = _figure("Latency, throughput and memory", _panels(sweep.draw(found)), note, "full")
    rows = sweep.table(found)
    cells = tuple(tuple(Cell(str(value), _number(value)) for value in row.values()) for row in rows)
    table = Table("Measurements", tuple(rows[0]), cells)
    listed = element("div", _table(table), class_="figure full")
    return _document(sweep.verdict(found), "sweep", [element("section", figure, listed)], command)


def render_history(found: Sequence[history.Step], command: str) -> str:
    """The page of a model's history, oldest first. Raises InputError without a measurement."""
    if not found:
        raise InputError("a history needs at least one measurement; none was given")
    note = "Latencies are at the machine's undisturbed speed, with their 95 % intervals; hollow: not converged."
    rows = history.table(found)
    cells = tuple(tuple(Cell(str(value), _number(value)) for value in row.values()) for row in rows)
    figure = _figure("Latency over time", _for_both(lambda width: history.draw(found, width)), note, "full")
    listed = element("div", _table(Table("Measurements", tuple(rows[0]), cells)), class_="figure full")
    return _document(history.verdict(found), "history", [element("section", figure, listed)], command)


def render_fleet(state: FleetState, command: str) -> str:
    """The page of a fleet's state: what each board does now, and the last errors."""
    heading = "What each board does"
    note = "The bar shows how far a board is on its way to the target precision of what it measures."
    wide = _figure(heading, boards.draw(state, 2 * WIDTH + 32), note, "full wide")
    narrow = _figure(heading, boards.draw(state, 400), note, "full narrow")
    summary = element("dl", *(_fact(fact) for fact in boards.facts(state)), class_="facts")
    shown = [boards.table(state), boards.troubles(state)]
    listed = [element("section", _table(table)) for table in shown if table is not None]
    body = [element("section", summary), element("section", wide, narrow), *listed]
    return _document(boards.verdict(state), "fleet", body, command, has_samples=state.unfinished is not None)


def _number(cell: object) -> float | None:
    """The sort key of a cell."""
    try:
        return float(str(cell))
    except ValueError:
        return None


# -- the page ----------------------------------------------------------------------------------------


def _document(
    answer: Verdict, kind: str, body: Sequence[Markup], command: str, has_samples: bool = True
) -> str:  # fmt: skip
    """has_samples: the page was made from a store, which has the raw samples."""
    head = element(
        "head",
        Markup('<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'),
        Markup('<meta name="color-scheme" content="light dark"><meta name="generator" content="hwprof">'),
        element("title", answer.headline),
        element("style", _asset("page.css")),
    )
    where = ". The raw samples are in the store." if has_samples else "."
    page = element(
        "body",
        _header(answer, f"hwprof {kind}"),
        element("main", *body),
        element("footer", element("p", "Made by ", element("code", command), where)),
        element("script", _asset("page.js")),
    )
    return f"<!doctype html>{comment(command)}\n" + element("html", head, "\n", page, lang="en") + "\n"


def _asset(name: str) -> Markup:
    return Markup(files(__package__).joinpath(name).read_text(encoding="utf-8"))


def _header(answer: Verdict, eyebrow: str) -> Markup:
    return element("header", element("p", eyebrow, class_="eyebrow"), _verdict(answer, "h1"))


def _verdict(answer: Verdict, heading: str) -> Markup:
    mark = element("span", _MARKS[answer.tone], class_="mark", aria_hidden="true")
    return element(
        "div",
        element(heading, mark, element("span", answer.headline)),
        element("p", answer.support, class_="support"),
        _doubts(answer.doubts),
        class_=f"verdict {answer.tone}",
    )


def _doubts(sentences: Sequence[str]) -> Markup | None:
    items = [element("li", sentence) for sentence in dict.fromkeys(sentences)]
    return element("ul", *items, class_="doubts") if items else None


def _overview(measurements: Sequence[Measurement], graphs: Mapping[str, Graph]) -> Markup:
    note = "The line is the 95 % interval of the median; a hollow mark has not converged."
    table = tables.overview(measurements, graphs)
    links = [f"#profile-{i}" for i in range(len(measurements))]
    figure = _figure("Latencies", _for_both(lambda width: intervals.draw(measurements, graphs, width)), note, "full")
    return element("section", figure, _table(table, links))


def _compared(c: Comparison, graphs: Mapping[str, Graph], peaks: Peaks | None) -> Markup:
    names = verdict.labels(c)
    note = (
        "A row is one round, in which both ran alternately; small dots are pairs of adjacent "
        "blocks, the large dot is their median. The diamond is the estimate with its 95 % interval; ratios in the band "
        "count as the same."
    )
    parts = [_figure("Paired ratios", _for_both(lambda width: pairs.draw(c, *names, width)), note, "full")]
    timed = [(m, name) for m, name in zip((c.a, c.b), names, strict=True) if verdict.statistics(m)]
    if timed:
        shown = distribution.draw([m for m, _ in timed], [name for _, name in timed])
        parts.append(_figure("Distributions on one axis", shown, _distribution_note(*(m for m, _ in timed))))
    a, b = (_breakdown(m, graphs.get(m.digest), peaks) for m in (c.a, c.b))
    if a and b:
        parts.append(element("div", _table(tables.kinds_compared(a, b, names)), class_="figure"))
    if (split := causes.of_comparison(c, graphs)).causes:
        parts.append(element("div", _table(tables.causes(split.causes)), class_="figure full"))
    elif split.reason:
        parts.append(element("p", split.left_out, class_="empty"))
    return element("section", element("h2", "The comparison"), element("div", *parts, class_="figures"))


def _front(found: Front, with_note: bool) -> Markup:
    note = (
        "A mark is a network, numbered as in the table, its line the 95 % interval of the latency at the machine's "
        "undisturbed speed. Filled: the whole interval is within the target; hollow: all of it is above; half filled: "
        "it cannot be told; pale: there is no target here. The steps are the Pareto front. Networks without a measured "
        "latency or a metric are only in the table."
    )
    heading = f"{found.model}, {found.task}, on {found.device}"
    shown = note if with_note else ""
    wide = _figure(heading, front.draw(found, 2 * WIDTH + 32, 440), shown, "full wide")
    return join([wide, _figure(heading, front.draw(found, 400, 400), shown, "full narrow")])


# -- one profile -------------------------------------------------------------------------------------


def _profile(m: Measurement, graph: Graph | None, peaks: Peaks | None, i: int, alone: bool) -> Markup:
    title = None if alone else _verdict(verdict.of_profile(m), "h2")
    return element(
        "section",
        title,
        element("p", verdict.context(m), class_="context"),
        element("dl", *(_fact(f) for f in tables.facts(m, graph)), class_="facts"),
        *([_counted(m)] if m.is_counted else [_latency_figures(m), _further_figures(m), _operators(m, graph, peaks)]),
        element("h3", "Settings and environment"),
        _folded(tables.processes(m)),
        _folded(tables.settings(m)),
        _folded(tables.environment(m)),
        id=f"profile-{i}",
        class_="profile",
    )


def _fact(fact: Fact) -> Markup:
    note = element("dd", fact.note, class_="note") if fact.note else None
    return element("div", element("dt", fact.name), element("dd", fact.words, class_="value"), note)


def _counted(m: Measurement) -> Markup | None:
    return element("div", _table(tables.classes(m)), class_="figure") if m.processes else None


def _further_figures(m: Measurement) -> Markup | None:
    table = tables.further_figures(m)
    return element("div", _table(table), class_="figure") if table else None


def _latency_figures(m: Measurement) -> Markup:
    if verdict.statistics(m) is None:
        return element("p", "This measurement has no valid block, so there is nothing to draw.", class_="empty")
    strips_note = (
        "Each strip is one process, each mark one block: its median with the 10 % to 90 % range. Time runs "
        "downwards. The vertical bar is the median of the process, the band is the 95 % interval of the measurement."
    )
    tolerance = quantity.percent(m.protocol.anchor_tolerance)
    timeline_note = (
        f"A slow phase of the machine shows in all lanes. The band is ±{tolerance}; × marks rejected blocks."
        if m.anchor_baseline_ns
        else "No anchor ran in this measurement, so a slow phase of the machine cannot be told from the network."
    )
    course = ", ".join(f"{name} {n}" for name, n in warmup.courses(m).most_common())
    return element(
        "div",
        _figure("Distribution", distribution.draw([m]), _distribution_note(m)),
        _figure("Processes and blocks", processes.draw(m), strips_note),
        _figure("The machine over time", timeline.draw(m), timeline_note),
        _figure(
            "Warm-up", warmup.draw(m), f"One line per process, with the cold start as a diamond. Warm-up: {course}."
        ),
        class_="figures",
    )


def _distribution_note(*measurements: Measurement) -> str:
    runs = max((b.runs_per_sample for m in measurements for p in m.processes for b in p.kept), default=1)
    samples = quantity.plural(sum(m.samples for m in measurements), "sample")
    what = "single inferences" if runs == 1 else f"means of up to {runs} inferences, so the tail is flattened"
    blocks = "undisturbed blocks" if all(m.rejected_share < 1 for m in measurements) else "blocks, though disturbed"
    return f"{samples}, {what}, from the {blocks}. The band is the 95 % interval of the median."


def _breakdown(m: Measurement, graph: Graph | None, peaks: Peaks | None) -> Breakdown | None:
    return operators.of_measurement(m, graph, peaks) if verdict.statistics(m) else None


def _operators(m: Measurement, graph: Graph | None, peaks: Peaks | None) -> Markup:
    breakdown = _breakdown(m, graph, peaks)
    title = element("h3", "Where the time goes")
    if breakdown is None:
        return join([title, element("p", "Operators were not timed.", class_="empty")])
    reached = breakdown.peaks
    return join(
        [
            title,
            element("p", *_operator_notes(breakdown, m, graph, peaks), class_="lead"),
            _treemap(breakdown),
            element(
                "div",
                element("div", _table(tables.kinds(breakdown)), class_="figure kinds"),
                _figure("Roofline", roofline.draw(breakdown, reached), _roofline_note(breakdown, reached)),
                class_="figures with-table",
            ),
            _folded(tables.kernels(breakdown), shown=len(breakdown.kernels) <= _SHORT),
        ]
    )


def _operator_notes(breakdown: Breakdown, m: Measurement, graph: Graph | None, peaks: Peaks | None) -> list[str]:
    kinds = breakdown.kinds
    inflation = quantity.significant(breakdown.inflation)
    words = f"{kinds[0].op} takes {quantity.percent(kinds[0].share)} of the time. "
    words += f"The times are those of a profiled pass, corrected for its slowdown of {inflation} × the plain one. "
    notes = [words]
    if breakdown.exceeded_words:
        notes.append(element("strong", f"{breakdown.exceeded_words.capitalize()}. "))
    if breakdown.inflation > operators.INFLATION_LIMIT:
        limit = quantity.significant(operators.INFLATION_LIMIT)
        notes.append(
            element("strong", f"Profiling slowed this network by more than {limit} ×: read shares with care. ")
        )
    total, reason = tables.total_cost(m, graph)
    if total is None:
        notes.append(f"The cost of {m.model} is unknown: {reason}. ")
    if peaks is None:
        notes.append("The device's peaks were not measured, so there is no roofline to compare with.")
    return notes


def _treemap(breakdown: Breakdown) -> Markup:
    note = "Area is time; kernels of one kind are next to each other."
    wide = _figure("Kernels by time", treemap.draw(breakdown, 2 * WIDTH + 32, 380), note, "full wide")
    return join([wide, _figure("Kernels by time", treemap.draw(breakdown, 400, 560), note, "full narrow")])


def _roofline_note(breakdown: Breakdown, peaks: Peaks | None) -> str:
    without = sum(k.share for k in breakdown.kernels if k.work and not k.work.macs)
    note = "A mark is a kernel; its size is its share of the time. "
    if peaks is not None:
        note += f"Memory peak {quantity.count(peaks.bytes_per_s, 'B/s')}; a mark above the slope used the caches. "
    return note + f"Kernels without multiply-adds ({quantity.percent(without)} of the time) are not shown."


# -- pieces ------------------------------------------------------------------------------------------


def _figure(heading: str, drawn: Markup | None, note: str, class_: str = "") -> Markup | None:
    if drawn is None:
        return None
    return element(
        "figure", element("figcaption", element("strong", heading), element("span", note)), drawn,
        class_=f"figure {class_}".strip(),
    )  # fmt: skip


def _for_both(draw: Callable[[float], Markup | None]) -> Markup | None:
    """A figure over the whole width of a screen, and one for a phone, in which its words keep their size."""
    wide, narrow = draw(2 * WIDTH), draw(WIDTH)
    if wide is None or narrow is None:
        return None
    return join([element("div", wide, class_="wide"), element("div", narrow, class_="narrow")])


def _panels(drawn: Markup | None) -> Markup | None:
    """Several panels side by side, which a phone scrolls."""
    return None if drawn is None else element("div", drawn, class_="panels", tabindex="0")


def _folded(table: Table, shown: bool = False) -> Markup:
    """The table, folded under its caption."""
    summary = element("summary", table.caption, element("span", f" {len(table.rows)} rows", class_="note"))
    return element("details", summary, _table(table, captioned=False), open="" if shown else None)


def _table(table: Table, links: Sequence[str] = (), captioned: bool = True) -> Markup:
    head = element(
        "tr", *(element("th", c, scope="col", class_=_column_class(table, i)) for i, c in enumerate(table.columns))
    )
    rows = [_row(table, row, links[i] if links else None) for i, row in enumerate(table.rows)]
    return element(
        "div",
        element(
            "table",
            element("caption", table.caption) if captioned else None,
            element("thead", head),
            element("tbody", *rows),
        ),
        class_="scroll", tabindex="0", role="region", aria_label=table.caption,
    )  # fmt: skip


def _row(table: Table, row: Sequence[Cell], link: str | None) -> Markup:
    first = element("a", row[0].words, href=link) if link else row[0].words
    cells = [element("th", first, scope="row", class_=_column_class(table, 0))]
    cells += [_cell(cell, _column_class(table, i)) for i, cell in enumerate(row[1:], 1)]
    return element("tr", *cells)


def _cell(cell: Cell, class_: str | None) -> Markup:
    value = None if cell.value is None else repr(cell.value)
    style = None if cell.share is None else f"--share:{max(0.0, min(cell.share, 1.0)) * 100:.1f}%"
    return element(
        "td", cell.words, class_=f"{class_ or ''} share".strip() if style else class_, data_value=value, style=style
    )


def _column_class(table: Table, i: int) -> str | None:
    """Numbers are aligned to the right."""
    return "number" if any(row[i].value is not None for row in table.rows) else None
