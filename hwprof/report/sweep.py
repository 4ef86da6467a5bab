"""A sweep: networks on many devices, with threads, batches and shapes; who is fastest, and who cannot run."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from hwprof.measurement import Evidence, LatencyStatistics, Measurement, Status
from hwprof.report import quantity
from hwprof.report.markup import Markup, join
from hwprof.report.svg import Scale, drawing, line, rect, shortened, text
from hwprof.report.verdict import Tone, Verdict, interval_words, normalized, not_converged, statistics

EQUAL = 0.05  # devices whose latencies differ by no more are equal: that is an answer
# By which two processes of one network may differ, where one process alone gives no interval.
_OF_ONE_PROCESS = 2.0
_NAMES, _ROW, _TOP, _WIDTH, _GAP, _VALUE = 250.0, 22.0, 34.0, 1080.0, 16.0, 80.0


@dataclass(frozen=True, slots=True)
class Swept:
    """One network at one batch and shape on one device: its measurement, or the `reason` for which there is none.

    shape: of the inputs, in words; empty for the network's own. is_bad_input: no device was asked, because the network
    itself cannot be opened.
    """

    model: str
    shape: str
    batch: int
    device: str
    threads: int
    measurement: Measurement | None
    reason: str = ""
    is_bad_input: bool = False

    @property
    def statistics(self) -> LatencyStatistics | None:
        """At the machine's undisturbed speed where that is known, ms."""
        m = self.measurement
        return None if m is None or m.is_counted else normalized(m) or statistics(m)

    @property
    def per_s(self) -> float | None:
        """Samples per second: the batch over its latency."""
        s = self.statistics
        return 1e3 * self.batch / s.median if s else None

    @property
    def question(self) -> tuple[str, str, int]:
        """Rows that answer the same question may be compared."""
        return self.model, self.shape, self.batch

    @property
    def place(self) -> str:
        """The device in words, with the number of threads."""
        return f"{self.device_words}, {quantity.plural(self.threads, 'thread') if self.threads else 'all threads'}"

    @property
    def device_words(self) -> str:
        """The device; of a latency that was not measured with its evidence: "edge-gpu (analytic)"."""
        m = self.measurement
        return self.device if m is None or m.evidence is Evidence.MEASURED else f"{self.device} ({m.evidence})"


@dataclass(frozen=True, slots=True)
class Fastest:
    """The fastest row of one question; `rivals` are those that cannot be told from it, the fastest first."""

    row: Swept
    rivals: tuple[Swept, ...]

    @property
    def is_certain(self) -> bool:
        return not self.rivals

    @property
    def equal_within(self) -> float | None:
        """The largest relative difference between the latencies of any rival and of the fastest row with 95 %
        confidence; None without rivals, and where it is unknown."""
        widest = max((_largest_difference(self.row, rival) for rival in self.rivals), default=math.nan)
        return widest if math.isfinite(widest) else None

    @property
    def is_answered(self) -> bool:
        """Whether one is the fastest, or all that may be are equal within `EQUAL`."""
        return self.is_certain or (self.equal_within is not None and self.equal_within <= EQUAL)

    @property
    def sentence(self) -> str:
        """The answer in words."""
        s, row = self.row.statistics, self.row
        assert s is not None
        what = " ".join(filter(None, (row.model, row.shape, f"at batch {row.batch}" if row.batch > 1 else "")))
        median, interval = quantity.estimate(s.median, s.low, s.high)
        if not self.rivals:
            return f"{what}: {row.place} is fastest, {median} ({interval or 'no interval'})"
        within = self.equal_within
        known = "" if within is None else f"; they differ by at most {_whole_percent(within)}"
        if not self.is_answered:
            return f"{what}: cannot tell {' from '.join(r.place for r in (row, *self.rivals))}{known}; raise --budget"
        return f"{what}: {' and '.join(r.place for r in (row, *self.rivals))} are equally fast, {median}{known}"


@dataclass(frozen=True, slots=True)
class Sweep:
    """All rows of a sweep."""

    rows: tuple[Swept, ...]

    @property
    def fastest(self) -> tuple[Fastest, ...]:
        """One for each question that was measured on two devices or more."""
        found = (_fastest(list(rows)) for _, rows in groupby(sorted(self.rows, key=_question), key=_question))
        return tuple(f for f in found if f)

    @property
    def refused(self) -> tuple[Swept, ...]:
        """The rows without a measurement."""
        return tuple(row for row in self.rows if row.measurement is None)

    @property
    def is_converged(self) -> bool:
        """Whether each measurement reached its target and each question is answered."""
        measured = [row.measurement for row in self.rows if row.measurement]
        return all(m.status is Status.CONVERGED for m in measured) and all(f.is_answered for f in self.fastest)


def _question(row: Swept) -> tuple[str, str, int]:
    return row.question


def _fastest(rows: Sequence[Swept]) -> Fastest | None:
    """Calculated and simulated latencies do not compete with measured ones."""
    timed = [(s, r) for r in rows if (s := r.statistics) and r.measurement.evidence is Evidence.MEASURED]  # type: ignore[union-attr]
    if len(timed) < 2:
        return None
    timed.sort(key=lambda pair: pair[0].median)
    (best, row), *others = timed
    return Fastest(row, tuple(r for s, r in others if _bounds(best)[1] >= _bounds(s)[0]))


def _bounds(s: LatencyStatistics) -> tuple[float, float]:
    """The interval, ms; of a single process one that is wide enough for any other process."""
    if math.isfinite(s.low) and math.isfinite(s.high):
        return s.low, s.high
    return s.median / _OF_ONE_PROCESS, s.median * _OF_ONE_PROCESS


def _largest_difference(a: Swept, b: Swept) -> float:
    """How much longer the slower one takes at most, relative, with 95 % confidence: the interval of the logarithm of
    the ratio from those of both (Zou & Donner, Statistics in Medicine 27, 2008); nan without an interval."""
    (a_low, a_mid, a_high), (b_low, b_mid, b_high) = (_logs(row.statistics) for row in (a, b))
    ratio = b_mid - a_mid
    low = ratio - math.hypot(b_mid - b_low, a_high - a_mid)
    high = ratio + math.hypot(b_high - b_mid, a_mid - a_low)
    return math.expm1(max(-low, high))


def _logs(s: LatencyStatistics | None) -> tuple[float, float, float]:
    """Logarithms of the lower bound, the median and the upper bound."""
    if s is None or not (s.low > 0 and math.isfinite(s.high)):
        return math.nan, math.nan, math.nan
    return math.log(s.low), math.log(s.median), math.log(s.high)


def _whole_percent(share: float) -> str:
    """Rounded up."""
    return f"{math.ceil(round(100 * share, 6))} %"


def table(found: Sweep) -> list[dict[str, Any]]:
    """A row for each, for a terminal, Markdown or CSV; with the inputs' shapes where some were asked for."""
    cells = [_cells(row) for row in found.rows]
    hidden = set() if any(row.shape for row in found.rows) else {"input"}
    return [{name: cell for name, cell in row.items() if name not in hidden} for row in cells]


def _cells(row: Swept) -> dict[str, Any]:
    s, m = row.statistics, row.measurement
    undisturbed, plain = (normalized(m), statistics(m)) if m and s else (None, None)
    return {
        "model": row.model,
        "input": row.shape,
        "batch": row.batch,
        "device": row.device_words,
        "threads": row.threads or "all",
        "undisturbed ms": f"{undisturbed.median:.4g}" if undisturbed else "",
        "median ms": f"{plain.median:.4g}" if plain else "",
        "95 % interval": interval_words(m, s) if m and s else "",
        "per s": quantity.significant(row.per_s, 4) if row.per_s else "",
        "memory MiB": f"{m.peak_memory_bytes / 2**20:.0f}" if m and s and m.peak_memory_bytes else "",
        "status": str(m.status) if m else "cannot run",
    }


def record(found: Sweep) -> dict[str, Any]:
    """JSON-ready; what is unknown is null."""
    return {
        "rows": [_record(row) for row in found.rows],
        "fastest": [
            {
                "model": f.row.model, "input": f.row.shape or None, "batch": f.row.batch, "device": f.row.device,
                "threads": f.row.threads, "certain": f.is_certain, "rivals": [r.place for r in f.rivals],
                "equal_within": f.equal_within, "sentence": f.sentence,
            }
            for f in found.fastest
        ],
    }  # fmt: skip


def _record(row: Swept) -> dict[str, Any]:
    s, m = row.statistics, row.measurement
    return {
        "model": row.model, "input": row.shape or None, "batch": row.batch, "device": row.device,
        "threads": row.threads, "evidence": str(m.evidence) if m else None,
        "latency_ms": s.median if s else None,
        "low_ms": s.low if s and math.isfinite(s.low) else None,
        "high_ms": s.high if s and math.isfinite(s.high) else None,
        "per_s": row.per_s, "memory_bytes": (m.peak_memory_bytes or None) if m else None,
        "status": str(m.status) if m else None, "reason": row.reason or None,
        "warnings": [*m.network_warnings, *m.age_warnings] if m else [],
    }  # fmt: skip


def reasons(found: Sweep) -> list[str]:
    """One sentence for each device and reason, with the networks, batches and shapes that it concerns; of a network
    that cannot be opened without the devices, none of which was asked."""
    told = [(row, ("" if row.is_bad_input else f"{row.device} cannot run ", row.reason)) for row in found.refused]
    return [f"{device}{_asked(found, rows)}: {reason}" for (device, reason), rows in _grouped(told).items()]


def missed(found: Sweep) -> list[str]:
    """One sentence for each way in which measurements did not converge: of which networks, batches and shapes, which
    limit ended them, and how far they came."""
    measured = [(row, m) for row in found.rows if (m := row.measurement)]
    told = [(row, (row.place, words)) for row, m in measured for words in not_converged(m)]
    return [f"{_asked(found, rows)}, {place}: {words}" for (place, words), rows in _grouped(told).items()]


def _grouped(told: Iterable[tuple[Swept, tuple[str, str]]]) -> dict[tuple[str, str], list[Swept]]:
    """The rows by the words that are told of them."""
    groups: dict[tuple[str, str], list[Swept]] = {}
    for row, words in told:
        groups.setdefault(words, []).append(row)
    return groups


def _asked(found: Sweep, rows: Sequence[Swept]) -> str:
    """The questions of rows of one device in words: each model with its shapes and batches, where it was asked at
    several and the rows are not all of them."""
    words = []
    for model in dict.fromkeys(row.model for row in rows):
        own = [row for row in rows if row.model == model]
        every = {row.question for row in found.rows if row.model == model and row.device == own[0].device}
        words += [model] if {row.question for row in own} == every else [_where(row, every) for row in own]
    return " and ".join(dict.fromkeys(words))


def _where(row: Swept, every: Collection[tuple[str, str, int]]) -> str:
    """The model with what tells its row from those of the other questions."""
    has_batches = len({batch for _, _, batch in every}) > 1
    return " ".join(filter(None, (row.model, row.shape, f"at batch {row.batch}" if has_batches else "")))


def verdict(found: Sweep) -> Verdict:
    """The answers, and every reason for doubt."""
    answers, refused = found.fastest, reasons(found)
    warned = dict.fromkeys(
        f"{r.model}: {w}." for r in found.rows if (m := r.measurement) for w in (*m.network_warnings, *m.age_warnings)
    )
    doubts = (*refused, *warned, *missed(found))
    if not any(row.measurement for row in found.rows):
        return Verdict(Tone.BAD, "No device can run it", "nothing was measured", doubts)
    measured = quantity.plural(len(found.rows) - len(found.refused), "measurement")
    headline = answers[0].sentence if answers else measured
    support = "; ".join(a.sentence for a in answers[1:]) or measured
    return Verdict(Tone.GOOD if found.is_converged else Tone.CAUTION, headline, support, doubts)


# -- the figure ----------------------------------------------------------------------------------------


def draw(found: Sweep) -> Markup | None:
    """A row for each measurement; side by side its latency with the interval, its throughput and its memory. None
    where nothing has a latency."""
    rows = [(r, s) for r in found.rows if (s := r.statistics)]
    if not rows:
        return None
    names = _names([r for r, _ in rows])
    panel = (_WIDTH - _NAMES) / 3
    y = [_TOP + (i + 0.5) * _ROW for i in range(len(rows))]
    marks = [text(_NAMES - 10, y[i] + 4, shortened(name, _NAMES - 10, 12), "end") for i, name in enumerate(names)]
    columns: tuple[tuple[str, list[float], Callable[[float], str]], ...] = (
        ("latency", [s.median for _, s in rows], quantity.time),
        ("samples per second", [float(r.per_s or 0.0) for r, _ in rows], quantity.significant),
        ("memory", [float(r.measurement.peak_memory_bytes) for r, _ in rows if r.measurement], _mebibytes),
    )
    for n, (name, values, write) in enumerate(columns):
        x = _panel(values, _NAMES + n * panel, panel)
        marks.append(text(x.start, 16, f"{name}, logarithmic" if x.log else name, class_="name"))
        for i, value in enumerate(values):
            end = x.clamped(value) if value > 0 else x.start
            marks.append(rect(x.start, y[i] - 7, end - x.start, 14, f"soft k{n}", f"{names[i]}: {write(value)}"))
            if n == 0 and math.isfinite(rows[i][1].high):
                marks.append(line(x.clamped(rows[i][1].low), y[i], x.clamped(rows[i][1].high), y[i], "whisker"))
            marks.append(text(max(end, x.clamped(rows[i][1].high) if n == 0 else end) + 6, y[i] + 4, write(value)))
    words = "; ".join(f"{name} {quantity.time(s.median)}" for name, (_, s) in zip(names, rows, strict=True))
    return drawing(_TOP + _ROW * len(rows) + 8, f"Latency, throughput and memory: {words}", join(marks), width=_WIDTH)


def _panel(values: Sequence[float], start: float, width: float) -> Scale:
    """From zero, or by logarithm where one outlier would flatten the others."""
    positive = [v for v in values if v > 0] or [1.0]
    is_wide = max(positive) > 20 * min(positive)
    stop = start + width - _GAP - _VALUE
    return Scale(min(positive) / 2 if is_wide else 0.0, max(positive), start, stop, log=is_wide)


def _names(rows: Sequence[Swept]) -> list[str]:
    """The words that tell the rows apart."""
    is_one = len({(r.model, r.shape) for r in rows}) == 1
    batches = len({r.batch for r in rows}) > 1
    return [
        " ".join(filter(None, ("" if is_one else f"{r.model} {r.shape}".strip(), f"batch {r.batch}," if batches else
                               "", r.place)))
        for r in rows
    ]  # fmt: skip


def _mebibytes(size: float) -> str:
    return f"{size / 2**20:.0f} MiB" if size else quantity.UNKNOWN
