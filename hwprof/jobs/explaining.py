"""What an emulated core executes of a quantized network and of its float original: which kernels ran, by the counts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hwprof import plugins
from hwprof.data.store import Store
from hwprof.device import Device
from hwprof.graph import Graph
from hwprof.interfaces import CountingBackend
from hwprof.jobs.measuring import Options, profile
from hwprof.measurement import Measurement
from hwprof.report import counted


@dataclass(frozen=True, slots=True)
class CountedPair:
    """Both on one emulated core. Nothing is a time: fewer instructions are a hint at one, no more."""

    before: Measurement
    after: Measurement

    def rows(self) -> list[dict[str, Any]]:
        """A row per class of instructions and one of all, in millions, for a table."""
        rows = []
        for name, before, after in self._figures():
            ratio = f"{after / before:.3f}" if before else "new" if after else ""
            rows.append(
                {"class": name, "before, M": f"{before / 1e6:.4g}", "after, M": f"{after / 1e6:.4g}", "ratio": ratio}
            )
        return rows

    def record(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            "device": self.before.device.name,
            "evidence": str(self.before.evidence),
            "unit": counted.UNIT,
            "before": {"model": self.before.model, **self._side(self.before)},
            "after": {"model": self.after.model, **self._side(self.after)},
        }

    def kernels(self) -> list[str]:
        """One sentence each on which arithmetic ran."""
        return [f"{m.model} on {m.device.name} (emulated): {counted.kernels(m)}" for m in (self.before, self.after)]

    def _side(self, m: Measurement) -> Mapping[str, Any]:
        return {"instructions": m.instructions, "total": counted.total(m), "kernels": counted.kernels(m)}

    def _figures(self) -> list[tuple[str, float, float]]:
        before, after = self.before.instructions, self.after.instructions
        classes = [(name, before[name], after[name]) for name in before]
        return [*classes, ("all", counted.total(self.before), counted.total(self.after))]


def is_counted(device: Device) -> bool:
    """The device is an emulated core."""
    return isinstance(plugins.load("backend", device.backend), CountingBackend)


def explain_counts(before: Graph, after: Graph, device: Device) -> CountedPair:
    """Counts both. Raises as `profile` does."""
    with Store() as store:
        found = [profile(graph, device, store=store, options=Options()) for graph in (before, after)]
    return CountedPair(*found)
