"""The history of a model: its measurements in a store over dates or commits, in a table and a figure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from hwprof.measurement import LatencyStatistics, Measurement, Status
from hwprof.report import quantity
from hwprof.report.markup import Markup, join
from hwprof.report.svg import WIDTH, Scale, drawing, left_axis, line, marker, path, shortened, text
from hwprof.report.verdict import Tone, Verdict, normalized, statistics

_LEFT, _TOP, _BOTTOM, _RIGHT = 56.0, 26.0, 220.0, 12.0
LABEL = "label"  # of a measurement's environment: the commit, release or whatever the user calls it


def name_of(m: Measurement) -> str:
    """The label that the user gave, else the day of the measurement."""
    return str(m.environment.get(LABEL) or (m.processes[-1].started[:10] if m.processes else "unknown"))


def latency(m: Measurement) -> LatencyStatistics | None:
    """At the machine's undisturbed speed where it is known, ms."""
    return None if m.is_counted else normalized(m) or statistics(m)


def changes(history: Sequence[Measurement]) -> list[str]:
    """For each measurement "slower" or "faster" where its interval and that of the one before are apart, else nothing;
    nothing either where the hardware or the device differ."""
    found = [""] * min(1, len(history))
    for before, after in pairwise(history):
        a, b = latency(before), latency(after)
        is_same = (before.hardware, before.device.digest) == (after.hardware, after.device.digest)
        if a is None or b is None or not is_same:
            found.append("")
        else:
            found.append("slower" if b.low > a.high else "faster" if b.high < a.low else "")
    return found


def table(history: Sequence[Measurement]) -> list[dict[str, Any]]:
    """A row for each measurement, oldest first."""
    return [_row(m, change) for m, change in zip(history, changes(history), strict=True)]


def _row(m: Measurement, change: str) -> dict[str, Any]:
    s = latency(m)
    return {
        "label": name_of(m),
        "measured": m.processes[-1].started[:16] if m.processes else "",
        "device": m.device.name,
        "undisturbed ms": f"{s.median:.4g}" if s else "",
        "95 % interval": quantity.bounds(s.low, s.high) if s else "",
        "status": str(m.status),
        "change": change,
        "hardware": m.hardware,
    }


def record(history: Sequence[Measurement]) -> list[dict[str, Any]]:
    """JSON-ready."""
    rows = []
    for m, change in zip(history, changes(history), strict=True):
        s = latency(m)
        known = s is not None and math.isfinite(s.low)
        rows.append(_row(m, change) | {
            "latency_ms": s.median if s else None, "low_ms": s.low if s and known else None,
            "high_ms": s.high if s and known else None,
        })  # fmt: skip
    return rows


def verdict(history: Sequence[Measurement]) -> Verdict:
    """The changes of the latency since the first measurement."""
    model, steps = history[-1].model, [c for c in changes(history) if c]
    names = f"from {name_of(history[0])} to {name_of(history[-1])}"
    support = f"{quantity.plural(len(history), 'measurement')}, {names}"
    machines = len({m.hardware for m in history})
    doubts = [f"The measurements are from {machines} machines; only those of one are compared."] if machines > 1 else []
    if any(m.status is not Status.CONVERGED for m in history):
        doubts.append("Hollow marks did not converge.")
    doubts += dict.fromkeys(f"{name_of(m)}: {warning}." for m in history for warning in m.age_warnings)
    if not steps:
        return Verdict(Tone.GOOD, f"{model}: no certain change", support, tuple(doubts))
    words = f"{steps.count('slower')} times slower, {steps.count('faster')} times faster"
    return Verdict(Tone.CAUTION, f"{model}: {words} than the one before", support, tuple(doubts))


def draw(history: Sequence[Measurement], width: float = 2 * WIDTH) -> Markup | None:
    """The latency with its interval at each measurement, oldest first; a hollow mark has not converged."""
    points = [(m, s) for m in history if (s := latency(m))]
    if not points:
        return None
    bounds = [v for _, s in points for v in (s.low, s.median, s.high) if math.isfinite(v)]
    y = Scale(0.0, max(bounds) * 1.05, _BOTTOM, _TOP)
    x = Scale(-0.5, len(points) - 0.5, _LEFT, width - _RIGHT)
    unit, size = quantity.time_unit(y.high)
    step = (x.stop - x.start) / len(points)
    shown = max(1, math.ceil(60 / step))
    marks = [path([(x(i), y(s.median)) for i, (_, s) in enumerate(points)], "line")]
    for i, (m, s) in enumerate(points):
        if math.isfinite(s.low):
            marks.append(line(x(i), y.clamped(s.low), x(i), y.clamped(s.high), "whisker"))
        name = name_of(m)
        class_ = "dot" if m.status is Status.CONVERGED else "dot hollow"
        marks.append(marker(0, x(i), y(s.median), 4.5, class_, f"{name}: {quantity.time(s.median)}"))
        if i % shown == 0:
            marks.append(text(x(i), _BOTTOM + 18, shortened(name, step * shown - 6), "middle", "tick"))
    axis = left_axis(y, _LEFT, lambda v: quantity.tick(v / size), f"latency, {unit}", width - _RIGHT)
    words = "; ".join(f"{name_of(m)} {quantity.time(s.median)}" for m, s in points)
    return drawing(_BOTTOM + 30, f"Latency over time: {words}", axis, join(marks), width=width)
