"""Explaining: where a quantized network loses time against its float original, by the kernels that ran or, on an
emulated core, by the instructions that it executed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Unpack

from hwprof import plugins
from hwprof.device import Device
from hwprof.errors import InputError
from hwprof.graph import Graph
from hwprof.interfaces import CountingBackend
from hwprof.jobs.inputs import Opening, StoreLike, Wanted, device_of, opened
from hwprof.jobs.profiling import profile
from hwprof.measure.fitness import preflight
from hwprof.measure.hold import held
from hwprof.measure.machine import evidence_of
from hwprof.measure.operator_pass import passes_in_turns
from hwprof.measure.recording import Options
from hwprof.measurement import Evidence, Measurement
from hwprof.report import counted
from hwprof.report import explanation as explaining
from hwprof.report.causes import Cause, doubts_of_load, group, middle, total, verdict
from hwprof.report.explanation import Explanation


@dataclass(frozen=True, slots=True)
class CausesOfLoss(Explanation):
    """An explanation with the causes of the whole difference (`causes`, which add up to `total`), and the reasons not
    to trust the times (`doubts`)."""

    causes: tuple[Cause, ...] = ()
    doubts: tuple[str, ...] = ()
    total: Cause | None = None

    @property
    def verdict(self) -> str:
        """One sentence: which network is faster, by how much."""
        return verdict(self, self.total)


@dataclass(frozen=True, slots=True)
class CountedPair:
    """Both networks on one emulated core. The figures are not times: fewer instructions only suggest a shorter time."""

    before: Measurement
    after: Measurement

    def rows(self) -> list[dict[str, Any]]:
        """A row per class of instructions and one for all of them, in millions, for a table."""
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
        """One sentence per network on the arithmetic that ran."""
        return [f"{m.model} on {m.device.name} (emulated): {counted.kernels(m)}" for m in (self.before, self.after)]

    def _side(self, m: Measurement) -> Mapping[str, Any]:
        return {"instructions": m.instructions, "total": counted.total(m), "kernels": counted.kernels(m)}

    def _figures(self) -> list[tuple[str, float, float]]:
        before, after = self.before.instructions, self.after.instructions
        classes = [(name, before[name], after[name]) for name in before]
        return [*classes, ("all", counted.total(self.before), counted.total(self.after))]


def explain(
    before: object,
    after: object = None,
    device: Device | str = "cpu-1t",
    *,
    store: StoreLike = None,
    options: Options | None = None,
    **opening: Unpack[Opening],
) -> CausesOfLoss | CountedPair:
    """The reasons for which `after`, a quantized `before` (or the `variant` of it), is slower or faster, from both
    graphs and the kernels that the device runs; on an emulated core, the instructions of both, which the store
    keeps. opening: as `profile` takes it.

    Raises InputError unless exactly one of `after` and `variant` is given, and for a device that does not run networks.
    """
    wanted = Wanted(**opening)
    if (after is None) == (wanted.variant is None):
        raise InputError("give either a second model or --variant")
    with opened(store, options) as (folder, kept, asked):
        chosen = device_of(device)
        wanted = wanted.on(chosen, asked)
        loaded = [wanted.load(model, folder) for model in (before, after) if model is not None]
        asked.warn_of(loaded)
        a, b = loaded[0], wanted.varied(loaded[-1], folder, asked.on_warning)
        if isinstance(plugins.load("backend", chosen.backend), CountingBackend):
            return CountedPair(*(profile(graph, chosen, store=kept, options=asked) for graph in (a, b)))
        return _explained(a, b, chosen, asked)


def _explained(before: Graph, after: Graph, device: Device, options: Options) -> CausesOfLoss:
    evidence = evidence_of(device)
    if evidence is not Evidence.MEASURED:
        raise InputError(f"explain needs a device that runs networks; {device.name!r} is {evidence}")
    with held(options.limited_transport, device, options.wait_s) as alone:
        pairs = passes_in_turns((before, after), device, alone)
        with alone.open(device) as worker:
            doubts = doubts_of_load(asdict(check) for check in preflight(worker, device))
    machine = pairs[0][1].machine
    passes = [(a.kernels, b.kernels) for a, b in pairs]
    slow, fast = (middle([pair[side].kernels for pair in pairs]) for side in (0, 1))
    found = explaining.explain(before, after, slow, fast, machine)
    return CausesOfLoss(
        found.before, found.after, found.findings, found.before_ns, found.after_ns, found.kernels,
        group(found, passes), doubts, total(found, passes),
    )  # fmt: skip
