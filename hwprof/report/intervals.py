"""Figure: the medians of several measurements with their intervals, on one axis."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence

from hwprof.graph import Graph
from hwprof.measurement import Evidence, LatencyStatistics, Measurement, Status
from hwprof.report import quantity
from hwprof.report.markup import Markup, join
from hwprof.report.svg import WIDTH, Scale, bottom_axis, drawing, line, marker, shortened, text
from hwprof.report.tables import shape_words
from hwprof.report.verdict import statistics

_NAMES, _VALUES, _ROW, _TOP = 190.0, 200.0, 26.0, 12.0
_LOG_FROM = 6.0  # ratio of the longest to the shortest


def draw(measurements: Sequence[Measurement], graphs: Mapping[str, Graph], width: float = 2 * WIDTH) -> Markup | None:
    """One row each, the fastest first; a hollow mark has not converged. Rows with equal names show their inputs'
    shapes. None where nothing has a latency."""
    timed = [(m, s) for m in measurements if (s := statistics(m))]
    if not timed:
        return None
    timed.sort(key=lambda pair: pair[1].median)
    x = _scale([s for _, s in timed], width)
    unit, size = quantity.time_unit(x.high)
    bottom = _TOP + _ROW * len(timed)
    names = _names([m for m, _ in timed], graphs)
    rows = [_row(names[i], m, s, x, _TOP + (i + 0.5) * _ROW, width) for i, (m, s) in enumerate(timed)]
    axis = bottom_axis(x, bottom, lambda v: quantity.tick(v / size), f"latency, {unit}", _TOP)
    words = "; ".join(f"{name} {quantity.time(s.median)}" for name, (_, s) in zip(names, timed, strict=True))
    return drawing(bottom + 40, f"Medians with 95 % intervals: {words}", axis, *rows, width=width)


def _scale(found: Sequence[LatencyStatistics], width: float) -> Scale:
    lows = [s.low if math.isfinite(s.low) else s.median for s in found]
    highs = [s.high if math.isfinite(s.high) else s.median for s in found]
    low, high = max(min(lows), min(s.median for s in found) / 2), max(highs)
    if high / low > _LOG_FROM:
        return Scale(low * 0.9, high * 1.1, _NAMES, width - _VALUES, log=True)
    return Scale(0.0, high * 1.03, _NAMES, width - _VALUES)


def _names(measurements: Sequence[Measurement], graphs: Mapping[str, Graph]) -> list[str]:
    uses = Counter(m.model for m in measurements)
    devices = {model: {m.device.name for m in measurements if m.model == model} for model in uses}
    places = [m.device.name if len(devices[m.model]) > 1 else "" for m in measurements]
    shapes = [shape_words(m, graphs.get(m.digest)) if uses[m.model] > 1 else "" for m in measurements]
    evidence = ["" if m.evidence is Evidence.MEASURED else f"({m.evidence})" for m in measurements]
    return [
        " ".join(filter(None, (m.model, *of))) for m, *of in zip(measurements, places, shapes, evidence, strict=True)
    ]


def _row(name: str, m: Measurement, s: LatencyStatistics, x: Scale, y: float, width: float) -> Markup:
    median, interval = quantity.estimate(s.median, s.low, s.high)
    whisker = line(x.clamped(s.low), y, x.clamped(s.high), y, "whisker") if interval else Markup()
    mark = marker(0, x.clamped(s.median), y, 4.5, "dot" if m.status is Status.CONVERGED else "dot hollow")
    label = text(_NAMES - 12, y + 4, shortened(name, _NAMES - 12, 12), "end")
    value = text(width - _VALUES + 14, y + 4, median, class_="strong")
    rest = text(width, y + 4, interval.rpartition(" ")[0], "end", "note")
    return join([line(x.start, y, x.clamped(s.median), y, "grid"), whisker, mark, label, value, rest])
