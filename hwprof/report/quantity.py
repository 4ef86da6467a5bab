"""Formats numbers for readers: sensible digits, a fitting unit, and "unknown" instead of an invented zero."""

from __future__ import annotations

import math

UNKNOWN = "unknown"
_SAYS_NOTHING = 10.0
_TIMES = (("s", 1e3), ("ms", 1.0), ("µs", 1e-3), ("ns", 1e-6))  # unit, its length in ms
_PREFIXES = (("T", 1e12), ("G", 1e9), ("M", 1e6), ("k", 1e3), ("", 1.0))


def significant(value: float, digits: int = 3) -> str:
    """`digits` significant digits; whole numbers are never cut: 0.0123, 1.23, 12.3, 123, 1234."""
    if not math.isfinite(value):
        return UNKNOWN
    if value == 0:
        return "0"
    rounded = float(f"{value:.{digits - 1}e}")
    decimals = digits - 1 - math.floor(math.log10(abs(rounded)))
    return f"{value:.{max(0, decimals)}f}"


def metric(value: float) -> str:
    """A task's metric: 85.06, 0.0312."""
    return f"{value:.2f}" if abs(value) >= 1 or not math.isfinite(value) else f"{value:.3g}"


def tick(value: float) -> str:
    """A round number next to an axis, without trailing zeros."""
    return f"{value:.6g}"


def time(ms: float) -> str:
    """The duration in ns, µs, ms or s."""
    if not math.isfinite(ms):
        return UNKNOWN
    unit, scale = time_unit(ms)
    return f"{significant(ms / scale)} {unit}"


def time_unit(ms: float) -> tuple[str, float]:
    """The unit that suits a duration, and its length in ms."""
    for unit, scale in _TIMES:
        if float(f"{abs(ms):.2e}") >= scale:
            return unit, scale
    return _TIMES[-1]


def estimate(median_ms: float, low_ms: float, high_ms: float) -> tuple[str, str]:
    """The median and its interval in one unit, with as many decimals as the interval justifies.

    Returns ("12.31 ms", "12.28 to 12.35 ms"); the second is empty where `bounds` says that the interval is unknown.
    """
    if bounds(low_ms, high_ms) == UNKNOWN:
        return time(median_ms), ""
    unit, scale = time_unit(median_ms)
    decimals = max(_decimals((high_ms - low_ms) / 2 / scale), _decimals(median_ms / scale) + 2)
    decimals = min(max(decimals, 0), 3)
    median, low, high = (f"{v / scale:.{decimals}f}" for v in (median_ms, low_ms, high_ms))
    return f"{median} {unit}", f"{low} to {high} {unit}"


def bounds(low: float, high: float, form: str = ".4g") -> str:
    """An interval in a table: "1.23 .. 1.25". One that is not known, or so wide that it says nothing (its upper bound
    is ten times the lower one), is "unknown"."""
    if not (math.isfinite(low) and math.isfinite(high)) or high > _SAYS_NOTHING * max(low, 0.0):
        return UNKNOWN
    return f"{low:{form}} .. {high:{form}}"


def _decimals(value: float) -> int:
    """The decimal place of the first significant digit."""
    return -math.floor(math.log10(value)) if value > 0 else 0


def count(value: float | None, unit: str = "") -> str:
    """The number with an SI prefix: 301 M, 12.4 GMAC/s."""
    if value is None or not math.isfinite(value):
        return UNKNOWN
    prefix, scale = next(((p, s) for p, s in _PREFIXES if abs(float(f"{value:.2e}")) >= s), ("", 1.0))
    digits = significant(value / scale) if scale > 1 or value % 1 else str(int(value))
    return f"{digits} {prefix}{unit}".rstrip()


def percent(share: float | None, decimals: int | None = None) -> str:
    """A share of 1 as percent: two significant digits below 10 %, whole above, unless `decimals` is given."""
    if share is None or not math.isfinite(share):
        return UNKNOWN
    value = share * 100
    if decimals is None and 0 < abs(value) < 0.05:
        return "< 0.1 %"
    if decimals is None:
        decimals = 0 if value == 0 or abs(value) >= 9.95 else 1
    return f"{value:.{decimals}f} %"


def half_width(share: float) -> str:
    """The half-width of an interval after its median: 2.1%. Above 100 % the exact figure has no meaning."""
    if math.isnan(share):
        return UNKNOWN
    return f"{share:.1%}" if share <= 1 else "> 100%"


def change(ratio: float, decimals: int = 1) -> str:
    """How far a ratio is from 1, signed: +5.2 %, −0.3 %, 0 %."""
    value = round((ratio - 1) * 100, decimals)
    return f"{value:+.{decimals}f} %".replace("-", "−") if value else "0 %"


def ratio(value: float) -> str:
    """Three decimals near 1, three significant digits elsewhere."""
    if not math.isfinite(value):
        return UNKNOWN
    return f"{value:.3f}" if 0.1 <= value < 10 else significant(value)


def plural(n: int, noun: str, many: str = "") -> str:
    """1 process, 2 processes."""
    if n == 1:
        return f"{n} {noun}"
    return f"{n} {many or noun + ('es' if noun.endswith('s') else 's')}"
