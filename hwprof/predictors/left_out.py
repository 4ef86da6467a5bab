"""The error of a fitted predictor on networks that it did not learn from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

_RESAMPLES = 2000


@dataclass(frozen=True, slots=True)
class LeftOutError:
    """Cross-validated MAPE in percent, and the bounds of its 90 % interval over the networks."""

    mape: float
    low: float
    high: float


def left_out_error(errors: np.ndarray) -> LeftOutError:
    """errors: [n], log(measured / predicted) of networks left out, as latency predictors keep them in `errors_`."""
    percent = 100 * np.abs(np.expm1(-np.asarray(errors, float)))
    rng = np.random.default_rng(0)
    means = percent[rng.integers(len(percent), size=(_RESAMPLES, len(percent)))].mean(axis=1)
    low, high = np.quantile(means, [0.05, 0.95])
    return LeftOutError(float(percent.mean()), float(low), float(high))
