"""Figure: the metric of several networks against their measured latency on one device, with the Pareto front."""

from __future__ import annotations

import math
from collections.abc import Sequence

from hwprof.data.result import Met
from hwprof.report import quantity
from hwprof.report.markup import Markup, join
from hwprof.report.results import Baseline, Found, Front
from hwprof.report.svg import Scale, bottom_axis, drawing, left_axis, line, marker, path, polygon, shape, text

_LEFT, _RIGHT, _TOP, _AXIS = 52.0, 18.0, 42.0, 44.0
_RADIUS = 5.0
_LEGEND_ROW = 20.0
_TARGET_WIDTH = 56.0  # pixels that the words of a target take
_MOST_NUMBERED = 40  # points; the numbers of more would hide each other


def draw(front: Front, width: float, height: float) -> Markup | None:
    """A mark for each network: its shape and colour are the method, its filling says whether the target is met. The
    diamond in a ring is the baseline, the line the Pareto front. None where nothing has both a latency and a metric."""
    points = [f for f in front.found if f.is_drawn]
    if not points:
        return None
    methods = list(dict.fromkeys(f.result.method for f in points))
    bottom = height - _AXIS - _LEGEND_ROW * len(methods)
    x, y = _scales(front, points, width, bottom)
    unit, size = quantity.time_unit(x.high)
    better = "larger" if front.higher_is_better else "smaller"
    axes = [
        bottom_axis(x, bottom, lambda v: quantity.tick(v / size), f"measured latency on {front.device}, {unit}", _TOP),
        left_axis(y, _LEFT, quantity.tick, "", x.stop),
        text(0, 13, f"metric of {front.task}, {better} is better", class_="name"),
    ]
    marks = [_point(f, methods.index(f.result.method), x, y, len(points) <= _MOST_NUMBERED) for f in points]
    baseline = [_baseline(front.baseline, x, y)] if front.baseline else []
    legend = [_legend(name, i, bottom + _AXIS + _LEGEND_ROW * i) for i, name in enumerate(methods)]
    words = "; ".join(_words(f) for f in points)
    label = f"Metric against latency on {front.device}: {words}"
    return drawing(
        height,
        label,
        *axes,
        _targets(front, x, bottom),
        _front_line(front, x, y),
        *baseline,
        *marks,
        *legend,
        width=width,
    )


def _scales(front: Front, points: Sequence[Found], width: float, bottom: float) -> tuple[Scale, Scale]:
    edges = [(f.low_ms, f.high_ms) for f in points]
    metrics = [f.result.metric for f in points]
    if front.baseline:
        edges.append((front.baseline.low_ms, front.baseline.high_ms))
        metrics.append(front.baseline.metric)
    slowest = max(high for _, high in edges)
    latencies = [ms for ms in front.targets_ms if ms <= 2 * slowest] + [ms for edge in edges for ms in edge]
    fastest = min(latencies)
    margin_ms = 0.06 * (max(latencies) - fastest) or 0.05 * fastest
    start = 0.0 if fastest < max(latencies) / 2 else fastest - margin_ms
    least, most = min(metrics), max(metrics)
    margin = 0.08 * (most - least) or 0.05 * abs(most) or 1.0
    x = Scale(start, max(latencies) + margin_ms, _LEFT, width - _RIGHT)
    return x, Scale(least - margin, most + margin, bottom, _TOP)


def _point(f: Found, method: int, x: Scale, y: Scale, is_numbered: bool) -> Markup:
    at, level = x(f.ms), y(f.result.metric)
    kind = f"k{method % 8}"
    interval = line(x(f.low_ms), level, x(f.high_ms), level, f"spread {kind}") if f.has_interval else Markup()
    number = text(at + 8, level - 7, str(f.number), class_="note") if is_numbered else Markup()
    return join([interval, _mark(f.met, method, at, level, kind, _words(f)), number])


def _mark(met: Met | None, method: int, x: float, y: float, kind: str, tip: str | None = None) -> Markup:
    """Filled, hollow or half filled; pale without a target."""
    if met is not Met.CANNOT_TELL:
        classes = {None: "soft", Met.YES: "method", Met.NO: "method hollow"}
        return marker(method, x, y, _RADIUS, f"{classes[met]} {kind}", tip)
    half = _left_half(shape(method, x, y, _RADIUS), x)
    return join([marker(method, x, y, _RADIUS, f"method hollow {kind}", tip), polygon(half, f"method {kind}", tip)])


def _left_half(corners: Sequence[tuple[float, float]], x: float) -> list[tuple[float, float]]:
    """The part of the polygon left of x (Sutherland and Hodgman's clipping)."""
    kept = []
    for (ax, ay), (bx, by) in zip(corners, [*corners[1:], corners[0]], strict=True):
        if ax <= x:
            kept.append((ax, ay))
        if (ax < x) != (bx < x) and ax != bx:
            kept.append((x, ay + (by - ay) * (x - ax) / (bx - ax)))
    return kept


def _baseline(baseline: Baseline, x: Scale, y: Scale) -> Markup:
    at, level = x(baseline.ms), y(baseline.metric)
    tip = f"baseline: {quantity.time(baseline.ms)}, {quantity.significant(baseline.metric, 4)}"
    words = text(at, level + 20, "baseline", "end" if at > (x.start + x.stop) / 2 else "start", "note")
    interval = line(x(baseline.low_ms), level, x(baseline.high_ms), level, "baseline-interval")
    return join([interval, marker(3, at, level, _RADIUS + 1, "baseline", tip), words])


def _front_line(front: Front, x: Scale, y: Scale) -> Markup:
    """A staircase: between two networks of the front nothing better than the left one was found."""
    corners: list[tuple[float, float]] = []
    for ms, metric in front.pareto:
        if corners:
            corners.append((x(ms), corners[-1][1]))
        corners.append((x(ms), y(metric)))
    return path([*corners, (x.stop, corners[-1][1])], "front") if corners else Markup()


def _targets(front: Front, x: Scale, bottom: float) -> Markup:
    """An upright line each; words only where they do not hide those before."""
    marks, free_from = [], -math.inf
    for ms in front.targets_ms:
        if not x.low <= ms <= x.high:
            continue
        at = x(ms)
        marks.append(line(at, _TOP, at, bottom, "target"))
        if at - _TARGET_WIDTH / 2 >= free_from:
            unit, size = quantity.time_unit(ms)
            marks.append(text(at, _TOP - 6, f"≤ {quantity.tick(ms / size)} {unit}", "middle"))
            free_from = at + _TARGET_WIDTH / 2
    return join(marks)


def _legend(name: str, method: int, y: float) -> Markup:
    return join([_mark(Met.YES, method, _LEFT + 6, y - 4, f"k{method % 8}"), text(_LEFT + 18, y, name)])


def _words(f: Found) -> str:
    latency = quantity.estimate(f.ms, f.low_ms, f.high_ms)[0]
    met = "no target" if f.met is None else f"target met: {f.met}"
    name = f"{f.number}, {f.result.method}"
    metric = quantity.significant(f.result.metric, 4) if math.isfinite(f.result.metric) else quantity.UNKNOWN
    return f"{name}: {latency}, {metric}, {met}"
