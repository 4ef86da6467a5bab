"""The elements of every figure: scales, axes, markers, text."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from hwprof.report.markup import Markup, element, join

WIDTH = 540  # pixels at which the text of a figure has its intended size; two fit side by side on a screen
COLOURS = 8  # classes k0 to k7 of page.css; the last one is grey, for all further kinds


# Widths of letters, em; other capitals have up to 0.7, other letters and digits 0.64.
_WIDTHS = (
    ("ijlIJ'|", 0.3), (" .,:;/\\", 0.34), ("frt()[]-", 0.42), ("_scz", 0.55), ("kvxy", 0.6), ("mM%WO@…", 1.0),
    ("CDGHNQU", 0.79), ("w+=<>×−", 0.84),
)  # fmt: skip
_REACH = 6.0  # times the distance from the least to the 90 % quantile: what is further is an outlier
_TAIL = 0.995


@dataclass(frozen=True, slots=True)
class Scale:
    """Maps values from `low` to `high` onto pixels from `start` to `stop`, by logarithm where `log`."""

    low: float
    high: float
    start: float
    stop: float
    log: bool = False

    def __call__(self, value: float) -> float:
        low, high = self.low, self.high
        if self.log:
            low, high, value = math.log(low), math.log(high), math.log(value)
        part = (value - low) / (high - low) if high > low else 0.5
        return self.start + part * (self.stop - self.start)

    def clamped(self, value: float) -> float:
        return self(min(max(value, self.low), self.high))

    def ticks(self, about: int = 5) -> list[float]:
        """Round values inside the scale."""
        return _log_ticks(self.low, self.high) if self.log else _linear_ticks(self.low, self.high, about)


def axis_end(values: np.ndarray) -> float:
    """values: [n]. The largest value that is not an outlier, up to which an axis shows the others in detail."""
    least, body, tail = (float(q) for q in np.quantile(values, [0, 0.9, _TAIL]))
    fence = min(tail, least + _REACH * (body - least)) if body > least else tail
    return float(values[values <= fence].max(initial=least))


def _linear_ticks(low: float, high: float, about: int) -> list[float]:
    if not high > low:
        return [low]
    rough = (high - low) / about
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(m * power for m in (1, 2, 2.5, 5, 10) if m * power >= rough * 0.999)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [i * step for i in range(first, last + 1)]


def _log_ticks(low: float, high: float) -> list[float]:
    decades = math.log10(high / low)
    if decades < 0.9:
        return _linear_ticks(low, high, 5)
    marks: Sequence[float] = (1,) if decades > 2.5 else (1, 3) if decades > 1.6 else (1, 2, 5)
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    every = max(1, math.ceil(decades / 7))
    return [m * 10.0**p for p in powers if p % every == 0 for m in marks if low <= m * 10.0**p <= high]


def drawing(height: float, label: str, *children: Markup, width: float = WIDTH) -> Markup:
    """A complete image; `label` says in words what it shows."""
    box = f"0 0 {width:g} {height:g}"
    return element("svg", *children, viewBox=box, role="img", aria_label=label)


def text(x: float, y: float, words: str, anchor: str = "start", class_: str | None = None) -> Markup:
    """Words whose baseline starts, ends or is centred (`anchor`) at x, y."""
    return element("text", words, x=x, y=y, text_anchor=None if anchor == "start" else anchor, class_=class_)


def line(x1: float, y1: float, x2: float, y2: float, class_: str) -> Markup:
    """A straight line."""
    return element("line", x1=x1, y1=y1, x2=x2, y2=y2, class_=class_)


def rect(x: float, y: float, width: float, height: float, class_: str, tip: str | None = None) -> Markup:
    """A box; a negative size is drawn as zero."""
    return element("rect", title(tip), x=x, y=y, width=max(width, 0), height=max(height, 0), class_=class_)


def path(points: Sequence[tuple[float, float]], class_: str) -> Markup:
    """Straight lines from point to point, pixels."""
    return element("polyline", points=" ".join(f"{x:.1f},{y:.1f}" for x, y in points), class_=class_)


def title(tip: str | None) -> Markup | None:
    """The tooltip."""
    return element("title", tip) if tip else None


def shortened(words: str, width: float, size: float = 11, is_bold: bool = False) -> str:
    """The words, cut to fit into `width` pixels; empty where not even three letters fit."""
    if words_width(words, size, is_bold) <= width:
        return words
    kept = words
    while kept and words_width(f"{kept}…", size, is_bold) > width:
        kept = kept[:-1]
    return f"{kept}…" if len(kept) >= 3 else ""


def words_width(words: str, size: float = 11, is_bold: bool = False) -> float:
    """The width of the words in pixels, in DejaVu Sans: the widest of the page's typefaces."""
    return size * (1.12 if is_bold else 1.0) * sum(_width(letter) for letter in words)


def _width(letter: str) -> float:
    return next((em for letters, em in _WIDTHS if letter in letters), 0.7 if letter.isupper() else 0.64)


def bottom_axis(scale: Scale, y: float, write: Callable[[float], str], name: str, top: float | None = None) -> Markup:
    """Ticks below `y`, grid lines up to `top`, and the name of the quantity at the right end."""
    marks: list[Markup] = [line(scale.start, y, scale.stop, y, "axis")]
    for value in scale.ticks():
        x = scale(value)
        marks += [line(x, y if top is None else top, x, y + 4, "grid"), text(x, y + 17, write(value), "middle", "tick")]
    marks.append(text(scale.stop, y + 33, name, "end", "name"))
    return join(marks)


def left_axis(scale: Scale, x: float, write: Callable[[float], str], name: str, right: float, about: int = 5) -> Markup:
    """Ticks left of `x`, grid lines to `right`, and the name above."""
    marks: list[Markup] = []
    for value in scale.ticks(about):
        y = scale(value)
        marks += [line(x, y, right, y, "grid"), text(x - 6, y + 4, write(value), "end", "tick")]
    marks.append(text(0, min(scale.start, scale.stop) - 10, name, "start", "name"))
    return join(marks)


def marker(number: int, x: float, y: float, radius: float, class_: str, tip: str | None = None) -> Markup:
    """One of eight shapes of about equal area, so that colour is never the only sign."""
    if not _SHAPES[number % len(_SHAPES)]:
        return element("circle", title(tip), cx=x, cy=y, r=radius, class_=class_)
    return polygon(shape(number, x, y, radius), class_, tip)


def polygon(corners: Sequence[tuple[float, float]], class_: str, tip: str | None = None) -> Markup:
    """A closed outline, pixels."""
    points = " ".join(f"{x:.1f},{y:.1f}" for x, y in corners)
    return element("polygon", title(tip), points=points, class_=class_)


def shape(number: int, x: float, y: float, radius: float) -> list[tuple[float, float]]:
    """The corners of a marker's outline, pixels; a circle is one of 32."""
    points = _SHAPES[number % len(_SHAPES)] or _CIRCLE
    return [(x + px * radius, y + py * radius) for px, py in points]


_CIRCLE = [(math.cos(i * math.tau / 32), math.sin(i * math.tau / 32)) for i in range(32)]
_CROSS = [(-1.1, -0.4), (-0.4, -0.4), (-0.4, -1.1), (0.4, -1.1), (0.4, -0.4), (1.1, -0.4),
          (1.1, 0.4), (0.4, 0.4), (0.4, 1.1), (-0.4, 1.1), (-0.4, 0.4), (-1.1, 0.4)]  # fmt: skip
_SHAPES: tuple[list[tuple[float, float]], ...] = (
    [],  # circle
    [(-0.9, -0.9), (0.9, -0.9), (0.9, 0.9), (-0.9, 0.9)],  # square
    [(0, -1.3), (1.1, 0.8), (-1.1, 0.8)],  # triangle
    [(0, -1.3), (1.3, 0), (0, 1.3), (-1.3, 0)],  # diamond
    [(0, 1.3), (1.1, -0.8), (-1.1, -0.8)],  # triangle, point down
    _CROSS,
    [(x * 0.7 - y * 0.7, x * 0.7 + y * 0.7) for x, y in _CROSS],  # diagonal cross
    [(1.1, 0), (0.55, 0.95), (-0.55, 0.95), (-1.1, 0), (-0.55, -0.95), (0.55, -0.95)],  # hexagon
)
