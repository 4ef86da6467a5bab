"""The report as Markdown: the same verdicts and tables as the page, for a repository or a pull request."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from hwprof.data.result import Result
from hwprof.graph import Graph
from hwprof.measurement import Comparison, Measurement, Peaks
from hwprof.report import causes, operators, quantity, results, tables, verdict
from hwprof.report.markup import comment
from hwprof.report.tables import Fact, Table
from hwprof.report.verdict import Verdict

# An underscore inside a word is an ordinary letter.
_ACTIVE = re.compile(r"[\\`*\[\]|#]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])")


def profile_markdown(
    measurements: Sequence[Measurement], graphs: Mapping[str, Graph], peaks: Peaks | None, command: str
) -> str:
    """One or several profiles; arguments and errors as in `render_profile`."""
    answer = verdict.of_profiles(measurements)
    parts = [comment(command), _verdict(answer, 1)]
    if len(measurements) > 1:
        parts.append(_table(tables.overview(measurements, graphs)))
    for m in measurements:
        if len(measurements) > 1:
            parts.append(_verdict(verdict.of_profile(m), 2))
        parts += _profile(m, graphs.get(m.digest), peaks)
    return "\n\n".join(parts) + "\n"


def comparison_markdown(comparison: Comparison, graphs: Mapping[str, Graph], peaks: Peaks | None, command: str) -> str:
    """The comparison, then both profiles."""
    parts = [comment(command), _verdict(verdict.of_comparison(comparison), 1)]
    sides = (comparison.a, comparison.b)
    a, b = (operators.of_measurement(m, graphs.get(m.digest), peaks) if verdict.statistics(m) else None for m in sides)
    if a and b:
        parts.append(_table(tables.kinds_compared(a, b, verdict.labels(comparison))))
    if (split := causes.of_comparison(comparison, graphs)).causes:
        parts.append(_table(tables.causes(split.causes)))
    elif split.reason:
        parts.append(_escaped(split.left_out))
    for m in sides:
        parts += [_verdict(verdict.of_profile(m), 2), *_profile(m, graphs.get(m.digest), peaks)]
    return "\n\n".join(parts) + "\n"


def results_markdown(found: Sequence[Result], command: str, device: str | None = None) -> str:
    """Results of searches and compressions; arguments and errors as of `render_results`."""
    rows = results.found_in(found, device)
    return "\n\n".join([comment(command), _verdict(results.verdict(rows), 1), _table(results.table(rows))]) + "\n"


def _profile(m: Measurement, graph: Graph | None, peaks: Peaks | None) -> list[str]:
    parts = [_escaped(verdict.context(m)), _facts(tables.facts(m, graph))]
    if m.is_counted and m.processes:
        parts.append(_table(tables.classes(m)))
    if further := tables.further_figures(m):
        parts.append(_table(further))
    breakdown = operators.of_measurement(m, graph, peaks) if verdict.statistics(m) else None
    if breakdown:
        inflation = quantity.significant(breakdown.inflation)
        parts += [
            _table(tables.kinds(breakdown)),
            f"The profiled pass took {inflation} × the time of the plain one; the times are corrected for that.",
        ]
        parts.append(_folded(tables.kernels(breakdown)))
    parts += [_folded(t) for t in (tables.processes(m), tables.settings(m), tables.environment(m))]
    return parts


def _verdict(answer: Verdict, level: int) -> str:
    lines = [f"{'#' * level} {_escaped(answer.headline)}", f"**{_escaped(answer.support)}**"]
    if answer.doubts:
        lines.append("\n".join(f"- {_escaped(d)}" for d in answer.doubts))
    return "\n\n".join(lines)


def _facts(facts: Sequence[Fact]) -> str:
    return "\n".join(f"- {f.name}: **{_escaped(f.words)}**{f' ({_escaped(f.note)})' if f.note else ''}" for f in facts)


def _table(table: Table) -> str:
    numeric = [any(row[i].value is not None for row in table.rows) for i in range(len(table.columns))]
    lines = [f"**{table.caption}**", "", _line([_escaped(c) for c in table.columns])]
    lines.append(_line(["--:" if n else "---" for n in numeric]))
    lines += [_line([_escaped(cell.words) for cell in row]) for row in table.rows]
    return "\n".join(lines)


def _folded(table: Table) -> str:
    """The table, folded under its caption where Markdown is shown with HTML, as on code hosts."""
    body = _table(table).partition("\n\n")[2]
    return f"<details><summary>{table.caption}, {len(table.rows)} rows</summary>\n\n{body}\n\n</details>"


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _escaped(words: str) -> str:
    """The words, in which nothing acts as Markdown or HTML."""
    words = words.replace("<", "&lt;").replace(">", "&gt;")
    return " ".join(_ACTIVE.sub(r"\\\g<0>", words).split())
