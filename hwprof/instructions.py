"""Executed instructions by class: the figures of an emulated core, which has no times."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeAlias

import numpy as np

CLASSES = ("integer", "load", "store", "simd", "fma", "dot", "float", "branch", "other")
DESCRIPTIONS = {
    "integer": "integer arithmetic and addresses",
    "load": "reads of memory",
    "store": "writes to memory",
    "simd": "vector arithmetic other than the next two",
    "fma": "floating-point multiply-adds",
    "dot": "int8 dot products and matrix products",
    "float": "scalar floating point",
    "branch": "jumps and calls",
    "other": "system registers, barriers, hints",
}

Counts: TypeAlias = Mapping[str, int]  # executed instructions of one inference, by class


def vector(counts: Mapping[str, float]) -> np.ndarray:
    """[n_classes], in the order of `CLASSES`."""
    return np.array([counts[name] for name in CLASSES], float)


def median(counts: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """The median by class. counts: at least one."""
    middle = np.median([vector(c) for c in counts], axis=0)
    return dict(zip(CLASSES, middle.tolist(), strict=True))


def spread(counts: Sequence[Mapping[str, float]]) -> float:
    """The relative distance of the largest total from the smallest; 0 for a single one."""
    totals = [sum(c.values()) for c in counts]
    return max(totals) / min(totals) - 1
