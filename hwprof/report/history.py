"""The history of a model: its measurements in a store over dates or commits, in a table and a figure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from typing import Any

from hwprof.measurement import LatencyStatistics, Measurement, Status
from hwprof.report import quantity
from hwprof.report.markup import Markup, join
from hwprof.report.svg import WIDTH, Scale, drawing, left_axis, line, marker, path, shortened, text
from hwprof.report.verdict import Tone, Verdict, interval_words, normalized, statistics

_LEFT, _TOP, _BOTTOM, _RIGHT = 56.0, 26.0, 220.0, 12.0
LABEL = "label"  # of a measurement's environment: the commit, release or whatever the user calls it


@dataclass(frozen=True)  # without slots: it keeps its latency
class Step:
    """A measurement of the model, and the shapes of its inputs as --shape takes them: latencies with other shapes say
    nothing about a change of the network."""

    measurement: Measurement
    inputs: str = ""

    @property
    def comparable(self) -> tuple[str, str, str]:
        """Equal for two steps that may be set against each other."""
        return self.measurement.hardware, self.measurement.device.digest, self.inputs

    @cached_property
    def latency(self) -> LatencyStatistics | None:
        """At the machine's undisturbed speed where it is known, ms; None where instructions were counted."""
        return None if self.measurement.is_counted else normalized(self.measurement) or statistics(self.measurement)


def name_of(m: Measurement) -> str:
    """The label that the user gave, else the day of the measurement."""
    return str(m.environment.get(LABEL) or (m.processes[-1].started[:10] if m.processes else "unknown"))


def changes(history: Sequence[Step]) -> list[str]:
    """For each step "slower" or "faster" where its interval and that of the one before are apart, else nothing. The one
    before is the last on the same hardware and device with inputs of the same shapes."""
    found, last = list[str](), dict[tuple[str, str, str], tuple[float, float]]()
    for step in history:
        s, before = step.latency, last.get(step.comparable)
        if s is None:
            found.append("")
            continue
        low, high = last[step.comparable] = step.measurement.decisive_ms(s)
        found.append("" if before is None else "slower" if low > before[1] else "faster" if high < before[0] else "")
    return found


def table(history: Sequence[Step]) -> list[dict[str, Any]]:
    """A row for each step, oldest first."""
    return [_row(step, change) for step, change in zip(history, changes(history), strict=True)]


def _row(step: Step, change: str) -> dict[str, Any]:
    m, s = step.measurement, step.latency
    return {
        "label": name_of(m),
        "measured": m.processes[-1].started[:16] if m.processes else "",
        "inputs": step.inputs,
        "device": m.device.name,
        "undisturbed ms": f"{s.median:.4g}" if s else "",
        "95 % interval": interval_words(m, s) if s else "",
        "status": str(m.status),
        "change": change,
        "hardware": m.hardware,
    }


def record(history: Sequence[Step]) -> list[dict[str, Any]]:
    """JSON-ready. `undisturbed_ms`: as in the table; null where it is not known."""
    rows = []
    for step, change in zip(history, changes(history), strict=True):
        m, s = step.measurement, step.latency
        known = s is not None and math.isfinite(s.low)
        rows.append({
            "label": name_of(m), "measured": m.processes[-1].started if m.processes else None,
            "inputs": step.inputs, "device": m.device.name, "undisturbed_ms": s.median if s else None,
            "low_ms": s.low if s and known else None, "high_ms": s.high if s and known else None,
            "status": str(m.status), "change": change, "hardware": m.hardware,
        })  # fmt: skip
    return rows


def verdict(history: Sequence[Step]) -> Verdict:
    """The changes of the latency since the first measurement."""
    found = [step.measurement for step in history]
    model, steps = found[-1].model, [c for c in changes(history) if c]
    names = f"from {name_of(found[0])} to {name_of(found[-1])}" if len(found) > 1 else name_of(found[0])
    support = f"{quantity.plural(len(history), 'measurement')}, {names}"
    machines, shapes = len({m.hardware for m in found}), len({step.inputs for step in history})
    doubts = [f"The measurements are from {machines} machines; only those of one are compared."] if machines > 1 else []
    if shapes > 1:
        doubts.append(f"They have inputs of {shapes} shapes; only those of one are compared.")
    if any(m.status is not Status.CONVERGED for m in found):
        doubts.append("Hollow marks did not converge.")
    doubts += dict.fromkeys(f"{name_of(m)}: {warning}." for m in found for warning in m.age_warnings)
    if len(found) == 1:
        return Verdict(Tone.CAUTION, f"{model}: one measurement has no history yet", support, tuple(doubts))
    if not steps:
        return Verdict(Tone.GOOD, f"{model}: no certain change", support, tuple(doubts))
    words = f"{steps.count('slower')} times slower, {steps.count('faster')} times faster"
    return Verdict(Tone.CAUTION, f"{model}: {words} than the one before", support, tuple(doubts))


def draw(history: Sequence[Step], width: float = 2 * WIDTH) -> Markup | None:
    """The latency with its interval at each step, oldest first; a hollow mark has not converged. Lines join steps that
    may be set against each other."""
    known = [(step, s) for step in history if (s := step.latency)]
    points = [(step.measurement, s) for step, s in known]
    if not points:
        return None
    bounds = [v for _, s in points for v in (s.low, s.median, s.high) if math.isfinite(v)]
    y = Scale(0.0, max(bounds) * 1.05, _BOTTOM, _TOP)
    x = Scale(-0.5, len(points) - 0.5, _LEFT, width - _RIGHT)
    unit, size = quantity.time_unit(y.high)
    step = (x.stop - x.start) / len(points)
    shown = max(1, math.ceil(60 / step))
    order = sorted(range(len(points)), key=lambda i: (known[i][0].comparable, i))
    joined = groupby(order, key=lambda i: known[i][0].comparable)
    marks = [path([(x(i), y(points[i][1].median)) for i in places], "line") for _, places in joined]
    for i, (m, s) in enumerate(points):
        if math.isfinite(s.low):
            marks.append(line(x(i), y.clamped(s.low), x(i), y.clamped(s.high), "whisker"))
        name = name_of(m)
        class_ = "dot" if m.status is Status.CONVERGED else "dot hollow"
        marks.append(marker(0, x(i), y(s.median), 4.5, class_, f"{name}: {quantity.time(s.median)}"))
        if i % shown == 0:
            marks.append(text(x(i), _BOTTOM + 18, shortened(name, step * shown - 6), "middle", "tick"))
    axis = left_axis(y, _LEFT, lambda v: quantity.tick(v / size), f"latency, {unit}", width - _RIGHT)
    words = "; ".join(f"{name_of(m)} {quantity.time(s.median)}" for m, s in points)
    return drawing(_BOTTOM + 30, f"Latency over time: {words}", axis, join(marks), width=width)
