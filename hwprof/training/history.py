"""The record of a training: its loss and metric, epoch by epoch."""

from __future__ import annotations

import math
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class EpochResult:
    """number: from 0. loss: the task's, without what hooks add; mean over the batches, each before it was learned from.
    metric: after the epoch, in the task's unit; None where none was taken. seconds: of training and validation; not
    compared. higher_is_better: of the metric."""

    number: int
    loss: float
    metric: float | None
    seconds: float = field(compare=False)
    higher_is_better: bool = True

    @property
    def score(self) -> float | None:
        """The metric, or minus it, so that larger is better; minus infinity where it is not a number, None where none
        was taken."""
        if self.metric is None:
            return None
        signed = self.metric if self.higher_is_better else -self.metric
        return -math.inf if math.isnan(signed) else signed


@dataclass(frozen=True, slots=True)
class History:
    """epochs: in order. kept: the number of the epoch whose state the network has now."""

    epochs: tuple[EpochResult, ...]
    kept: int

    @property
    def metric(self) -> float | None:
        """The metric of the epoch that was kept."""
        return self.epochs[self.kept].metric
