"""Figure: the ratio of two latencies in each round, its interval, and the zone of equal latencies."""

from __future__ import annotations

import numpy as np

from hwprof.measurement import Comparison
from hwprof.measurement.pairing import round_ratios
from hwprof.report import quantity
from hwprof.report.markup import Markup, join
from hwprof.report.svg import WIDTH, Scale, bottom_axis, drawing, line, marker, rect, text

_TOP, _ESTIMATE, _FIRST = 24.0, 48.0, 82.0
_LETTER = 7.0  # pixels, of a strong one


def draw(c: Comparison, a: str, b: str, width: float = 2 * WIDTH) -> Markup | None:
    """`a` and `b` are the names to write; a row is a round, a dot one pair of blocks. None without a ratio."""
    if not np.isfinite(c.ratio):
        return None
    ratios = round_ratios(c.a.processes, c.b.processes, c.a.protocol.max_rejected_share)
    step = min(18.0, 200.0 / max(len(ratios), 1))
    bottom = _FIRST + step * len(ratios) + 6
    x = _scale(c, [float(r) for row in ratios.values() for r in row], width)
    marks = [_zone(c, x, bottom), line(x(1), _TOP, x(1), bottom, "axis"), _sides(x, b)]
    for i, (number, row) in enumerate(ratios.items()):
        marks.append(_row(number, row, x, _FIRST + (i + 0.5) * step))
    marks.append(_estimate(c, x, bottom))
    axis = bottom_axis(x, bottom, quantity.tick, f"latency of {b} over that of {a}")
    return drawing(bottom + 40, _words(c, len(ratios)), *marks, axis, width=width)


def _row(number: int, ratios: np.ndarray, x: Scale, y: float) -> Markup:
    dots = [marker(0, x.clamped(float(r)), y, 2, "k0 soft") for r in ratios]
    median = float(np.median(ratios))
    tip = f"round {number + 1}: {quantity.ratio(median)}, {quantity.plural(len(ratios), 'pair')}"
    return join([*dots, marker(0, x.clamped(median), y, 4, "dot", tip)])


def _scale(c: Comparison, ratios: list[float], width: float) -> Scale:
    values = [*c.interval, c.ratio, 1 / (1 + 2 * c.margin), 1 + 2 * c.margin, *ratios]
    finite = [v for v in values if np.isfinite(v)]
    low, high = min(finite), max(finite)
    margin = (high - low) * 0.05
    return Scale(low - margin, high + margin, 10, width - 10)


def _zone(c: Comparison, x: Scale, bottom: float) -> Markup:
    left, right = x.clamped(1 / (1 + c.margin)), x.clamped(1 + c.margin)
    tip = f"within ±{quantity.percent(c.margin)} counts as the same"
    return join(
        [rect(left, _TOP, right - left, bottom - _TOP, "tolerance", tip), text(x(1), 16, "same", "middle", "note")]
    )


def _sides(x: Scale, b: str) -> Markup:
    marks = []
    if x(1) - x.start > 160:
        marks.append(text(x(1) - 30, 16, f"← {b} faster", "end", "note"))
    if x.stop - x(1) > 160:
        marks.append(text(x(1) + 30, 16, f"{b} slower →", "start", "note"))
    return join(marks)


def _estimate(c: Comparison, x: Scale, bottom: float) -> Markup:
    at = x(c.ratio)
    left = at < (x.start + x.stop) / 2
    low, high = c.interval
    edge, whisker = at, Markup()
    if np.isfinite(low):
        edge = x(high if left else low)
        whisker = line(x(low), _ESTIMATE, x(high), _ESTIMATE, "whisker")
    mark = marker(3, at, _ESTIMATE, 6, "dot", "estimate")
    room = _LETTER * len(_label(c))
    start = min(edge + 12, x.stop - room) if left else max(edge - 12, x.start + room)
    words = text(start, _ESTIMATE + 4, _label(c), "start" if left else "end", "strong")
    return join([line(at, _ESTIMATE, at, bottom, "median"), whisker, mark, words])


def _label(c: Comparison) -> str:
    low, high = c.interval
    interval = f" ({quantity.ratio(low)} to {quantity.ratio(high)})" if np.isfinite(low) else ", no interval"
    return quantity.ratio(c.ratio) + interval


def _words(c: Comparison, rounds: int) -> str:
    same = f"within ±{quantity.percent(c.margin)} counts as the same"
    return f"Ratio {_label(c)} with 95 % confidence, from {quantity.plural(rounds, 'round')}; {same}"
