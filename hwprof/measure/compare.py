"""Is B faster than A? Answered by their paired ratio within each round, with an equivalence margin."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeAlias

import numpy as np

from hwprof import metrics
from hwprof.measurement import Comparison, Measurement, Process, ProtocolSettings, pairing
from hwprof.measurement.estimate import MAX_REJECTED_SHARE

MARGIN = 0.02
# In simulation the 95 % interval of three rounds with one ratio each misses in 12 % of cases, that of four in 5 %.
FEWEST_ROUNDS = 4
# Of this many rounds and of one fewer, the bootstrap draws a given one into the middle in 1.1 % of cases: one that is
# far off makes no bound of the 95 % interval.
ROUNDS_AGAINST_ONE = 8

_Question: TypeAlias = Callable[[float, float], str]  # of the bounds of B / A; its answer may be inconclusive


def log_ratios(
    a: Sequence[Process], b: Sequence[Process], max_rejected_share: float = MAX_REJECTED_SHARE
) -> list[np.ndarray]:
    """For each round with a pair that counts (`pairing.round_ratios`): log(B / A) of each pair, [n_pairs]."""
    return [np.log(ratios) for ratios in pairing.round_ratios(a, b, max_rejected_share).values()]


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


def gate(low: float, high: float, limit: float) -> str:
    """Whether B takes at most `limit` longer than A: passed, failed or inconclusive. low, high: interval of B / A."""
    if low > 1 + limit:
        return "failed"
    return "passed" if high <= 1 + limit else "inconclusive"  # a bound that is nan decides nothing


def ratio_interval(a: Sequence[Process], b: Sequence[Process], coverage: float = 0.95) -> tuple[float, float, float]:
    """B / A with its interval, whose bounds are nan with fewer than `FEWEST_ROUNDS` rounds that count."""
    logs = log_ratios(a, b)
    return (_median_ratio(logs), *_interval(logs, coverage))


def is_decided(
    a: Sequence[Process], b: Sequence[Process], settings: ProtocolSettings, margin: float, limit: float | None = None
) -> bool:
    """Whether this round and the one before it gave the same answer, and one that decides: the `gate` of the limit
    or, without one, the verdict."""
    logs = log_ratios(a, b, settings.max_rejected_share)
    return len(logs) >= settings.min_processes and _settled(logs, _question(margin, limit)) != "inconclusive"


def are_decided(
    processes: Sequence[Sequence[Process]], settings: ProtocolSettings, margin: float, limit: float | None = None
) -> bool:
    """Whether each of several graphs is decided against the first one."""
    first, *others = processes
    return all(is_decided(first, other, settings, margin, limit) for other in others)


def hang_on_one_round(
    processes: Sequence[Sequence[Process]], settings: ProtocolSettings, margin: float, limit: float | None = None
) -> bool:
    """Whether all graphs but those that are decided against the first one would be without the round that is furthest
    off, and have so few rounds that this one can decide (`ROUNDS_AGAINST_ONE`): some more would give an answer."""
    first, *others = processes
    open_ = [other for other in others if not is_decided(first, other, settings, margin, limit)]
    found = [log_ratios(first, other, settings.max_rejected_share) for other in open_]
    asked = _question(margin, limit)
    return bool(found) and all(_hangs_on_one(logs, asked) for logs in found)


def _hangs_on_one(logs: Sequence[np.ndarray], asked: _Question) -> bool:
    if not FEWEST_ROUNDS <= len(logs) < ROUNDS_AGAINST_ONE:
        return False
    centre = metrics.median_of_medians(logs)
    others = sorted(logs, key=lambda ratios: abs(float(np.median(ratios)) - centre))[:-1]
    return asked(*_bounds(others, coverage=0.95)) != "inconclusive"


def settled_verdict(a: Sequence[Process], b: Sequence[Process], settings: ProtocolSettings, margin: float) -> str:
    """The verdict of all rounds, if that of all but the last is the same; otherwise inconclusive."""
    return _settled(log_ratios(a, b, settings.max_rejected_share), _question(margin))


def compare(a: Measurement, b: Measurement, margin: float = MARGIN, coverage: float = 0.95) -> Comparison:
    """Compares measurements of one cohort, whose rounds can be paired. With fewer than `FEWEST_ROUNDS` rounds that
    count there is no interval. The verdict is inconclusive unless the last round and the one before it gave the same.
    """
    logs = log_ratios(a.processes, b.processes, a.protocol.max_rejected_share)
    low, high = _interval(logs, coverage)
    pairs = sum(len(r) for r in logs)
    return Comparison(a, b, _settled(logs, _question(margin), coverage), _median_ratio(logs), low, high, pairs, margin)


def _question(margin: float, limit: float | None = None) -> _Question:
    return partial(verdict, margin=margin) if limit is None else partial(gate, limit=limit)


def _settled(logs: Sequence[np.ndarray], asked: _Question, coverage: float = 0.95) -> str:
    """The answer of all rounds and of all but the last; inconclusive where these differ or there are too few."""
    if len(logs) < FEWEST_ROUNDS:
        return "inconclusive"
    now, before = (asked(*_bounds(logs[:n], coverage)) for n in (len(logs), len(logs) - 1))
    return now if now == before else "inconclusive"


def _median_ratio(logs: Sequence[np.ndarray]) -> float:
    return math.exp(metrics.median_of_medians(logs)) if logs else math.nan


def _interval(logs: Sequence[np.ndarray], coverage: float) -> tuple[float, float]:
    return _bounds(logs, coverage) if len(logs) >= FEWEST_ROUNDS else (math.nan, math.nan)


def _bounds(logs: Sequence[np.ndarray], coverage: float) -> tuple[float, float]:
    low, high = metrics.bootstrap_interval(logs, coverage)
    return math.exp(low), math.exp(high)


def compare_all(a: Measurement, others: Sequence[Measurement], margin: float = MARGIN) -> list[Comparison]:
    """Compares each with `a`. With m rows each interval is widened so that the share of false verdicts among all
    stays at 5 % (Benjamini & Yekutieli, JASA 100, 2005: the selected rows get coverage 1 - selected * 0.05 / m)."""
    rows = [compare(a, b, margin) for b in others]
    decided = sum(r.verdict in ("faster", "slower") for r in rows)
    if len(rows) < 2 or decided in (0, len(rows)):
        return rows
    return [compare(a, b, margin, coverage=1 - 0.05 * decided / len(rows)) for b in others]
