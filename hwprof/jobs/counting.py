"""Counted instructions as features: of networks in a data set, and of one that is to be predicted."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from hwprof import instructions
from hwprof.data import dataset
from hwprof.data.dataset import Dataset, Entry
from hwprof.data.store import Store
from hwprof.device import Device
from hwprof.errors import InputError
from hwprof.graph import Graph
from hwprof.jobs.profiling import profile
from hwprof.measure.recording import Options
from hwprof.predictors.base import MIN_SAMPLES, LatencyPredictor
from hwprof.variants.spec import change


@dataclass(frozen=True, slots=True)
class CountedNetworks:
    """Instructions by class, [n_classes], of each network that an emulated device executed as `variant`."""

    device: Device
    variant: str
    counts: Mapping[Hashable, np.ndarray]

    @classmethod
    def of(cls, folder: Path, data: Dataset) -> CountedNetworks:
        """Raises InputError for latencies, another space, or fewer networks of `data` than can be learned from."""
        found = dataset.read(folder)
        counts = found.instructions
        if found.card.device is None or found.card.space != data.card.space:
            raise InputError(
                f"{folder} counts networks of {found.card.space or 'no space'}, not of {data.card.space or 'none'}"
            )
        by_network = {_identity(e): row for e, row in zip(found.entries, counts, strict=True)}
        counted = cls(found.card.device, found.card.variant, by_network)
        common = len(counted.among(data).entries)
        if common < MIN_SAMPLES:
            raise InputError(
                f"{folder} and {data.folder} have {common} networks in common; {MIN_SAMPLES} are the fewest"
            )
        return counted

    def among(self, data: Dataset) -> Dataset:
        """The networks of the data set that were counted."""
        return replace(data, entries=tuple(e for e in data.entries if _identity(e) in self.counts))

    def rows(self, data: Dataset) -> np.ndarray:
        """[n, n_classes], in the order of the data set."""
        return np.stack([self.counts[_identity(entry)] for entry in data.entries])


def count_instructions(graph: Graph, device: Device, variant: str) -> np.ndarray:
    """[n_classes]: what the variant of the graph executes on the emulated device."""
    with Store() as store:
        measurement = profile(change(variant)(graph), device, store=store, options=Options())
    return instructions.vector(measurement.instructions)


def require_counting(predictor: LatencyPredictor, name: str) -> None:
    """Raises InputError for a predictor that has no use for instructions."""
    if "counted" not in predictor.get_params(deep=False):
        raise InputError(f"predictor {name!r} learns nothing from instructions; --counts is for physical")


def _identity(entry: Entry) -> Hashable:
    """The architecture, which a variant keeps, else the digest of the graph."""
    return entry.arch if entry.arch is not None else entry.digest
