"""A network for a larger batch: the leading dimension of every input, and of every Reshape's target, is multiplied."""

from __future__ import annotations

from dataclasses import replace

from hwprof.errors import InputError
from hwprof.graph import Constant, Graph, Tensor
from hwprof.onnx_io import infer_types


def with_batch(graph: Graph, batch: int) -> Graph:
    """The same network for inputs [batch, ...] where they are [1, ...]; its weights keep their names.

    Raises InputError where an input has no leading dimension of 1, or where the batch gets lost on the way to an
    output: then the network itself must be built for the batch.
    """
    if batch == 1:
        return graph
    for tensor in graph.inputs:
        if tensor.shape[:1] != (1,):
            raise _unfit(graph, batch, f"input {tensor.name!r} is {list(tensor.shape)}")
    targets = {n.inputs[1] for n in graph.nodes if n.op in ("Reshape", "Expand") and len(n.inputs) > 1}
    enlarged = replace(
        graph,
        inputs=tuple(Tensor(t.name, t.dtype, (batch, *t.shape[1:])) for t in graph.inputs),
        constants=tuple(_enlarged(c, batch) if c.name in targets else c for c in graph.constants),
        values=(),
        source=None,
    )
    try:
        inferred = infer_types(enlarged)
    except InputError as error:
        raise _unfit(graph, batch, str(error)) from None
    for name in graph.outputs:
        if not inferred.has_type(name) or inferred.shape(name) != (batch, *graph.shape(name)[1:]):
            raise _unfit(graph, batch, f"output {name!r} would keep its batch")
    return inferred


def _enlarged(target: Constant, batch: int) -> Constant:
    return replace(target, values=(batch, *target.values[1:])) if target.values[:1] == (1,) else target


def _unfit(graph: Graph, batch: int, reason: str) -> InputError:
    return InputError(
        f"{graph.name!r} cannot run with the device's batch of {batch}: {reason}; use a device of batch 1 and set "
        "the batch with --shape"
    )
