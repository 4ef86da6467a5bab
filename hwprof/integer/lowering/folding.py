"""Operators that read only stored tensors are computed when a network is loaded."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from onnx import helper
from onnx.reference import ReferenceEvaluator

from hwprof.graph import Graph, Node
from hwprof.onnx_io.proto import bodies_of, node_to_proto


def folded(graph: Graph, node: Node, weights: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The node's outputs by name, each of any shape [...]; empty where the node has no input or one is not stored."""
    names = [name for name in node.inputs if name]
    if not names or node.domain or bodies_of(node) or any(name not in weights for name in names):
        return {}
    arrays = {name: np.asarray(weights[name]) for name in names}
    typed = [
        helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(array.dtype), array.shape)
        for name, array in arrays.items()
    ]
    results = [helper.make_empty_tensor_value_info(name) for name in node.outputs if name]
    proto = node_to_proto(node, lambda _: lambda tensor: weights[tensor.name])
    opset = helper.make_opsetid("", dict(graph.opsets).get("", 0))
    model = helper.make_model(helper.make_graph([proto], "stored", typed, results), opset_imports=[opset])
    outputs = ReferenceEvaluator(model).run(None, arrays)
    return dict(zip((name for name in node.outputs if name), outputs, strict=True))
