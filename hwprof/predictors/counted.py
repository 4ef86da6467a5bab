"""Counted instructions of the networks of a data set, as features to learn from."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from hwprof.data.dataset import Dataset, Entry
from hwprof.device import Device
from hwprof.errors import InputError
from hwprof.predictors.base import MIN_SAMPLES, LatencyPredictor


@dataclass(frozen=True, slots=True)
class CountedNetworks:
    """Instructions by class, [n_classes], of each network that an emulated device executed as `variant`."""

    device: Device
    variant: str
    counts: Mapping[Hashable, np.ndarray]

    @classmethod
    def of(cls, counted: Dataset, data: Dataset) -> CountedNetworks:
        """Raises InputError for latencies, another space, or too few networks of `data` to learn from."""
        counts = counted.instructions
        if counted.card.device is None or counted.card.space != data.card.space:
            spaces = [dataset.card.space or "no space" for dataset in (counted, data)]
            raise InputError(f"{counted.folder} counts networks of {spaces[0]}; the data set needs {spaces[1]}")
        by_network = {_identity(e): row for e, row in zip(counted.entries, counts, strict=True)}
        found = cls(counted.card.device, counted.card.variant, by_network)
        common = len(found.among(data).entries)
        if common < MIN_SAMPLES:
            raise InputError(
                f"{counted.folder} and {data.folder} have {common} networks in common; {MIN_SAMPLES} are needed"
            )
        return found

    def among(self, data: Dataset) -> Dataset:
        """Returns the data set with only the networks that were counted."""
        return replace(data, entries=tuple(e for e in data.entries if _identity(e) in self.counts))

    def rows(self, data: Dataset) -> np.ndarray:
        """Returns [n, n_classes], in the order of the data set."""
        return np.stack([self.counts[_identity(entry)] for entry in data.entries])


def require_counting(predictor: LatencyPredictor, name: str) -> None:
    """Raises InputError for a predictor that cannot learn from instructions."""
    if "counted" not in predictor.get_params(deep=False):
        raise InputError(f"predictor {name!r} cannot learn from instructions; use --counts with physical")


def _identity(entry: Entry) -> Hashable:
    """Returns the architecture, which a variant keeps, else the digest of the graph."""
    return entry.arch if entry.arch is not None else entry.digest
