"""Figure: arithmetic speed of each kernel over its intensity, under the peaks measured on the device.

The roofline model: Williams, Waterman and Patterson, Communications of the ACM 52(4), 2009.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from hwprof.measurement import Peaks
from hwprof.report import operators, quantity
from hwprof.report.markup import Markup, join
from hwprof.report.operators import Breakdown, Kernel
from hwprof.report.svg import COLOURS, WIDTH, Scale, bottom_axis, drawing, left_axis, marker, path, text
from hwprof.report.treemap import colour_classes

_LEFT, _TOP, _BOTTOM = 46.0, 26.0, 320.0
_LABELLED = 3


def draw(breakdown: Breakdown, peaks: Peaks | None) -> Markup | None:
    """One mark per kernel with multiply-adds, sized by its time; None where there is no such kernel."""
    dots = [k for k in breakdown.kernels if k.work and k.work.macs and k.work.moved_bytes and k.ms > 0]
    if not dots:
        return None
    if peaks and not math.isfinite(peaks.bytes_per_s):
        peaks = None
    roofs = _roofs(dots, peaks)
    x, y = _scales(dots, roofs, peaks)
    colours = colour_classes(breakdown)
    kinds = [k.op for k in breakdown.kinds if any(d.op == k.op for d in dots)]
    legend, height = _legend(kinds, colours)
    return drawing(
        _BOTTOM + 44 + height,
        _words(dots, peaks),
        left_axis(y, _LEFT, quantity.count, "multiply-adds per second", WIDTH),
        bottom_axis(x, _BOTTOM, quantity.tick, "multiply-adds per byte moved", _TOP),
        *(_roof(dtype, peak, peaks, x, y) for dtype, peak in roofs.items() if peaks),
        *(_dot(d, x, y, colours[d.op]) for d in sorted(dots, key=lambda d: -d.ms)),
        *_labels(dots, x, y),
        legend,
    )


def _intensity(kernel: Kernel) -> float:
    return kernel.work.macs / kernel.work.moved_bytes if kernel.work else math.nan


def _speed(kernel: Kernel) -> float:
    return kernel.macs_per_s or math.nan


def _roofs(dots: Sequence[Kernel], peaks: Peaks | None) -> dict[str, float]:
    """The arithmetic peak of each element type in use."""
    dtypes = dict.fromkeys(d.work.dtype for d in dots if d.work)
    found = {dtype: operators.mac_peak(dtype, peaks) for dtype in dtypes} if peaks else {}
    return {dtype: peak for dtype, peak in found.items() if peak}


def _scales(dots: Sequence[Kernel], roofs: Mapping[str, float], peaks: Peaks | None) -> tuple[Scale, Scale]:
    """Both axes include every mark, every peak and the ridge point of the roof."""
    intensities, speeds = [_intensity(d) for d in dots], [_speed(d) for d in dots]
    if peaks:
        intensities += [peak / peaks.bytes_per_s for peak in roofs.values()]
        speeds += list(roofs.values())
    x = Scale(min(intensities) / 2, max(intensities) * 2, _LEFT, WIDTH - 8, log=True)
    y = Scale(min(speeds) / 2, max(speeds) * 1.8, _BOTTOM, _TOP, log=True)
    return x, y


def _roof(dtype: str, peak: float, peaks: Peaks | None, x: Scale, y: Scale) -> Markup:
    slope = peaks.bytes_per_s if peaks else math.nan
    ridge = peak / slope
    start = max(x.low, y.low / slope)
    points = [(x(start), y(start * slope)), (x(ridge), y(peak)), (x.stop, y(peak))]
    label = f"{dtype} {quantity.count(peak, 'MAC/s')}"
    return join([path(points, "roof"), text(x.stop, y(peak) - 6, label, "end", "note halo")])


def _dot(kernel: Kernel, x: Scale, y: Scale, colour: str) -> Markup:
    roof = f", {quantity.percent(kernel.roof_share)} of the roofline" if kernel.roof_share is not None else ""
    tip = (
        f"{kernel.name}: {quantity.count(_speed(kernel), 'MAC/s')}{roof}, {quantity.percent(kernel.share)} of the time"
    )
    radius = min(13.0, 3.0 + 26 * math.sqrt(max(kernel.share, 0.0)) * 0.8)
    return marker(_shape(colour), x(_intensity(kernel)), y(_speed(kernel)), radius, f"{colour} soft", tip)


def _labels(dots: Sequence[Kernel], x: Scale, y: Scale) -> list[Markup]:
    """Names of the longest kernels, where they do not cover another name."""
    placed: list[tuple[float, float]] = []
    marks = []
    for kernel in sorted(dots, key=lambda d: -d.ms)[:_LABELLED]:
        px, py = x(_intensity(kernel)), y(_speed(kernel))
        if any(abs(px - a) < 150 and abs(py - b) < 14 for a, b in placed):
            continue
        placed.append((px, py))
        left = px < (x.start + x.stop) / 2
        name = kernel.name if len(kernel.name) <= 26 else kernel.name[:25] + "…"
        marks.append(text(px + (14 if left else -14), py + 4, name, "start" if left else "end", "note halo"))
    return marks


def _legend(kinds: Sequence[str], colours: Mapping[str, str]) -> tuple[Markup, float]:
    """Marks and names in rows, and their height."""
    marks, x, y = [], _LEFT, _BOTTOM + 56
    for kind in kinds:
        width = 30 + 7.4 * len(kind)
        if x + width > WIDTH and x > _LEFT:
            x, y = _LEFT, y + 18
        marks += [marker(_shape(colours[kind]), x + 5, y - 4, 5, f"{colours[kind]} soft"), text(x + 15, y, kind)]
        x += width
    return join(marks), y - _BOTTOM - 38


def _shape(colour: str) -> int:
    return int(colour.removeprefix("k")) % COLOURS


def _words(dots: Sequence[Kernel], peaks: Peaks | None) -> str:
    best = max(dots, key=_speed)
    fastest = f"the fastest kernel, {best.name}, does {quantity.count(_speed(best), 'multiply-adds per second')}"
    ceiling = f"memory peak {quantity.count(peaks.bytes_per_s, 'B/s')}" if peaks else "the device's peaks are unknown"
    return f"Roofline of {quantity.plural(len(dots), 'kernel')}: {fastest}; {ceiling}"
