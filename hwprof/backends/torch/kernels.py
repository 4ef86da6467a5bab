"""The operator pass: torch.profiler on the calls of the module, each labelled with its operator.

A captured CUDA graph replays the kernels of the calls that were captured, so those calls are profiled. On a GPU a
kernel's time is the device's own, which profiling does not change; the reported latency is that of plain runs.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from torch import Tensor, fx
from torch.profiler import record_function

from hwprof.backends import fusion
from hwprof.backends.torch import compiled_code, execution, trace
from hwprof.backends.torch.compiled_code import Unit
from hwprof.backends.torch.settings import Settings
from hwprof.backends.torch.trace import Event, Trace
from hwprof.backends.torch.work_queue import WorkQueue
from hwprof.graph import Graph
from hwprof.measurement import OperatorTime
from hwprof.torch_io import place_of

_MOST_RUNS = 20  # a trace grows by a few kB per operator that runs
_WARMUP = 3
_RUN = f"{trace.LABEL}run"
_GENERATED = re.compile(r"(?:graph_\d+_)?((?:cpp_fused|triton_)\w+)")

Times: TypeAlias = tuple[Sequence[OperatorTime], float]  # the kernels, and the latency of the profiled runs, ns


@dataclass(frozen=True, slots=True)
class OperatorPass:
    """The inputs of the pass. `run` does one plain inference."""

    graph: Graph
    module: fx.GraphModule
    inputs: Sequence[Tensor]
    run: execution.Run
    queue: WorkQueue
    asked: Settings
    threads: int

    def __call__(self, n: int) -> Times:
        """The kernels, ns per inference, over at most 20 runs, and the latency that they are parts of, ns."""
        n = min(n, _MOST_RUNS)
        times, profiled_ns = self._compiled(n) if self.asked.is_compiled else self._called(n)
        return times, self._plain_ns(n) if self.asked.is_cuda else profiled_ns

    def _called(self, n: int) -> Times:
        labelled = _Labelled(self.module)
        found = self._recorded(lambda: labelled.run(*self.inputs), n)
        return _by_operator(self.graph, found, n, self.asked.is_cuda), _mean_run_ns(found)

    def _compiled(self, n: int) -> Times:
        """Compiles once more, so that the code can be read and, on the host's processor, reports its kernels."""
        execution.forget_compiled()
        call = execution.compiled(self.module, self.asked, self.threads, shows_kernels=True)
        units = compiled_code.units(compiled_code.first_call(call, self.inputs))
        found = self._recorded(lambda: call(*self.inputs), n)
        return _by_unit(self.graph, found, units, n, self.asked.is_cuda), _mean_run_ns(found)

    def _recorded(self, call: Callable[[], object], n: int) -> Trace:
        def work() -> None:
            for _ in range(n):
                with record_function(_RUN):
                    call()
            self.queue.wait()

        for _ in range(_WARMUP):
            call()
        self.queue.wait()
        return trace.record(work, self.asked.is_cuda)

    def _plain_ns(self, n: int) -> float:
        self.run()
        start = self.queue.mark()
        for _ in range(n):
            self.run()
        end = self.queue.mark()
        self.queue.wait()
        return self.queue.elapsed_ns(start, end) / n


def _mean_run_ns(found: Trace) -> float:
    runs = [e.duration_us for e in found.labels if e.name == _RUN]
    return 1e3 * sum(runs) / len(runs)


# -- call by call --------------------------------------------------------------------------------------


class _Labelled(fx.Interpreter):
    """Runs a module's calls one by one, each in an interval that is labelled with its operator's index."""

    def run_node(self, n: fx.Node) -> Any:
        place = place_of(n.name)
        if place is None:
            return super().run_node(n)
        with record_function(f"{trace.LABEL}{place}"):
            return super().run_node(n)


def _by_operator(graph: Graph, found: Trace, n: int, on_device: bool) -> Sequence[OperatorTime]:
    """One row for each operator that launched something or, on the host, was called."""
    stretches = [e for e in found.labels if e.name != _RUN]
    spent_us: dict[int, float] = {}
    timed = (
        ((kernel.duration_us, label) for kernel, label in trace.inside(found.kernels, stretches))
        if on_device
        else ((label.duration_us, label) for label in stretches)
    )
    for us, label in timed:
        place = int(label.name.removeprefix(trace.LABEL))
        spent_us[place] = spent_us.get(place, 0.0) + us
    nodes = graph.nodes
    return [
        OperatorTime(nodes[place].label, nodes[place].op, us * 1e3 / n, (nodes[place].label,))
        for place, us in sorted(spent_us.items())
    ]


# -- compiled ------------------------------------------------------------------------------------------


def _by_unit(graph: Graph, found: Trace, units: Sequence[Unit], n: int, on_device: bool) -> Sequence[OperatorTime]:
    """One row for each call of the compiled code. Its members are the operators that the code's comments name, if the
    calls that ran are those of the code; otherwise it has none."""
    ran = _on_device(found, units) if on_device else _on_host(found, units)
    per_run, rest = divmod(len(ran), n)
    if rest or not per_run:  # the calls differ between runs: only their names are known
        return _by_name(ran, n)
    names = [name for name, _ in ran[:per_run]]
    total_us = [sum(us for _, us in ran[i::per_run]) for i in range(per_run)]
    claims: Mapping[int, frozenset[int]] = {}
    if [u.name for u in units] == names:
        claims = fusion.absorb(graph, {i: u.places for i, u in enumerate(units) if u.places})
    rows = []
    for i, (name, us) in enumerate(zip(names, total_us, strict=True)):
        members = claims.get(i, frozenset())
        title = fusion.title(graph, members) if members else name
        rows.append(OperatorTime(title, _kind(name), us * 1e3 / n, fusion.member_names(graph, members)))
    return rows


def _by_name(ran: Iterable[tuple[str, float]], n: int) -> Sequence[OperatorTime]:
    spent_us: dict[str, float] = {}
    for name, us in ran:
        spent_us[name] = spent_us.get(name, 0.0) + us
    return [OperatorTime(name, _kind(name), us * 1e3 / n) for name, us in spent_us.items()]


def _on_host(found: Trace, units: Sequence[Unit]) -> list[tuple[str, float]]:
    """Name and time, us, of each call of the compiled code, in the order in which they ran."""
    known = {u.name for u in units}
    calls = [e for e in found.calls if _unit_name(e) in known or _GENERATED.fullmatch(e.name)]
    return [(_unit_name(e), e.duration_us) for e in trace.outermost(calls)]


def _on_device(found: Trace, units: Sequence[Unit]) -> list[tuple[str, float]]:
    """Name and time, us, as in `_on_host`, with the times of all kernels that a library function launched added up."""
    known = {u.name for u in units}
    library = trace.outermost([e for e in found.calls if e.name in known and e.name.startswith("aten::")])
    callers = {id(kernel): call for kernel, call in trace.inside(found.kernels, library)}
    ran: list[tuple[str, float]] = []
    last: Event | None = None
    for kernel in found.kernels:
        caller = callers.get(id(kernel))
        if caller is not None and caller is last:
            ran[-1] = (ran[-1][0], ran[-1][1] + kernel.duration_us)
        else:
            ran.append((caller.name if caller else kernel.name, kernel.duration_us))
        last = caller
    return ran


def _unit_name(event: Event) -> str:
    match = _GENERATED.fullmatch(event.name)
    return match[1] if match else event.name


def _kind(name: str) -> str:
    """The name of a kernel without its number; equal kernels share one row of the kinds."""
    return re.sub(r"_\d+$", "", name)
