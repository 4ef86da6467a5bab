"""The content of a data set as one JSON-ready record."""

from __future__ import annotations

from typing import Any

import numpy as np

from hwprof.data.dataset import MS, Dataset

_FEWEST = 20  # networks below which a left-out error says little
_DOUBTFUL_HALF_WIDTH = 0.05


def doubts(found: Dataset) -> tuple[str, ...]:
    """Whole sentences on what the data are not good for; empty where nothing speaks against learning from them."""
    facts = summarize(found)
    told = []
    if facts["evidence"] not in ("measured", "emulated"):
        told.append(f"the data are {facts['evidence']}: nothing was measured on {facts['device']}")
    if facts["converged"] is not None and facts["converged"] < facts["networks"]:
        missed = facts["networks"] - facts["converged"]
        told.append(f"{missed} of {facts['networks']} networks did not converge when they were measured")
    if (half_width := facts["half_width"]) is not None and half_width > _DOUBTFUL_HALF_WIDTH:
        told.append(f"the latencies are known to +-{half_width:.0%} only; no predictor can be better than its data")
    if facts["networks"] < _FEWEST:
        told.append(f"{facts['networks']} networks are few: the left-out error is itself uncertain")
    return tuple(told)


def summarize(found: Dataset) -> dict[str, Any]:
    """Range and median of the figures (ms, or millions of instructions), precision, dates, machine and source.

    `half_width`: median of the relative half-widths of the 95 % intervals. Unknown values are None.
    """
    card = found.card
    is_latency = card.unit == MS
    figures = found.normalized_ms if is_latency else found.instructions.sum(axis=1) / 1e6
    unit = "ms" if is_latency else f"m_{card.unit}"  # millions
    statuses = [e.status == "converged" for e in found.entries if e.status]  # imported data have none
    half_widths = [(high - low) / 2 / ms for ms, low, high in (e.label for e in found.entries) if high >= low]
    return {
        "data": str(found.folder),
        "space": card.space,
        "variant": card.variant,
        "device": card.device_name,
        "evidence": card.evidence,
        "networks": card.rows,
        "converged": sum(statuses) if statuses else None,
        f"least_{unit}": float(figures.min()),
        f"median_{unit}": float(np.median(figures)),
        f"most_{unit}": float(figures.max()),
        "half_width": float(np.median(half_widths)) if half_widths else None,
        "first_date": card.first_date,
        "last_date": card.last_date,
        "machine": dict(card.machine),
        "licence": card.licence,
        "source": card.source,
        "description": card.description,
    }
