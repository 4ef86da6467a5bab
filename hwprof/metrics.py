"""Figures of merit: bootstrap intervals for latencies; errors and rank correlations for predictors."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import NormalDist

import numpy as np

from hwprof.errors import InputError

# Two-sided 97.5 % quantiles of Student's t for 1 to 19 degrees of freedom.
_T_975 = (12.71, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228,
          2.201, 2.179, 2.160, 2.145, 2.131, 2.120, 2.110, 2.101, 2.093)  # fmt: skip
_Z_975 = 1.960


def median_of_medians(processes: Sequence[np.ndarray]) -> float:
    """processes: [n_blocks] each, any unit and any lengths. Returns the median of their medians."""
    return float(np.median([np.median(p) for p in processes]))


def bootstrap_interval(
    processes: Sequence[np.ndarray], coverage: float = 0.95, resamples: int = 2000, seed: int = 0
) -> tuple[float, float]:
    """Bootstrap over the processes of `median_of_medians`.

    The processes' medians vary by the scatter of their blocks already. A second level, of blocks within each process,
    counted it twice: in simulation with blocks that scatter 3 times as much as processes its interval covered in 99 to
    100 % of cases, and this one, which is a quarter narrower, in 97 % (2026-11-29; 91 % for three processes).

    processes: [n_blocks] each, any unit. Returns the lower and upper bound in the same unit; (nan, nan) for a single
    process. The percentile interval of few processes is too narrow, so its distance to the estimate is widened by
    t / z * sqrt(n / (n - 1)) (Hesterberg, The American Statistician 69(4), 2015, section 4.4). Raises InputError
    without any process, or for one without blocks.
    """
    n = len(processes)
    if n == 0 or any(len(p) == 0 for p in processes):
        raise InputError("an interval needs at least one block in every process")
    if n == 1:
        return float("nan"), float("nan")
    medians = np.array([np.median(p) for p in processes])
    chosen = np.random.default_rng(seed).integers(n, size=(resamples, n))
    estimates = np.median(medians[chosen], axis=1)
    return _widened_interval(median_of_medians(processes), estimates, n, coverage)


def _widened_interval(centre: float, estimates: np.ndarray, n: int, coverage: float) -> tuple[float, float]:
    """Scaled from the 95 % quantiles of the estimates: few processes have too few different medians for others."""
    low, high = np.quantile(estimates, [0.025, 0.975])
    widen = _t_quantile(1 - (1 - coverage) / 2, n - 1) / _Z_975 * np.sqrt(n / (n - 1))
    return float(centre - widen * (centre - low)), float(centre + widen * (high - centre))


def _t_quantile(level: float, freedom: int) -> float:
    """Quantile of Student's t: from a table for 97.5 %; for other levels times the ratio of both by the expansion in
    Abramowitz & Stegun, 26.7.5."""
    exact = _T_975[freedom - 1] if freedom <= len(_T_975) else _Z_975
    return exact * _expanded_t(level, freedom) / _expanded_t(0.975, freedom)


def _expanded_t(level: float, freedom: int) -> float:
    z = NormalDist().inv_cdf(level)
    first, second = (z**3 + z) / 4, (5 * z**5 + 16 * z**3 + 3 * z) / 96
    return z + first / freedom + second / freedom**2


def weighted_median(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """values, weights: [..., n]. Returns [...]: along the last axis, the value where half of the weight is reached.

    Where exactly half is reached, it is the middle between that value and the next one.
    """
    order = np.argsort(values, axis=-1)  # numpy's quantile takes weights too, but is 10 times as slow
    ordered = np.take_along_axis(values, order, axis=-1)
    reached = np.cumsum(np.take_along_axis(weights, order, axis=-1), axis=-1)
    half = reached[..., -1:] / 2
    middle = np.stack([(reached < half).sum(axis=-1), (reached <= half).sum(axis=-1)], axis=-1)
    return np.asarray(np.take_along_axis(ordered, middle, axis=-1).mean(axis=-1))


def weighted_bootstrap_interval(
    processes: Sequence[np.ndarray],
    weights: Sequence[np.ndarray],
    coverage: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> tuple[float, float]:
    """`bootstrap_interval` for the weighted median of all blocks: a resampled process comes with all its blocks.
    processes, weights: [n_blocks] each."""
    n = len(processes)
    if n == 1:
        return float("nan"), float("nan")
    sizes = np.array([len(p) for p in processes])
    values, masses = np.zeros((2, n, sizes.max()))
    for i, (p, w) in enumerate(zip(processes, weights, strict=True)):
        values[i, : len(p)], masses[i, : len(p)] = p, w
    chosen = np.random.default_rng(seed).integers(n, size=(resamples, n))
    estimates = weighted_median(values[chosen].reshape(resamples, -1), masses[chosen].reshape(resamples, -1))
    centre = float(weighted_median(np.concatenate(processes), np.concatenate(weights)))
    return _widened_interval(centre, estimates, n, coverage)


# -- predictors ----------------------------------------------------------------------------------------


def mape(measured: np.ndarray, predicted: np.ndarray) -> float:
    """measured, predicted: [n], in one unit. Returns the mean absolute error relative to the measured values, percent.
    Raises InputError for different lengths, no values, or measured values that are not positive."""
    return 100 * float(np.abs(_relative_errors(measured, predicted)).mean())


def within(measured: np.ndarray, predicted: np.ndarray, percent: float = 10.0) -> float:
    """measured, predicted: [n], in one unit. Returns the share of networks, percent, whose relative error is at most
    `percent`. Raises as `mape` does."""
    return 100 * float((np.abs(_relative_errors(measured, predicted)) <= percent / 100).mean())


def coverage(measured: np.ndarray, low: np.ndarray, high: np.ndarray) -> float:
    """measured, low, high: [n]. Returns the share, percent, of measured values inside their intervals."""
    return 100 * float(((low <= measured) & (measured <= high)).mean())


def kendall(a: np.ndarray, b: np.ndarray) -> float:
    """a, b: [n]. Returns Kendall's tau-b: ties count neither for nor against. nan when one of them is constant."""
    x, y = np.asarray(a, float), np.asarray(b, float)
    balance = ties_x = ties_y = 0
    for i in range(len(x) - 1):  # row by row, not the whole n x n matrix: n may be 15,000
        dx, dy = np.sign(x[i + 1 :] - x[i]), np.sign(y[i + 1 :] - y[i])
        balance += int(dx @ dy)
        ties_x += int((dx == 0).sum())
        ties_y += int((dy == 0).sum())
    pairs = len(x) * (len(x) - 1) // 2
    scale = float(np.sqrt((pairs - ties_x) * float(pairs - ties_y)))
    return balance / scale if scale else float("nan")


def spearman(a: np.ndarray, b: np.ndarray) -> float:
    """a, b: [n]. Returns Spearman's rho, the correlation of the ranks; ties share their mean rank. nan when one of them
    is constant."""
    ranks = [_ranks(np.asarray(values, float)) for values in (a, b)]
    if any(np.ptp(r) == 0 for r in ranks):
        return float("nan")
    return float(np.corrcoef(ranks[0], ranks[1])[0, 1])


def noise_floor(measured: np.ndarray, groups: Sequence[object]) -> float:
    """measured: [n]; groups: [n] labels, equal for networks that compute the same.

    Returns the MAPE, percent, of an oracle that knows the mean of each group. Only groups of two or more networks
    count; nan if there are none.
    """
    values = np.asarray(measured, float)
    _, member, sizes = np.unique(np.asarray(groups, str), return_inverse=True, return_counts=True)
    repeated = sizes[member] > 1
    if not repeated.any():
        return float("nan")
    means = np.bincount(member, values) / sizes
    return mape(values[repeated], means[member][repeated])


def _relative_errors(measured: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """Returns predicted / measured - 1, [n]. Raises InputError as `mape` does."""
    m, p = np.asarray(measured, float), np.asarray(predicted, float)
    if m.shape != p.shape or not m.size:
        raise InputError(f"an error needs as many predictions as measurements; {p.size} and {m.size} were given")
    if not (m > 0).all():
        raise InputError(f"a relative error needs positive measurements; the smallest given is {m.min()}")
    return np.asarray(p / m - 1)


def _ranks(values: np.ndarray) -> np.ndarray:
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return np.asarray(((last - counts + 1 + last) / 2)[inverse])
