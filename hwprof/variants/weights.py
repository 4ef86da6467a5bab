"""The weights of a Graph as arrays, and a model made of a Graph and arrays."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, ValueInfoProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from hwprof import plugins
from hwprof.errors import InputError
from hwprof.graph import Graph
from hwprof.onnx_io import materialize, save, to_model
from hwprof.onnx_io.proto import NARROW, array_of, dtype_name, numpy_dtype

if TYPE_CHECKING:
    from hwprof.torch_io import TrainableGraph

Weights = Mapping[str, np.ndarray]


def load_weights(graph: Graph, seed: int = 0) -> dict[str, np.ndarray]:
    """The values of all weights and constants by name, each [*shape] of its tensor: those of `graph.source`, else
    seeded random ones.

    Raises InputError when the source is gone, or holds a weight without values.
    """
    model = materialize(graph, seed)
    stored = {t.name: _array(t) for t in model.graph.initializer}
    weights = constant_arrays(graph) | {t.name: stored[t.name] for t in graph.weights if t.name in stored}
    folded = [t.name for t in graph.weights if t.name not in weights]
    return weights | (_evaluated(model, graph, folded) if folded else {})


def constant_arrays(graph: Graph) -> dict[str, np.ndarray]:
    """The values of the constants by name, each [*shape] of its tensor."""
    return {c.name: array_of(c) for c in graph.constants}


def evaluated(graph: Graph, weights: Weights, names: Collection[str]) -> dict[str, np.ndarray]:
    """The values of tensors that depend only on weights and constants, by name, each [*shape] of its tensor.

    weights: those of the graph by name.
    """
    return _evaluated(model_with(graph, weights), graph, names) if names else {}


def model_with(graph: Graph, weights: Weights) -> ModelProto:
    """The model of the graph with these weights, each of its tensor's shape, which are cast to the graph's types;
    constants keep the graph's values. Raises InputError where a weight is missing."""
    model = to_model(graph)
    own = graph.weight_names
    for tensor in model.graph.initializer:
        if tensor.name in own:
            if tensor.name not in weights:
                raise InputError(f"the weights of {graph.name!r} do not hold its tensor {tensor.name!r}")
            array = weights[tensor.name].astype(helper.tensor_dtype_to_np_dtype(tensor.data_type))
            tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))
    return model


def _array(tensor: TensorProto) -> np.ndarray:
    try:
        array, kind = numpy_helper.to_array(tensor), dtype_name(tensor.data_type)
        return array.astype(NARROW[kind]) if kind in NARROW else array
    except ValueError as error:
        shape = tuple(tensor.dims)
        raise InputError(f"the values of tensor {tensor.name!r} do not fill its shape {shape}: {error}") from None


def save_trained(network: TrainableGraph, path: str | os.PathLike[str]) -> Graph:
    """Writes the network's graph with its present weights as an .onnx file and returns the graph, whose source it is.

    Raises EnvironmentUnfitError when the file cannot be written.
    """
    with plugins.optional_library("writing a trained network"):
        from hwprof.torch_io import weights_of
    save(model_with(network.graph, weights_of(network)), path)
    return network.graph.renamed(network.graph.name, str(Path(path).resolve()))


def _evaluated(model: ModelProto, graph: Graph, names: Iterable[str]) -> dict[str, np.ndarray]:
    """Weights that the file computes from stored ones (a transposed matrix) and from the shapes of its inputs (the
    first states of an LSTM), which loading folds."""
    names = list(names)
    needed = set(names)
    nodes: list[NodeProto] = []
    for node in reversed(model.graph.node):
        if needed.intersection(node.output):
            nodes.insert(0, node)
            needed.update(node.input)
    # Only the shape of an input can matter, or the tensor would not have been folded.
    given = {t.name: np.zeros(t.shape, numpy_dtype(t)) for t in graph.inputs if t.name in needed}
    folded = helper.make_graph(
        nodes, "folded", [ValueInfoProto(name=n) for n in given], [ValueInfoProto(name=n) for n in names],
        [t for t in model.graph.initializer if t.name in needed],
    )  # fmt: skip
    # check_model would want types of the results, which only the evaluation tells
    session = ReferenceEvaluator(helper.make_model(folded, opset_imports=model.opset_import))
    return dict(zip(names, session.run(None, given), strict=True))
