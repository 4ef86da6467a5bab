"""Figure: the anchors and the network relative to their normal speed, over the time of the measurement."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from hwprof.measurement import Measurement, Process, TimedBlock
from hwprof.report import quantity
from hwprof.report.markup import Markup, join
from hwprof.report.svg import WIDTH, Scale, drawing, left_axis, line, marker, rect, text

_LEFT, _GAP, _LANE, _TOP = 46.0, 3.0, 84.0, 22.0
_BETWEEN = 38.0  # pixels between lanes


@dataclass(frozen=True, slots=True)
class _Lane:
    name: str
    shape: int
    class_: str
    relative: Callable[[TimedBlock], float | None]


def draw(m: Measurement) -> Markup:
    """One lane for the network and one per anchor. The measurement must have a valid block.

    Each process has its own clock, so processes are drawn side by side in order; a width is a duration.
    """
    median_ns = m.latency_ms * 1e6
    lanes = [_Lane("this network, against its median", 0, "k0", lambda b: float(np.median(b.latencies_ns)) / median_ns)]
    for i, (name, base) in enumerate(m.anchor_baseline_ns.items()):
        lanes.append(_Lane(f"anchor {name}, against its baseline", i + 1, f"k{i + 1}", _anchor(name, base)))
    low, high = _range(m, lanes)
    marks: list[Markup] = []
    for i, lane in enumerate(lanes):
        top = _TOP + i * (_LANE + _BETWEEN)
        marks.append(_draw_lane(m, lane, Scale(low, high, top + _LANE, top)))
    bottom = _TOP + len(lanes) * (_LANE + _BETWEEN) - _BETWEEN
    marks += [
        text((a + b) / 2, bottom + 16, str(i + 1), "middle", "tick")
        for i, (_, a, b) in enumerate(_bands(m.processes))
        if b - a >= 16 or i % 5 == 4
    ]
    marks.append(text(WIDTH, bottom + 32, f"processes, widths are durations; {_duration(m)} in total", "end", "name"))
    return drawing(bottom + 38, _words(m), *marks)


def slowdowns(m: Measurement) -> dict[str, np.ndarray]:
    """For each anchor, [n_blocks]: its time at each block over its baseline."""
    found = {}
    for name, base in m.anchor_baseline_ns.items():
        values = [b.anchors_ns[name] / base for p in m.processes for b in p.blocks if name in b.anchors_ns and base]
        if values:
            found[name] = np.array(values)
    return found


def _anchor(name: str, base: float) -> Callable[[TimedBlock], float | None]:
    return lambda b: b.anchors_ns[name] / base if name in b.anchors_ns and base else None


def _range(m: Measurement, lanes: Sequence[_Lane]) -> tuple[float, float]:
    values = [v for lane in lanes for p in m.processes for b in p.blocks if (v := lane.relative(b)) is not None]
    low, high = np.quantile(values, [0.005, 0.995])
    return float(min(low, 0.96)) - 0.01, float(max(high, 1.06)) + 0.015


def _draw_lane(m: Measurement, lane: _Lane, y: Scale) -> Markup:
    axis = left_axis(y, _LEFT, lambda v: quantity.change(v, 0), lane.name, WIDTH, 4)
    off = m.protocol.anchor_tolerance
    upper, lower = y.clamped(1 + off), y.clamped(1 - off)
    band = rect(_LEFT, upper, WIDTH - _LEFT, lower - upper, "tolerance", f"within ±{quantity.percent(off)}")
    marks: list[Markup] = [axis, band, line(_LEFT, y(1), WIDTH, y(1), "axis")]
    for i, (process, left, right) in enumerate(_bands(m.processes)):
        if i:
            marks.append(line(left - _GAP / 2, y.stop, left - _GAP / 2, y.start, "grid"))
        starts = [b.start_ns for b in process.blocks] or [0]
        x = Scale(starts[0], max(starts[-1], starts[0] + 1), left + 3, right - 3)
        marks += [_mark(lane, b, x(b.start_ns), y, i) for b in process.blocks]
    return join(marks)


def _mark(lane: _Lane, block: TimedBlock, x: float, y: Scale, i: int) -> Markup:
    value = lane.relative(block)
    if value is None:
        return Markup()
    tip = f"process {i + 1}: {quantity.change(value)}"
    if block.rejected:
        return marker(6, x, y.clamped(value), 3.5, "rejected", f"{tip}; block rejected: {block.rejected}")
    return marker(lane.shape, x, y.clamped(value), 2.4, f"{lane.class_} soft", tip)


def _bands(processes: Sequence[Process]) -> Iterator[tuple[Process, float, float]]:
    """Each process with its first and last pixel."""
    spans = [_span_ns(p) for p in processes]
    room = WIDTH - _LEFT - _GAP * (len(spans) - 1)
    x = _LEFT
    for process, span in zip(processes, spans, strict=True):
        width = room * span / sum(spans)
        yield process, x, x + width
        x += width + _GAP


def _span_ns(process: Process) -> int:
    """From the start of the first block to the end of the last; at least 1."""
    if not process.blocks:
        return 1
    last = process.blocks[-1]
    return max(1, last.start_ns + sum(last.samples_ns) - process.blocks[0].start_ns)


def _duration(m: Measurement) -> str:
    return quantity.time(sum(_span_ns(p) for p in m.processes) / 1e6)


def _words(m: Measurement) -> str:
    most = {name: quantity.change(float(v.max())) for name, v in slowdowns(m).items()}
    parts = [f"anchor {name} at most {off} from its baseline" for name, off in most.items()]
    return "Speed of the machine over the measurement. " + ("; ".join(parts) or "No anchor ran")
