"""The report of an emulated core, which has no times: instructions of one inference by class."""

from __future__ import annotations

from collections.abc import Sequence

from hwprof import instructions
from hwprof.instructions import CLASSES, DESCRIPTIONS
from hwprof.measurement import Measurement
from hwprof.report import quantity

UNIT = "instructions"


def total(m: Measurement) -> float:
    """Instructions of one inference. Raises InputError where none were counted."""
    return sum(m.instructions.values())


def words(amount: float) -> str:
    """58.0 M instructions."""
    return f"{quantity.count(amount)} {UNIT}"


def headline(m: Measurement) -> str:
    """The figure in one sentence."""
    return f"{m.model} executes {words(total(m))} per inference on {m.device.name}, emulated"


def support(m: Measurement) -> str:
    """The largest classes, and how well the processes agree."""
    counts = m.instructions
    largest = sorted(counts, key=lambda name: -counts[name])[:3]
    shares = ", ".join(f"{name} {quantity.percent(counts[name] / total(m))}" for name in largest)
    return f"{shares}; {m.status}, {agreement(m)}"


def agreement(m: Measurement) -> str:
    """How far the totals of the processes differ."""
    counted = [instructions.median(p.instructions) for p in m.processes if p.instructions]
    if len(counted) < 2:
        return "1 process"
    return f"totals of {len(counted)} processes within {quantity.percent(instructions.spread(counted))}"


def kernels(m: Measurement) -> str:
    """The kind of kernels that ran, as the kernel library chose them for this core."""
    counts = m.instructions
    if counts["dot"]:
        return f"kernels with int8 dot products: {words(counts['dot'])} of that class"
    if counts["fma"] >= counts["simd"]:
        return "floating-point kernels; no int8 dot product"
    return "vector kernels without int8 dot products"


def rows(m: Measurement) -> list[tuple[str, float, float, str]]:
    """(class, instructions, share, description) of each class; none is left out."""
    counts = m.instructions
    return [(name, counts[name], counts[name] / total(m), DESCRIPTIONS[name]) for name in CLASSES]


def process_totals(m: Measurement) -> Sequence[tuple[str, dict[str, float]]]:
    """(start time, counts by class) of each process."""
    return [(p.started, instructions.median(p.instructions)) for p in m.processes if p.instructions]
