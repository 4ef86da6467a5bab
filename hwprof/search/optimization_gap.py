"""The gap between what a supernet says of its networks and what they do alone (the survey Xie et al., Weight-Sharing
Neural Architecture Search: A Battle to Shrink the Optimization Gap, arXiv 2008.01475).

The same figures serve accuracies (by shared weights against trained alone) and latencies (expected, or by a sum of
parts, against measured). Rank correlations are easily good over all networks, because the bad ones are easily told:
a search needs the upper half, which is reported apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hwprof.errors import InputError
from hwprof.metrics import kendall


@dataclass(frozen=True, slots=True)
class Gap:
    """kendall: rank correlation over all networks. kendall_upper: over the better half of them, by their own figures.
    mean: supernet's figure minus that of the network alone."""

    kendall: float
    kendall_upper: float
    mean: float


def optimization_gap(shared: Sequence[float], alone: Sequence[float], is_cost: bool = False) -> Gap:
    """shared, alone: [n], the figures of the same networks by the supernet and alone. is_cost: smaller is better, as
    of latencies.

    Raises InputError for fewer than 4 networks, or figures that are missing or not finite.
    """
    a, b = np.asarray(shared, float), np.asarray(alone, float)
    if a.shape != b.shape or len(a) < 4 or not (np.isfinite(a).all() and np.isfinite(b).all()):
        raise InputError(
            f"an optimization gap needs finite figures of at least 4 networks, by the supernet and alone; "
            f"{a.size} and {b.size} were given"
        )
    better_first = np.argsort(b if is_cost else -b, kind="stable")
    upper = better_first[: (len(b) + 1) // 2]
    return Gap(kendall(b, a), kendall(b[upper], a[upper]), float(np.mean(a - b)))
