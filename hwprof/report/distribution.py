"""Figure: the distribution of the latencies of single inferences, one lane per measurement on a shared axis."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from hwprof.measurement import LatencyStatistics, Measurement
from hwprof.report import quantity
from hwprof.report.markup import Markup, join
from hwprof.report.svg import WIDTH, Scale, axis_end, bottom_axis, drawing, line, rect, text

_LANE = 214.0
_GAP = 18.0
_LABELS = 56.0  # the name's row and three rows of labels above the bars
_BARS = (24, 100)  # fewest and most along the axis


def draw(measurements: Sequence[Measurement], names: Sequence[str] = ()) -> Markup:
    """One histogram per measurement, each of which must have a valid block; `names` label the lanes."""
    samples = [samples_ms(m) for m in measurements]
    x = _shared_scale(samples)
    unit, size = quantity.time_unit(x.high)
    wanted = max(_bars(values, x) for values in samples)
    bars = min(max(wanted, _BARS[0]), _BARS[1])
    lanes = []
    for i, (m, values) in enumerate(zip(measurements, samples, strict=True)):
        top = i * (_LANE + _GAP)
        lanes.append(_lane(m.statistics, values, x, top, bars))
        if names:
            lanes.append(text(x.start, top + 14, names[i], class_="strong"))
    bottom = len(samples) * (_LANE + _GAP) - _GAP
    axis = bottom_axis(x, bottom, lambda v: quantity.tick(v / size), f"latency of one inference, {unit}")
    return drawing(bottom + 40, _words(measurements), *lanes, axis)


def samples_ms(m: Measurement) -> np.ndarray:
    """[n_samples], ms, of the valid blocks."""
    return np.concatenate([b.latencies_ns for p in m.processes for b in p.kept]) / 1e6


def _shared_scale(samples: Sequence[np.ndarray]) -> Scale:
    low = min(float(v.min()) for v in samples)
    high = max(map(axis_end, samples))  # samples above it are one mark at the right edge
    high = max(high, low * 1.001)
    margin = (high - low) * 0.04
    return Scale(low - margin, high + margin, 8, WIDTH - 26)


def _bars(values: np.ndarray, x: Scale) -> int:
    """The number of bars along the axis that suits these samples (Freedman and Diaconis, 1981)."""
    first, third = np.quantile(values, [0.25, 0.75])
    width = 2 * (third - first) / len(values) ** (1 / 3)
    return int((x.high - x.low) / width) if width > 0 else 0


def _lane(s: LatencyStatistics, values: np.ndarray, x: Scale, top: float, bars: int) -> Markup:
    bottom = top + _LANE
    counts, edges = np.histogram(values, bins=bars, range=(x.low, x.high))
    height = Scale(0, float(max(counts.max(), 1)), bottom, top + _LABELS)
    marks = [line(x.start, bottom, x.stop, bottom, "axis")]
    if np.isfinite(s.low):
        left, right = x.clamped(s.low), x.clamped(s.high)
        marks.append(rect(left, top + _LABELS, max(right - left, 1), bottom - top - _LABELS, "interval"))
    for n, left, right in zip(counts, edges, edges[1:], strict=False):
        if n:
            tip = f"{quantity.time(float(left))} to {quantity.time(float(right))}: {n} samples"
            marks.append(rect(x(left), height(n), x(right) - x(left) - 1, bottom - height(n), "bar", tip))
    marks += _tail(values, x, bottom)
    quantiles = (("median", s.median, "median"), ("p90", s.p90, "quantile"), ("p99", s.p99, "quantile"))
    marks += [_quantile(name, ms, x, top + 14 * (row + 2), bottom, c) for row, (name, ms, c) in enumerate(quantiles)]
    return join(marks)


def _quantile(name: str, ms: float, x: Scale, y: float, bottom: float, class_: str) -> Markup:
    if ms > x.high:
        return text(x.stop, y, f"{name} {quantity.time(ms)} →", "end", "note")
    at = x(ms)
    left = at < (x.start + x.stop) / 2
    label = text(at + (5 if left else -5), y, f"{name} {quantity.time(ms)}", "start" if left else "end", "note")
    return join([line(at, y - 10, at, bottom, class_), label])


def _tail(values: np.ndarray, x: Scale, bottom: float) -> list[Markup]:
    n = int((values > x.high).sum())
    if not n:
        return []
    tip = f"{n} samples above the axis, up to {quantity.time(float(values.max()))}"
    mark = rect(x.stop + 4, bottom - 8, 8, 8, "tail", tip)
    return [mark, text(WIDTH, bottom - 12, f"{n} beyond", "end", "note halo")]


def _words(measurements: Sequence[Measurement]) -> str:
    parts = []
    for m in measurements:
        s = m.statistics
        p90, p99 = quantity.time(s.p90), quantity.time(s.p99)
        parts.append(f"{m.model}: median {quantity.time(s.median)}, 90 % below {p90}, 99 % below {p99}")
    return "Histogram of latencies. " + "; ".join(parts)
