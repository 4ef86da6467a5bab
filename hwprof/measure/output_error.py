"""How far the outputs of a quantized network are from those of its float original, on the device that runs both."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

from hwprof.device import Device
from hwprof.graph import Graph, is_quantized
from hwprof.measure.transport import RestartedWorker, Transport, understood

WRONG_ERROR = 0.1  # of the outputs, relative: above it a network hardly computes the same
_NARROW = ("float16", "bfloat16")


def is_approximated(before: Graph, after: Graph) -> bool:
    """Whether `after` has the interface of `before` and computes in fewer bits."""
    (inputs, outputs), other = _interface(before), _interface(after)
    return (inputs, outputs) == other and _is_narrow(after) and not _is_narrow(before)


def relative_rms(
    before: Graph, after: Graph, samples: Sequence[Mapping[str, str]], device: Device, transport: Transport
) -> float:
    """The root mean square of the difference of both networks' float outputs, over that of `before`, on the device; nan
    where the outputs of `before` are 0 or not finite.

    samples: for each the inputs' values as text, such as the path of a .npy file. Raises what the runtime raises, and
    InputError where it does not show outputs.
    """
    pairs = [[replace(graph, given=tuple(sorted({**dict(graph.given), **sample}.items()))).to_json() for graph in
              (before, after)] for sample in samples]  # fmt: skip
    squares = reference = 0.0
    with RestartedWorker(transport, device) as worker:
        for graphs in pairs:
            for answer in worker.ask("output_error", device=device.to_record(with_address=True), graphs=graphs):
                with understood("output_error"):
                    squares += _number(answer["squares"])
                    reference += _number(answer["reference"])
    return math.sqrt(squares / reference) if reference > 0 and math.isfinite(reference) else math.nan


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)


def _interface(graph: Graph) -> tuple[list[tuple[str, str, tuple[int, ...]]], list[tuple[int, ...] | None]]:
    inputs = [(t.name, t.dtype, t.shape) for t in graph.inputs]
    return inputs, [graph.shape(name) if graph.has_type(name) else None for name in graph.outputs]


def _is_narrow(graph: Graph) -> bool:
    return any(map(is_quantized, graph.nodes)) or any(t.dtype in _NARROW for t in graph.weights)
