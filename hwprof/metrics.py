"""Figures of merit: bootstrap intervals for latencies, errors and rank correlations for predictors."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from hwprof.errors import InputError

# Two-sided 97.5 % quantiles of Student's t for 1 to 19 degrees of freedom.
_T_975 = (12.71, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228,
          2.201, 2.179, 2.160, 2.145, 2.131, 2.120, 2.110, 2.101, 2.093)  # fmt: skip
_Z_975 = 1.960


def median_of_medians(processes: Sequence[np.ndarray]) -> float:
    """processes: one array of block values each, of any lengths. Returns the median of their medians."""
    return float(np.median([np.median(p) for p in processes]))


def bootstrap_interval(
    processes: Sequence[np.ndarray], coverage: float = 0.95, resamples: int = 2000, seed: int = 0
) -> tuple[float, float]:
    """Two-level bootstrap (processes, then blocks within each) of `median_of_medians`.

    processes: [n_blocks] each, any unit. Returns the lower and upper bound in the same unit. The
    percentile interval of few processes is too narrow; its distance to the estimate is widened by
    t / z * sqrt(n / (n - 1)) (Hesterberg, The American Statistician 69(4), 2015, section 4.4).
    One process has no interval: (nan, nan). Raises InputError without any.
    """
    n = len(processes)
    if n == 0 or any(len(p) == 0 for p in processes):
        raise InputError("an interval needs at least one block in every process")
    if n == 1:
        return float("nan"), float("nan")
    rng = np.random.default_rng(seed)
    medians = np.stack([_resampled_medians(np.asarray(p, float), resamples, rng) for p in processes])
    chosen = rng.integers(n, size=(resamples, n))
    # Each pick of a process takes another of its resampled medians, so that picks are independent.
    pick = rng.integers(resamples, size=(resamples, n))
    estimates = np.median(medians[chosen, pick], axis=1)
    tail = (1 - coverage) / 2
    low, high = np.quantile(estimates, [tail, 1 - tail])
    centre = median_of_medians(processes)
    t = _T_975[n - 2] if n - 2 < len(_T_975) else _Z_975
    widen = t / _Z_975 * np.sqrt(n / (n - 1))
    return float(centre - widen * (centre - low)), float(centre + widen * (high - centre))


def _resampled_medians(values: np.ndarray, resamples: int, rng: np.random.Generator) -> np.ndarray:
    drawn = values[rng.integers(len(values), size=(resamples, len(values)))]
    return np.asarray(np.median(drawn, axis=1))
