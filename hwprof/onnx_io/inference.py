"""Types of all tensors by ONNX shape inference, and folding of everything that does not depend on an input."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace

import numpy as np
from onnx import GraphProto, NodeProto, TensorProto, ValueInfoProto, helper
from onnx.reference import ReferenceEvaluator
from onnx.shape_inference import InferenceError, infer_shapes

from hwprof.errors import InputError, one_line
from hwprof.graph import Constant, Graph, Node, Tensor, captured
from hwprof.onnx_io import pool_shapes
from hwprof.onnx_io.contrib_types import missing_types
from hwprof.onnx_io.packed import reads_packed
from hwprof.onnx_io.proto import (
    NARROW,
    UNDEFINED,
    array_of,
    bodies_of,
    constant_of,
    dtype_name,
    keeps_values,
    node_to_proto,
    skeleton_of,
    tensor_type,
    value_info,
    with_bodies,
    zeros,
)
from hwprof.onnx_io.result_size import is_moderate

# Random results are new at each run; an image may unpack to any size; a network without its dequantized weights would
# not be a quantized one.
_FLOAT32 = TensorProto.FLOAT
NEVER_FOLDED = frozenset({
    "DequantizeLinear", "RandomNormal", "RandomUniform", "RandomNormalLike", "RandomUniformLike", "Multinomial",
    "Bernoulli", "ImageDecoder",
})  # fmt: skip


def infer_types(graph: Graph) -> Graph:
    """The graph with `values` recomputed from its inputs, weights and constants.

    Types that cannot be inferred (after an operator of a custom domain, or where values decide shapes) are absent.
    Raises InputError where shapes contradict each other.
    """
    return infer_with(graph, ())


def infer_with(graph: Graph, declared: Iterable[Tensor]) -> Graph:
    """`infer_types` where the types [...] of some results, `declared`, are known beforehand."""
    skeleton = skeleton_of(graph)
    skeleton.graph.value_info.extend(value_info(t) for t in declared)
    for output in skeleton.graph.output:
        output.ClearField("type")
    if any(map(pool_shapes.rounds_up, graph.nodes)):
        while pool_shapes.set_padding(graph, skeleton.graph, infer_shapes(skeleton, data_prop=True).graph):
            pass
    if _has_loop(graph):
        _type_passed_on(skeleton.graph, infer_shapes(skeleton, data_prop=True).graph)
    try:
        model = infer_shapes(skeleton, strict_mode=True, data_prop=True)
    except (InferenceError, RuntimeError, ValueError) as error:
        if "(op_type:If" in str(error):  # a branch that the values do not take need not fit the shapes
            return _with_types(graph, infer_shapes(skeleton, data_prop=True).graph)
        raise InputError(f"the shapes of graph {graph.name!r} contradict each other: {_cause(error)}") from None
    return _with_types(graph, model.graph)


def _has_loop(graph: Graph) -> bool:
    return any(node.op == "Loop" or any(map(_has_loop, bodies_of(node).values())) for node in graph.nodes)


def _type_passed_on(skeleton: GraphProto, inferred: GraphProto) -> None:
    """Gives a result of a loop's body that is an input of the body the element type of that input: inference refuses
    results without a type, and does not look there for it."""
    for node, known in zip(skeleton.node, inferred.node, strict=True):
        for attribute, other in zip(node.attribute, known.attribute, strict=True):
            if not attribute.HasField("g"):
                continue
            types = {i.name: i.type.tensor_type.elem_type for i in other.g.input}
            for output in attribute.g.output:
                if not output.HasField("type") and types.get(output.name):
                    output.type.tensor_type.elem_type = types[output.name]
            _type_passed_on(attribute.g, other.g)


def element_types(graph: Graph) -> dict[str, str]:
    """The element type of every tensor, also of those whose shape is not known. Results of operators outside of ONNX
    whose type is not known are taken for float32, as most of them are."""
    skeleton = skeleton_of(graph)
    custom = {out for n in graph.nodes if n.domain for out in n.outputs if out}
    skeleton.graph.value_info.extend(
        value_info(graph.type_of(out)) if graph.has_type(out) else helper.make_tensor_value_info(out, _FLOAT32, None)
        for out in sorted(custom.difference(graph.outputs))
    )
    if _has_loop(graph):
        _type_passed_on(skeleton.graph, infer_shapes(skeleton).graph)
    found = infer_shapes(skeleton).graph
    types = {info.name: info.type.tensor_type.elem_type for info in (*found.input, *found.value_info, *found.output)}
    return {name: dtype_name(code) for name, code in types.items() if code}


def _cause(error: Exception) -> str:
    text = str(error)
    for noise in ("[ShapeInferenceError]", "[TypeInferenceError]", "Inference error(s):"):
        text = text.replace(noise, "")
    return one_line(text)


def _with_types(graph: Graph, proto: GraphProto) -> Graph:
    types = {t.name: t for info in (*proto.value_info, *proto.output) if (t := tensor_type(info))}
    inputs = {t.name: t for info in proto.input if (t := tensor_type(info))}
    nodes = (_with_body_types(n, inferred) for n, inferred in zip(graph.nodes, proto.node, strict=True))
    return replace(
        graph,
        inputs=tuple(inputs.get(t.name, t) if t.dtype == UNDEFINED else t for t in graph.inputs),
        nodes=tuple(nodes),
        values=tuple(types[out] for n in graph.nodes for out in n.outputs if out in types),
    )


def _with_body_types(node: Node, proto: NodeProto) -> Node:
    bodies = {a.name: a.g for a in proto.attribute}
    return with_bodies(node, lambda key, body: _with_types(body, bodies[key]))


# -- folding -----------------------------------------------------------------------------------------


def infer_and_fold(graph: Graph, declared: Iterable[Tensor] = (), kept: Collection[str] = ()) -> Graph:
    """Infers and folds in turns until nothing changes, since a folded shape may decide the next unknown one.

    declared: types of results that are known beforehand, each with its shape [...]; kept: as `fold` takes them.
    """
    declared = tuple(declared)
    while True:
        graph = infer_with(graph, declared)
        if more := missing_types(graph):
            declared = (*declared, *more)
            continue
        folded = fold(graph, kept)
        if folded is graph:
            return graph
        graph = folded


def fold(graph: Graph, kept: Collection[str] = ()) -> Graph:
    """The graph in which every operator that no input can change is replaced by its result, without unread tensors.

    Small results keep their values; of large ones only the type is known. Operators that compute an output of the graph
    stay, and so do those of a tensor in `kept`. Returns the same object when there is nothing to do.
    """
    statics: dict[str, Tensor] = {t.name: t for t in (*graph.weights, *graph.constants)}
    opsets = dict(graph.opsets)
    stay = []
    for node in graph.nodes:
        results = _folded(node, graph, statics, opsets) if set(kept).isdisjoint(node.outputs) else None
        if results is None:
            stay.append(node)
        statics.update({t.name: t for t in results or ()})
    used = {i for n in stay for i in (*n.inputs, *captured(n))} | set(graph.outputs)
    statics = {name: t for name, t in statics.items() if name in used}
    if len(stay) == len(graph.nodes) and len(statics) == len(graph.weights) + len(graph.constants):
        return graph
    return replace(
        graph,
        nodes=tuple(stay),
        weights=tuple(t for t in statics.values() if not isinstance(t, Constant)),
        constants=tuple(t for t in statics.values() if isinstance(t, Constant)),
        values=tuple(t for t in graph.values if t.name not in statics),
    )


def _folded(node: Node, graph: Graph, statics: Mapping[str, Tensor], opsets: Mapping[str, int]) -> list[Tensor] | None:
    """The results of the node, or None when it has to stay."""
    if node.domain or node.op in NEVER_FOLDED or not set(graph.outputs).isdisjoint(node.outputs):
        return None
    if node.op in ("Shape", "Size") and (node.inputs[0] in statics or graph.has_type(node.inputs[0])):
        shape = (statics.get(node.inputs[0]) or graph.type_of(node.inputs[0])).shape
        shape = shape[node.attribute("start", 0) : node.attribute("end")]
        array = np.array(shape if node.op == "Shape" else np.prod(shape, dtype=np.int64), np.int64)
        return [constant_of(node.outputs[0], array)]
    operands = [statics[i] for i in node.inputs if i in statics]
    if len(operands) < sum(map(bool, node.inputs)) or bodies_of(node):
        return None
    if operands and reads_packed(node, operands[0].dtype):
        return None
    outputs = [o for o in node.outputs if o]
    types = [graph.type_of(o) for o in outputs if graph.has_type(o)]
    constants = {t.name: t for t in operands if isinstance(t, Constant)}
    if len(constants) == len({t.name for t in operands}) and all(map(keeps_values, types)):
        results = _evaluated(node, constants, opsets)
        if results is not None:
            return results
    return list(types) if len(types) == len(outputs) else None


def _evaluated(node: Node, constants: Mapping[str, Constant], opsets: Mapping[str, int]) -> list[Tensor] | None:
    """The results of ONNX's reference implementation, or None where it does not support the operator or the types."""
    values = {name: array_of(c) for name, c in constants.items()}
    if any(c.dtype in NARROW for c in constants.values()) or not is_moderate(node, values):
        return None
    proto = helper.make_graph(
        [node_to_proto(node, zeros)],
        "fold",
        [value_info(c) for c in constants.values()],
        [ValueInfoProto(name=o) for o in node.outputs if o],
    )
    try:
        with np.errstate(all="ignore"):
            arrays = ReferenceEvaluator(proto, opsets=dict(opsets)).run(None, values)
        return [_static(o, np.asarray(a)) for o, a in zip(filter(None, node.outputs), arrays, strict=True)]
    except (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError, InputError):
        return None


def _static(name: str, array: np.ndarray) -> Tensor:
    """The array as a constant where it is small, else its type."""
    tensor = Tensor(name, dtype_name(helper.np_dtype_to_tensor_dtype(array.dtype)), array.shape)
    return constant_of(name, array) if keeps_values(tensor) else tensor
