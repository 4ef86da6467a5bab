"""Proves that warm-up is over, and classifies how it went (Barrett et al., OOPSLA 2017)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import StrEnum

import numpy as np

# Windows of 10 runs took 24 to 28 runs, those of 5 took 11, after which the first block was as fast as the later ones
# (within 0.1 %, 290 processes of three networks on a quiet machine, 2026-11-29).
WINDOW_RUNS = 5
_FEWEST_RUNS = 3  # of a network so slow that a full window would exceed the time limit


class Warmup(StrEnum):
    """The course of the warm-up."""

    FLAT = "flat"
    WARM_UP = "warm-up"
    SLOWDOWN = "slowdown"
    NOT_STEADY = "not steady"


def warm_up(
    run: Callable[[int], Sequence[int]], min_runs: int, max_s: float, tolerance: float
) -> tuple[list[int], Warmup]:
    """Runs until two consecutive windows agree within `tolerance` and show no slope, or `max_s` has passed.

    run(n) returns n latencies, ns. Returns all of them and the course they took.
    """
    samples: list[int] = list(run(1))
    limit_ns = max_s * 1e9
    window = int(np.clip(limit_ns / 4 / max(samples[0], 1), _FEWEST_RUNS, WINDOW_RUNS))
    least = min(min_runs, 2 * window) if window < WINDOW_RUNS else max(min_runs, 2 * window)
    while len(samples) < least:
        samples += run(min(window, least - len(samples)))
    while not is_steady(samples, window, tolerance):
        if sum(samples) >= limit_ns:
            return samples, Warmup.NOT_STEADY
        samples += run(window)
    return samples, course(samples, window, tolerance)


def is_steady(samples: Sequence[int], window: int, tolerance: float) -> bool:
    """Whether the last two windows agree and the slope over both is indistinguishable from zero.

    Windows agree when their medians differ by at most `tolerance`, or by no more than twice the
    standard error that the scatter within them explains.
    """
    last = np.asarray(samples[-2 * window :], float)
    if len(last) < 2 * window:
        return False
    first, second = last[:window], last[window:]
    level = float(np.median(last))
    error = 2 * 1.2533 * _scatter(last) * np.sqrt(2 / window)  # 1.2533: median against mean of a normal sample
    agree = abs(np.median(second) - np.median(first)) <= max(tolerance * level, error)
    return bool(agree) and _slope_is_flat(last, tolerance * level)


def course(samples: Sequence[int], window: int, tolerance: float) -> Warmup:
    """How the level of the first window compares to that of the last."""
    first, last = float(np.median(samples[:window])), float(np.median(samples[-window:]))
    if first > last * (1 + tolerance):
        return Warmup.WARM_UP
    return Warmup.SLOWDOWN if last > first * (1 + tolerance) else Warmup.FLAT


def _scatter(values: np.ndarray) -> float:
    """A standard deviation that single stalls do not inflate (1.4826 * median absolute deviation)."""
    return 1.4826 * float(np.median(np.abs(values - np.median(values))))


def _slope_is_flat(values: np.ndarray, tolerated_rise: float) -> bool:
    """Whether the 95 % interval of the Theil-Sen rise over the whole window holds zero, or the rise is tolerated."""
    n = len(values)
    i, j = np.triu_indices(n, 1)
    slopes = (values[j] - values[i]) / (j - i)
    rise = float(np.median(slopes)) * (n - 1)
    # Kendall's test of trend: the normal approximation of the sign statistic.
    sign = float(np.sign(values[j] - values[i]).sum())
    bound = 1.96 * np.sqrt(n * (n - 1) * (2 * n + 5) / 18)
    return abs(sign) <= bound or abs(rise) <= tolerated_rise
