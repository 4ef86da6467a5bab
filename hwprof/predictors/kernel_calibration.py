"""Fits a sum over kernels that was learned on one machine to a few networks that were measured on another.

The start, the multiply-adds, the bytes and the launches each get a factor. A common factor is nearly free, and the four
differ from it little, so that five networks do not say more than they know.

2026-11-29, 260 generic networks of one CPU, tested on four spaces that another CPU had measured (MAPE; the mean of 12
draws; "elsewhere": no network of the tested space was calibrated with):

    networks                    0      3      5     10     20
    one factor               19.7   15.8   15.2   15.8   14.3
    four factors             19.7   14.9   14.1   14.1   14.0
    elsewhere, one factor    19.7   18.5   19.1   19.8   18.8
    elsewhere, four factors  19.7   18.5   17.1   18.0   17.7
    `physical`, nothing else             34.6   32.6   19.5
"""

from __future__ import annotations

import numpy as np
from scipy.optimize import least_squares

COMMON_SIGMA, OWN_SIGMA = 1.0, 0.15  # of the logarithms of the factors
_NOISE = 0.1  # of the logarithm of a latency


def log_factors(parts_ms: np.ndarray, log_ms: np.ndarray) -> np.ndarray:
    """parts_ms: [n_members, n, 4], what the start, multiply-adds, bytes and launches of each network take by each
    member; log_ms: [n], measured. Returns the logarithms of their factors, [4]."""

    def misfits(found: np.ndarray) -> np.ndarray:
        common, own = found[0], found[1:]
        errors = log_totals(parts_ms, common + own) - log_ms
        return np.concatenate([errors / _NOISE, [common / COMMON_SIGMA], own / OWN_SIGMA])

    start = np.append(np.median(log_ms - log_totals(parts_ms, np.zeros(4))), np.zeros(4))
    found = least_squares(misfits, start, loss="soft_l1").x
    return np.asarray(found[0] + found[1:])


def log_totals(parts_ms: np.ndarray, factors: np.ndarray) -> np.ndarray:
    """parts_ms: [n_members, n, 4]; factors: [4], logarithms. Returns log ms, [n], the mean of the members."""
    return np.asarray(np.log(parts_ms @ np.exp(factors)).mean(axis=0))


def left_out(parts_ms: np.ndarray, log_ms: np.ndarray) -> np.ndarray:
    """parts_ms: [n_members, n, 4]; log_ms: [n], n >= 2. Returns log(measured / predicted), [n], by the factors of all
    other networks."""
    errors = np.empty(len(log_ms))
    for i in range(len(log_ms)):
        others = np.arange(len(log_ms)) != i
        factors = log_factors(parts_ms[:, others], log_ms[others])
        errors[i] = log_ms[i] - log_totals(parts_ms[:, i : i + 1], factors)[0]
    return errors
