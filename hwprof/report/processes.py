"""Figure: each process a strip, each block a mark; shows variance between processes, rejected blocks and causes."""

from __future__ import annotations

import numpy as np

from hwprof.measurement import LatencyStatistics, Measurement, Process, TimedBlock
from hwprof.report import quantity
from hwprof.report.markup import Markup, join
from hwprof.report.svg import WIDTH, Scale, axis_end, bottom_axis, drawing, line, marker, rect, text
from hwprof.report.verdict import rejected_causes

_LEFT, _RIGHT = 26.0, 58.0
_TOP = 18.0
_REJECTED_SHAPES = 6  # the diagonal cross; further causes use the shapes around it


def draw(m: Measurement) -> Markup:
    """The measurement must have a valid block. Time runs downwards within a strip."""
    s = m.statistics
    x = _scale(m)
    height = min(44.0, max(15.0, 300.0 / len(m.processes)))
    bottom = _TOP + height * len(m.processes)
    unit, size = quantity.time_unit(s.median)
    shapes = {cause: _REJECTED_SHAPES - i for i, cause in enumerate(sorted(rejected_causes(m)))}
    marks = [_median(s, x, bottom), text(0, 11, "process", "start", "name"), text(WIDTH, 11, "off", "end", "name")]
    for i, process in enumerate(m.processes):
        marks.append(_strip(process, i, _TOP + i * height, height, x, s.median, shapes))
    if beyond := sum(float(_spread_ms(b)[1]) > x.high for p in m.processes for b in p.blocks):
        marks.append(text(x.stop, 11, f"{quantity.plural(beyond, 'block')} beyond", "end", "note"))
    axis = bottom_axis(x, bottom, lambda v: quantity.tick(v / size), f"latency, {unit}")
    legend = _legend(m, shapes, bottom + 56) if shapes else Markup()
    return drawing(bottom + (66 if shapes else 40), _words(m), *marks, axis, legend)


def _scale(m: Measurement) -> Scale:
    kept = np.concatenate([_spread_ms(b) for p in m.processes for b in p.kept])
    low, high = float(np.quantile(kept, 0.005)), axis_end(kept)
    margin = max((high - low) * 0.08, low * 0.001)
    return Scale(low - margin, high + margin, _LEFT, WIDTH - _RIGHT)


def _spread_ms(block: TimedBlock) -> np.ndarray:
    """The 10 %, 50 % and 90 % quantiles of one block."""
    return np.asarray(np.quantile(block.latencies_ns, [0.1, 0.5, 0.9])) / 1e6


def _median(s: LatencyStatistics, x: Scale, bottom: float) -> Markup:
    band = None
    if np.isfinite(s.low):
        left, right = x.clamped(s.low), x.clamped(s.high)
        band = rect(left, _TOP, max(right - left, 1), bottom - _TOP, "interval", "95 % interval of the median")
    return join([band, line(x(s.median), _TOP, x(s.median), bottom, "median")])


def _strip(
    process: Process, i: int, top: float, height: float, x: Scale, median_ms: float, shapes: dict[str, int]
) -> Markup:
    middle = top + height / 2
    marks: list[Markup] = [line(_LEFT, top + height, WIDTH - _RIGHT, top + height, "grid")]
    marks.append(text(_LEFT - 8, middle + 4, str(i + 1), "end", "tick"))
    step = (height - 4) / max(len(process.blocks), 1)
    for j, block in enumerate(process.blocks):
        marks.append(_block(block, i, j, top + 2 + (j + 0.5) * step, x, shapes))
    if process.kept:
        own = float(np.median([_spread_ms(b)[1] for b in process.kept]))
        marks.append(line(x.clamped(own), top + 1, x.clamped(own), top + height - 1, "own"))
        marks.append(text(WIDTH, middle + 4, quantity.change(own / median_ms, 2), "end", "tick"))
    else:
        marks.append(text(WIDTH, middle + 4, "none kept", "end", "tick"))
    return join(marks)


def _block(block: TimedBlock, i: int, j: int, y: float, x: Scale, shapes: dict[str, int]) -> Markup:
    low, median, high = (float(v) for v in _spread_ms(block))
    tip = f"process {i + 1}, block {j + 1}: median {quantity.time(median)}"
    if block.rejected:
        shape = shapes[block.rejected]
        return marker(shape, x.clamped(median), y, 4, "rejected", f"{tip}; rejected: {block.rejected}")
    spread = line(x.clamped(low), y, x.clamped(high), y, "spread")
    return join([spread, marker(0, x.clamped(median), y, 2.2, "dot", tip)])


def _legend(m: Measurement, shapes: dict[str, int], y: float) -> Markup:
    causes = rejected_causes(m)
    marks = [text(_LEFT, y, "rejected:", "start", "note")]
    x = _LEFT + 66
    for cause, shape in shapes.items():
        words = f"{cause} {causes[cause]}"
        marks += [marker(shape, x + 5, y - 4, 4, "rejected"), text(x + 14, y, words, "start", "note")]
        x += 30 + 7.4 * len(words)
    return join(marks)


def _words(m: Measurement) -> str:
    medians = [np.median([_spread_ms(b)[1] for b in p.kept]) for p in m.processes if p.kept]
    spread = quantity.percent(float(max(medians) / min(medians) - 1))
    causes = ", ".join(f"{n} by {cause}" for cause, n in rejected_causes(m).most_common()) or "none"
    processes = quantity.plural(len(m.processes), "process")
    return f"Block medians of {processes}; their medians differ by {spread}; rejected blocks: {causes}"
