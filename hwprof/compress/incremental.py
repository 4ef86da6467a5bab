"""Incremental quantization: parts of the weights get their final values, and the rest trains on to make up for it
(Zhou et al., Incremental Network Quantization, ICLR 2017, arXiv 1702.03044). Methods differ in the parts and their
order.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from hwprof.training import Hooks

_DONE_AT = 0.8  # share of the training after which all weights have their final values


class PartlyFixed(nn.Module):
    """Replaces those elements of a weight that are fixed; the others train. is_fixed: bool, values: float, both
    [*shape]."""

    is_fixed: Tensor
    values: Tensor

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.register_buffer("is_fixed", torch.zeros_like(weight, dtype=torch.bool))
        self.register_buffer("values", torch.zeros_like(weight))

    def forward(self, weight: Tensor) -> Tensor:
        """weight: [*shape]. Returns [*shape]."""
        return torch.where(self.is_fixed, self.values, weight)

    def fix(self, elements: Tensor, values: Tensor) -> None:
        """From now on the elements, bool [*shape], have these values, [*shape]."""
        self.values = torch.where(elements, values, self.values)  # not in place: a backward pass may need the old ones
        self.is_fixed = self.is_fixed | elements

    @property
    def is_whole(self) -> bool:
        return bool(self.is_fixed.all())


class InStages(Hooks):
    """fix: takes the number of a stage, from 0, and fixes its part. Stages are spread evenly over the training, up to
    `_DONE_AT` of it, the first at its start."""

    def __init__(self, parts: Mapping[str, PartlyFixed], n_stages: int, fix: Callable[[int], None]) -> None:
        self._parts, self._n_stages, self._fix = parts, n_stages, fix
        self._done = torch.zeros((), dtype=torch.int64)  # stages

    def penalty(self, progress: float) -> float:
        due = 1 + math.floor(progress / _DONE_AT * (self._n_stages - 1)) if self._n_stages > 1 else 1
        self.finish(min(due, self._n_stages))
        return 0.0

    def finish(self, n_stages: int | None = None) -> None:
        """Fixes the parts up to that stage; all by default."""
        with torch.no_grad():
            while self._done < (self._n_stages if n_stages is None else n_stages):
                self._fix(int(self._done))
                self._done += 1

    def state(self) -> Mapping[str, Tensor]:
        """The number of finished stages, []."""
        return {"stages": self._done}

    def may_be_kept(self) -> bool:
        return all(part.is_whole for part in self._parts.values())
