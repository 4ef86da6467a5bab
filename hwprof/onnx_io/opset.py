"""Raises a network to a newer opset of ONNX by ONNX's own converter."""

from __future__ import annotations

from dataclasses import replace

from onnx import version_converter
from onnx.shape_inference import InferenceError

from hwprof.errors import InputError, one_line
from hwprof.graph import Graph
from hwprof.onnx_io.inference import infer_and_fold
from hwprof.onnx_io.proto import graph_from_proto, skeleton_of
from hwprof.onnx_io.tensor_uses import settle_weights


def with_opset(graph: Graph, least: int) -> Graph:
    """The network in opset `least`; itself where it has that or a newer one. Its weights keep their names and shapes.

    Raises InputError for a network that ONNX's converter cannot convert.
    """
    version = dict(graph.opsets).get("", 0)
    if version >= least:
        return graph
    try:
        model = version_converter.convert_version(skeleton_of(graph), least)
    except (RuntimeError, InferenceError, version_converter.ConvertError) as error:
        reason = one_line(error)
        raise InputError(f"graph {graph.name!r} cannot be raised from opset {version} to {least}: {reason}") from None
    opsets = tuple((domain, least if domain == "" else v) for domain, v in graph.opsets)
    raised = graph_from_proto(model.graph, (*graph.inputs, *graph.weights), opsets, graph.name)
    known = replace(raised, inputs=graph.inputs, weights=(*graph.weights, *raised.weights))
    declared = [t for t in graph.values if any(t.name in n.outputs and n.domain for n in known.nodes)]
    return settle_weights(infer_and_fold(known, declared))
