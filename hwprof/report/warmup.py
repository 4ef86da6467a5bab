"""Figure: from the first, cold inference to the steady state, one line per process."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from hwprof.measurement import Measurement, Process
from hwprof.report import quantity
from hwprof.report.markup import Markup, join
from hwprof.report.svg import WIDTH, Scale, bottom_axis, drawing, left_axis, line, marker, path, text
from hwprof.report.verdict import statistics

_LEFT, _TOP, _BOTTOM = 46.0, 26.0, 250.0
_POINTS = 160  # points of a line


def draw(m: Measurement) -> Markup:
    """Run 1 is the cold one. Both axes are logarithmic. The measurement must have a process."""
    curves = [_curve(p) for p in m.processes]
    values = [ms for curve in curves for _, ms in curve]
    y = Scale(min(values) * 0.93, max(values) * 1.1, _BOTTOM, _TOP, log=True)
    last = max(n for curve in curves for n, _ in curve)
    x = Scale(0.9, max(last, 10), _LEFT, WIDTH - 6, log=True)
    unit, size = quantity.time_unit(max(values))
    marks = [_line(curve, i, p, x, y) for i, (curve, p) in enumerate(zip(curves, m.processes, strict=True))]
    return drawing(
        _BOTTOM + 40,
        _words(m),
        left_axis(y, _LEFT, lambda v: quantity.tick(v / size), f"latency, {unit}", WIDTH),
        bottom_axis(x, _BOTTOM, lambda v: f"{v:g}", "run since the process started; the first is cold"),
        *marks,
        *_level(m, y),
    )


def courses(m: Measurement) -> Counter[str]:
    """How many processes warmed up in each way."""
    return Counter(p.warmup for p in m.processes)


def _curve(process: Process) -> list[tuple[int, float]]:
    """(number of the run, ms); long warm-ups are thinned evenly along the logarithmic axis."""
    runs: Sequence[int] = (process.cold_ns, *process.warmup_ns)
    chosen = np.unique(np.geomspace(1, len(runs), _POINTS).round().astype(int))
    return [(int(n), max(runs[n - 1], 1) / 1e6) for n in chosen]


def _line(curve: Sequence[tuple[int, float]], i: int, process: Process, x: Scale, y: Scale) -> Markup:
    tip = f"process {i + 1}: cold {quantity.time(curve[0][1])}, {process.warmup} in {len(process.warmup_ns)} runs"
    class_ = "warm unsteady" if process.warmup == "not steady" else "warm"
    points = [(x(n), y(ms)) for n, ms in curve]
    return join([path(points, class_), marker(3, *points[0], 3.5, "cold", tip)])


def _level(m: Measurement, y: Scale) -> list[Markup]:
    """The level of the measurement itself."""
    s = statistics(m)
    if s is None:
        return []
    at = y.clamped(s.median)
    return [line(_LEFT, at, WIDTH - 6, at, "quantile"), text(WIDTH - 6, at - 6, "median", "end", "note halo")]


def _words(m: Measurement) -> str:
    course = ", ".join(f"{n} {name}" for name, n in courses(m).most_common())
    processes = quantity.plural(len(m.processes), "process")
    return f"Warm-up of {processes}: {course}; cold start {quantity.time(m.cold_start_ms)}"
