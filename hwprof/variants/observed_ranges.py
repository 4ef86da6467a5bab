"""The lowest and highest value of activations over data, as ONNX Runtime computes them in float."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
from onnx import ModelProto, ValueInfoProto

from hwprof.errors import InputError
from hwprof.files import temporary_folder
from hwprof.graph import Graph
from hwprof.onnx_io import save
from hwprof.onnx_io.proto import NARROW, is_float, value_info
from hwprof.onnx_io.runtime import onnxruntime, plain_errors
from hwprof.variants import softmax_floors
from hwprof.variants.quantized_values import Ranges
from hwprof.variants.weights import Weights, model_with

_ERRORS_ONLY = 3
_FLOATS = ("float64", "float32", "float16")  # of NumPy


def observed(
    graph: Graph, weights: Weights, names: Sequence[str], batches: Iterable[Mapping[str, np.ndarray]]
) -> Ranges:
    """The range of each tensor in `names`.

    graph: a float network; weights: its weights by name, each [*shape] of its tensor; batches: values of its inputs,
    each [*shape] of the input. The ranges of the tensors that lead to a Softmax, stored masks included, are cut as
    `softmax_floors` describes.

    Raises InputError without a batch, for one that does not fit the network, or where a value is not finite.
    """
    _require_arrays(graph)
    model = model_with(graph, weights)
    watched = {*names, *softmax_floors.wanted(graph)}
    known = {output.name for output in model.graph.output}
    inputs = {t.name for t in graph.inputs}
    made = sorted(watched.intersection(graph.producers()))
    stored = {name: _stored(graph, weights, name) for name in watched.difference(made, inputs)}
    model.graph.output.extend(
        value_info(graph.type_of(name)) if graph.has_type(name) else ValueInfoProto(name=name)
        for name in made
        if name not in known
    )
    with temporary_folder() as folder:
        session = _session(graph, model, folder / "float.onnx")
    found: dict[str, tuple[float, float]] = {}
    tops: dict[str, float] = {}
    rows = [node for node in graph.nodes if node.op == "Softmax"]
    for batch in batches:
        given = {t.name: _fitting(graph, t.name, batch) for t in graph.inputs}
        with plain_errors(graph):
            results = session.run(made, given) if made else []  # ONNX Runtime takes an empty list for all outputs
            held = {**stored, **given, **dict(zip(made, results, strict=True))}
        for name in watched:
            low, high = found.get(name, (np.inf, -np.inf))
            # NumPy's minimum and maximum keep NaN, Python's do not
            found[name] = (
                float(np.minimum(low, held[name].min(initial=np.inf))),
                float(np.maximum(high, held[name].max(initial=-np.inf))),
            )
        for node in rows:
            top = softmax_floors.lowest_maximum(node, held[node.inputs[0]])
            tops[node.inputs[0]] = min(tops.get(node.inputs[0], np.inf), top)
    if not found:
        raise InputError(f"the calibration of {graph.name!r} needs at least one batch of data; none was given")
    # A tensor that never held a value, such as a past of length 0, may have any range.
    found = {name: (0.0, 0.0) if span == (np.inf, -np.inf) else span for name, span in found.items()}
    ranges = softmax_floors.cut(graph, found, tops)
    if unfit := [name for name in names if not np.isfinite(ranges[name]).all()]:
        raise _not_finite(graph, weights, unfit[0], ranges[unfit[0]])
    return ranges


def _stored(graph: Graph, weights: Weights, name: str) -> np.ndarray:
    """Raises InputError for a tensor that neither an operator makes nor the weights hold."""
    if name not in weights:
        readers = [f"{node.op} {node.label!r}" for node in graph.nodes if name in node.inputs]
        raise InputError(
            f"{graph.name!r} cannot be calibrated: {name!r}, which {' and '.join(readers) or 'the network'} reads, is "
            "neither an input nor computed, and its file stores no value of it"
        )
    return np.asarray(weights[name])


def _require_arrays(graph: Graph) -> None:
    """Raises InputError for an input of a type that NumPy lacks, in which the runtime takes no array."""
    for tensor in graph.inputs:
        if (is_float(tensor.dtype) and tensor.dtype not in _FLOATS) or tensor.dtype in NARROW:
            raise InputError(
                f"{graph.name!r} cannot be calibrated: ONNX Runtime takes no array for input {tensor.name!r}, which is "
                f"{tensor.dtype}; give the model an input of float32"
            )


def _not_finite(graph: Graph, weights: Weights, name: str, span: tuple[float, float]) -> InputError:
    """Names the tensor, what it holds and where that comes from."""
    node = graph.producers().get(name)
    stored = [i for i in node.inputs if i in weights and not np.isfinite(_real(weights[i])).all()] if node else []
    if node is None:
        origin = "the weights hold it" if name in weights else "the data hold it"
    elif stored:
        origin = f"{node.op} {node.label!r} reads {stored[0]!r}, whose stored values are not finite"
    else:
        origin = f"{node.op} {node.label!r} computes it from these data"
    held = "NaN" if np.isnan(span).any() else "-inf" if span[0] == -np.inf else "inf"
    return InputError(
        f"{graph.name!r} cannot be calibrated: {name!r} holds {held}, and a range that is not finite has no scale; "
        f"{origin}"
    )


def _real(array: np.ndarray) -> np.ndarray:
    """[...]: the array where its type has values that are not finite, else zeros."""
    return array if array.dtype.kind == "f" else np.zeros(array.shape)


def _session(graph: Graph, model: ModelProto, path: Path) -> onnxruntime.InferenceSession:
    """By a file, because a model in memory ends at 2 GiB."""
    save(model, path)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = _ERRORS_ONLY
    options.intra_op_num_threads = 1
    with plain_errors(graph):
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def _fitting(graph: Graph, name: str, batch: Mapping[str, np.ndarray]) -> np.ndarray:
    """Raises InputError for an array that is missing or of another shape."""
    tensor = graph.type_of(name)
    if name not in batch:
        raise InputError(f"a batch holds no input {name!r}; it holds {', '.join(batch) or 'nothing'}")
    array = np.asarray(batch[name])
    if array.shape != tensor.shape:
        raise InputError(f"input {name!r} has the shape {tensor.shape}, a batch has {array.shape}")
    return np.ascontiguousarray(array, tensor.dtype)
