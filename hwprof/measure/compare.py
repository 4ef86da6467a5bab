"""Is B faster than A? Answered by their paired ratio within each round, with an equivalence margin."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from hwprof import metrics
from hwprof.measure import stop
from hwprof.measurement import Comparison, Measurement, Process, ProtocolSettings

MARGIN = 0.02


def log_ratios(a: Sequence[Process], b: Sequence[Process]) -> list[np.ndarray]:
    """For each round that both have: log(B / A) of each pair of neighbouring blocks, [n_pairs]."""
    by_round = {p.round: p for p in b}
    ratios = []
    for process in a:
        other = by_round.get(process.round)
        if other is None:
            continue
        pairs = [
            math.log(np.median(y.latencies_ns) / np.median(x.latencies_ns))
            for x, y in zip(process.blocks, other.blocks, strict=False)
            if not x.rejected and not y.rejected
        ]
        ratios.append(np.array(pairs or [math.log(_median_ns(other) / _median_ns(process))]))
    return ratios


def _median_ns(process: Process) -> float:
    return float(np.median(stop.block_medians_ms(process))) * 1e6


def verdict(low: float, high: float, margin: float) -> str:
    """low, high: interval of B / A. Differences within the margin count as none; an interval that crosses it is
    inconclusive."""
    if math.isnan(low) or math.isnan(high):
        return "inconclusive"
    if low > 1 + margin:
        return "slower"
    if high < 1 / (1 + margin):
        return "faster"
    return "same" if low > 1 / (1 + margin) and high < 1 + margin else "inconclusive"


def ratio_interval(a: Sequence[Process], b: Sequence[Process], coverage: float = 0.95) -> tuple[float, float, float]:
    """B / A with its interval, whose bounds are nan with fewer than two common rounds."""
    logs = log_ratios(a, b)
    if not logs:
        return math.nan, math.nan, math.nan
    low, high = metrics.bootstrap_interval(logs, coverage)
    return math.exp(metrics.median_of_medians(logs)), math.exp(low), math.exp(high)


def is_decided(a: Sequence[Process], b: Sequence[Process], settings: ProtocolSettings, margin: float) -> bool:
    """Whether this round and the one before it gave the same verdict, and one that decides."""
    if min(len(a), len(b)) < settings.min_processes:
        return False
    now, before = (verdict(*ratio_interval(a[:n], b[:n])[1:], margin) for n in (len(a), len(a) - 1))
    return now == before != "inconclusive"


def are_decided(processes: Sequence[Sequence[Process]], settings: ProtocolSettings, margin: float) -> bool:
    """Whether each of several graphs is decided against the first one."""
    first, *others = processes
    return all(is_decided(first, other, settings, margin) for other in others)


def compare(a: Measurement, b: Measurement, margin: float = MARGIN, coverage: float = 0.95) -> Comparison:
    """Compares measurements of one cohort, whose rounds can be paired."""
    ratio, low, high = ratio_interval(a.processes, b.processes, coverage)
    pairs = sum(len(r) for r in log_ratios(a.processes, b.processes))
    return Comparison(a, b, verdict(low, high, margin), ratio, low, high, pairs, margin)


def compare_all(a: Measurement, others: Sequence[Measurement], margin: float = MARGIN) -> list[Comparison]:
    """Compares each with `a`. With m rows each interval is widened so that the share of false verdicts among all
    stays at 5 % (Benjamini & Yekutieli, JASA 100, 2005: the selected rows get coverage 1 - selected * 0.05 / m)."""
    rows = [compare(a, b, margin) for b in others]
    decided = sum(r.verdict in ("faster", "slower") for r in rows)
    if len(rows) < 2 or decided in (0, len(rows)):
        return rows
    return [compare(a, b, margin, coverage=1 - 0.05 * decided / len(rows)) for b in others]
