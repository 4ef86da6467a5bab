"""Figure: the time of each kernel as an area, kernels of one kind together.

Squarified treemap: Bruls, Huizing and van Wijk, Data Visualization 2000.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hwprof.report import quantity
from hwprof.report.markup import Markup, join
from hwprof.report.operators import Breakdown, Kernel
from hwprof.report.svg import COLOURS, drawing, rect, shortened, text, words_width

_HEADER = 17.0  # pixels of a group's own label
OUTSIDE = "outside"


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle, pixels."""

    x: float
    y: float
    width: float
    height: float

    @property
    def area(self) -> float:
        return self.width * self.height


def draw(breakdown: Breakdown, width: float, height: float) -> Markup:
    """The breakdown must have a kernel. Colours follow the rank of the kind."""
    groups = [(k.op, k.ms, [r for r in breakdown.kernels if r.op == k.op]) for k in breakdown.kinds]
    if breakdown.outside_ms > 0.005 * breakdown.latency_ms:
        groups.append((OUTSIDE, breakdown.outside_ms, []))
    boxes = squarify([ms for _, ms, _ in groups], Box(0, 0, width, height))
    colours = colour_classes(breakdown)
    marks = [
        _group(op, ms / breakdown.latency_ms, kernels, box, colours.get(op, _grey()))
        for (op, ms, kernels), box in zip(groups, boxes, strict=True)
    ]
    return drawing(height, _words(breakdown), *marks, width=width)


def colour_classes(breakdown: Breakdown) -> dict[str, str]:
    """The class of page.css for each kind: its rank by time, grey from the eighth on."""
    return {k.op: f"k{min(i, COLOURS - 1)}" for i, k in enumerate(breakdown.kinds)}


def squarify(values: Sequence[float], box: Box) -> list[Box]:
    """One box per value, in order, with areas in proportion and as square as possible."""
    order = sorted(range(len(values)), key=lambda i: -values[i])
    total = sum(values)
    found = [Box(box.x, box.y, 0, 0)] * len(values)
    if total <= 0:
        return found
    areas = [values[i] * box.area / total for i in order]
    start = 0
    while start < len(areas):
        side = min(box.width, box.height)
        end = start + 1
        while end < len(areas) and _worst(areas[start : end + 1], side) <= _worst(areas[start:end], side):
            end += 1
        row, box = _lay(areas[start:end], box)
        for i, placed in zip(order[start:end], row, strict=True):
            found[i] = placed
        start = end
    return found


def _worst(areas: Sequence[float], side: float) -> float:
    """The aspect ratio of the longest box, when these share one row along a side."""
    total, least = sum(areas), min(areas)
    if side <= 0 or least <= 0:
        return float("inf")
    return max(side**2 * max(areas) / total**2, total**2 / (side**2 * least))


def _lay(areas: Sequence[float], box: Box) -> tuple[list[Box], Box]:
    """A row along the shorter side, and the remaining space."""
    total = sum(areas)
    row = []
    if box.width >= box.height:
        width, y = (total / box.height if box.height else 0.0), box.y
        for area in areas:
            row.append(Box(box.x, y, width, area / width if width else 0.0))
            y += row[-1].height
        return row, Box(box.x + width, box.y, max(0.0, box.width - width), box.height)
    height, x = (total / box.width if box.width else 0.0), box.x
    for area in areas:
        row.append(Box(x, box.y, area / height if height else 0.0, height))
        x += row[-1].width
    return row, Box(box.x, box.y + height, box.width, max(0.0, box.height - height))


def _group(op: str, share: float, kernels: Sequence[Kernel], box: Box, colour: str) -> Markup:
    tip = f"{op}: {quantity.percent(share)} of the time"
    marks = [rect(box.x, box.y, box.width - 2, box.height - 2, f"tile-frame {colour}", tip)]
    label = shortened(f"{op} {quantity.percent(share)}", box.width - 12, 12, is_bold=True)
    inner = Box(box.x + 1, box.y + 1, box.width - 4, box.height - 4)
    if label and box.height > 2 * _HEADER:
        marks.append(text(box.x + 6, box.y + 13, label, class_="strong"))
        inner = Box(inner.x, inner.y + _HEADER, inner.width, inner.height - _HEADER)
    elif not kernels and label and box.height > 14:
        marks.append(text(box.x + 5, box.y + 12, label, class_="tile-text"))
    placed = squarify([k.ms for k in kernels], inner)
    marks += [_tile(k, b, colour) for k, b in zip(kernels, placed, strict=True)]
    return join(marks)


def _tile(kernel: Kernel, box: Box, colour: str) -> Markup:
    value = f"{quantity.time(kernel.ms)}, {quantity.percent(kernel.share)}"
    members = f"; holds {', '.join(kernel.members)}" if len(kernel.members) > 1 else ""
    marks = [rect(box.x, box.y, box.width - 1, box.height - 1, f"tile {colour}", f"{kernel.name}: {value}{members}")]
    fitting = [w for w in (value, quantity.time(kernel.ms)) if words_width(w) <= box.width - 8]
    if box.height > 15 and (name := shortened(kernel.name, box.width - 8)):
        marks.append(text(box.x + 4, box.y + 12, name, class_="tile-text"))
    if box.height > 30 and fitting:
        marks.append(text(box.x + 4, box.y + 25, fitting[0], class_="tile-text"))
    return join(marks)


def _grey() -> str:
    return f"k{COLOURS - 1}"


def _words(breakdown: Breakdown) -> str:
    kinds = ", ".join(f"{k.op} {quantity.percent(k.share)}" for k in breakdown.kinds[:6])
    outside = quantity.percent(breakdown.outside_ms / breakdown.latency_ms)
    return f"Time by operator kind: {kinds}; outside of kernels {outside}"
