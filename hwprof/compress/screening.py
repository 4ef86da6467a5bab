"""Which methods can make a network faster on a device: their smallest network is measured before anything is trained.

A method whose smallest network is not faster has nothing to offer there, however it trains: ternary weights without a
kernel, zeros that dense kernels multiply, a grouped convolution that is slower than the dense one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hwprof.compress import method as methods
from hwprof.compress.choice import Choices
from hwprof.compress.choices import chosen_graph
from hwprof.compress.loop import Job, unknown_cost
from hwprof.compress.networks import only_variant
from hwprof.errors import InputError


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A method that cannot help, and why."""

    name: str
    reason: str


def screened(job: Job, names: Sequence[str]) -> tuple[list[str], list[LeftOut]]:
    """The methods whose smallest network is, or may be, faster than the network itself, and the others. Raises what
    measuring raises."""
    fitting, left_out = [], []
    for name in names:
        reason = _why_not(job, name)
        if reason:
            left_out.append(LeftOut(name, reason))
        else:
            fitting.append(name)
    return fitting, left_out


def _why_not(job: Job, name: str) -> str:
    """Empty for a method that may make the network faster."""
    try:
        smallest = _smallest(job, name)
        if not smallest:
            return f"{name} finds nothing to change in {job.network.graph.name!r}"
        graph = chosen_graph(job.network.graph, smallest, only_variant(job.device))
        if graph == job.network.graph:
            return "its networks are computed like the network itself"
        compared = job.compare(graph.renamed(f"{job.network.graph.name}-smallest-{name}"))
    except InputError as error:
        return str(error)
    if compared.verdict not in ("slower", "same"):
        return ""
    return f"its smallest network is not faster on {job.device.name}: {compared.ratio:.3g} times the latency"


def _smallest(job: Job, name: str) -> Choices:
    """The smallest choices that the method can make; those that it makes itself where there is nothing to decide."""
    method = methods.load(name)
    if options := method.options(job.network.graph):
        return {layer: some[-1] for layer, some in options.items()}
    method.attach(job.network.copy(), unknown_cost)
    return method.choices()
