"""Whether a predictor's errors follow the order in which its rows were measured: then the device drifted meanwhile.

A phone that is throttled while a data set is measured is slow for hundreds of rows in a row. No model of the network
can know that, and its error is reached by none: after the drift was taken out, 1.1 to 1.7 % were left of the 2.5 to
5.3 % of the HAT data sets of Wang et al. (arXiv 2005.14187).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.stats import rankdata

FEWEST = 30  # rows from which a drift can be told
_LEAST = 0.3  # correlation of neighbours below which a drift would not explain much
_SIGMAS = 4.0  # of the correlation of rows in random order
_WINDOW = 25  # rows, over which a drift hardly changes


@dataclass(frozen=True, slots=True)
class Drift:
    """The correlation of the errors of neighbouring rows, by rank; the mean absolute error in percent, as it is and
    with a running median over the rows taken out."""

    correlation: float
    mape: float
    mape_without: float


def drift(errors: np.ndarray) -> Drift | None:
    """errors: [n], log(measured / predicted) in the order in which the rows were measured. Returns None where the
    order does not matter, or there are too few rows to tell."""
    n = len(errors)
    if n < FEWEST:
        return None
    ranks = rankdata(errors)
    correlation = float(np.corrcoef(ranks[:-1], ranks[1:])[0, 1])
    if not correlation > max(_LEAST, _SIGMAS / math.sqrt(n)):
        return None
    rest = errors - _running_median(errors)
    return Drift(correlation, 100 * float(np.abs(errors).mean()), 100 * float(np.abs(rest).mean()))


def _running_median(errors: np.ndarray) -> np.ndarray:
    """errors: [n]. Returns [n], the median of each row's neighbours, up to half a window on each side, without the row
    itself."""
    half = _WINDOW // 2
    around = [np.concatenate([errors[max(0, i - half) : i], errors[i + 1 : i + 1 + half]]) for i in range(len(errors))]
    return np.array([np.median(some) for some in around])
