"""Two networks whose blocks alternate in the same processes, compared pair by pair: the drift of a machine cancels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from hwprof.measurement import estimate
from hwprof.measurement.estimate import MAX_REJECTED_SHARE, Clock
from hwprof.measurement.samples import Process


def clock(a: Sequence[Process], b: Sequence[Process], max_rejected_share: float = MAX_REJECTED_SHARE) -> Clock:
    """The clock in which both are compared: CPU time where one of them was disturbed and both have it."""
    is_disturbed = any(estimate.is_disturbed(ps, max_rejected_share) for ps in (a, b))
    is_told = estimate.has_cpu_time(a) and estimate.has_cpu_time(b)
    return Clock.CPU if is_disturbed and is_told else Clock.WALL


def round_ratios(
    a: Sequence[Process], b: Sequence[Process], max_rejected_share: float = MAX_REJECTED_SHARE
) -> dict[int, np.ndarray]:
    """By round, for each that both have: B / A of each two neighbouring blocks that count in the `clock`, [n_pairs]. A
    round without such a pair says nothing of their ratio, and is left out."""
    by = clock(a, b, max_rejected_share)
    others = {p.round: p for p in b}
    cpus = estimate.busy_cpus(b) / estimate.busy_cpus(a) if by is Clock.CPU else 1.0
    found = {p.round: _ratios(p, others[p.round], by) / cpus for p in a if p.round in others}
    return dict(sorted((number, ratios) for number, ratios in found.items() if len(ratios)))


def _ratios(a: Process, b: Process, by: Clock) -> np.ndarray:
    both = zip(a.blocks, b.blocks, strict=False)
    pairs = [(x, y) for x, y in both if estimate.counts(x, by) and estimate.counts(y, by)]
    return np.array([estimate.block_median_ns(y, by) / estimate.block_median_ns(x, by) for x, y in pairs])
