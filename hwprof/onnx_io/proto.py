"""Graph records to ONNX protobuf messages and back, without files, inference or random numbers."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeAlias

import numpy as np
from onnx import (
    AttributeProto,
    GraphProto,
    ModelProto,
    NodeProto,
    TensorProto,
    ValueInfoProto,
    helper,
    numpy_helper,
)

from hwprof.errors import InputError
from hwprof.graph import AttributeValue, Constant, Graph, Node, Tensor, captured, sort_nodes

# The newest that ONNX Runtime 1.20 reads, and the oldest with int4.
IR_VERSION = 10
# Tensors up to these sizes keep their values while a file is read, so that shapes can be computed from them.
INTEGERS_KEPT = 4096
FLOATS_KEPT = 64

_NAMES = {"float": "float32", "double": "float64"}
_CODES = {"float32": "FLOAT", "float64": "DOUBLE"}
# Element types that numpy lacks, with the types that represent them in arrays.
NARROW = {"bfloat16": "float32", "int4": "int8", "uint4": "uint8"}
_COMPUTABLE = frozenset({
    "float64", "float32", "float16", "int64", "int32", "int16", "int8", "uint64", "uint32", "uint16", "uint8", "bool",
    *NARROW,
})  # fmt: skip
# Where a control-flow body does not declare the type of an input.
UNDEFINED = "undefined"

Contents: TypeAlias = Callable[[Graph], Callable[[Tensor], np.ndarray]]  # returns the array of each weight of a graph
Opsets: TypeAlias = tuple[tuple[str, int], ...]


def dtype_name(code: int) -> str:
    """The element type as `Graph` spells it. Raises InputError for one that ONNX does not have."""
    try:
        name: str = TensorProto.DataType.Name(code).lower()
    except ValueError:
        raise InputError(f"ONNX has no element type {code}; the file is damaged, or newer than this ONNX") from None
    return _NAMES.get(name, name)


def dtype_code(name: str) -> int:
    """Raises InputError for a type that ONNX does not have."""
    try:
        return int(TensorProto.DataType.Value(_CODES.get(name, name.upper())))
    except ValueError:
        raise InputError(f"ONNX has no element type {name!r}") from None


def is_float(dtype: str) -> bool:
    """Whether the element type is a real floating-point one."""
    return dtype.startswith(("float", "bfloat"))


# -- tensors -----------------------------------------------------------------------------------------


def tensor_type(info: ValueInfoProto) -> Tensor | None:
    """The type with its shape [...], or None unless it is a tensor of known element type and fully known shape."""
    kind = info.type.tensor_type
    if not info.type.HasField("tensor_type") or not kind.HasField("shape") or not kind.elem_type:
        return None
    if not all(d.HasField("dim_value") and d.dim_value >= 0 for d in kind.shape.dim):
        return None
    return Tensor(info.name, dtype_name(kind.elem_type), tuple(d.dim_value for d in kind.shape.dim))


def value_info(tensor: Tensor) -> ValueInfoProto:
    """The tensor's name, type and shape [...] as a message."""
    if tensor.dtype == UNDEFINED:
        return ValueInfoProto(name=tensor.name)
    return helper.make_tensor_value_info(tensor.name, dtype_code(tensor.dtype), tensor.shape)


def keeps_values(tensor: Tensor) -> bool:
    """Whether the tensor [...] is small enough, and of a type, to take part in computing shapes."""
    if tensor.dtype not in _COMPUTABLE:
        return False
    return tensor.numel <= (FLOATS_KEPT if is_float(tensor.dtype) else INTEGERS_KEPT)


def constant_of(name: str, array: np.ndarray, dtype: str = "") -> Constant:
    """The array [...] as a Constant. Floats are the shortest decimals that restore them."""
    dtype = dtype or dtype_name(helper.np_dtype_to_tensor_dtype(array.dtype))
    if dtype == "float64":
        values = tuple(array.ravel().tolist())
    elif is_float(dtype):
        values = tuple(shortest_float(v) for v in array.astype(np.float32).ravel().tolist())
    elif dtype == "bool":
        values = tuple(bool(v) for v in array.ravel())
    else:
        values = tuple(int(v) for v in array.ravel())
    return Constant(name, dtype, tuple(array.shape), values)


def shortest_float(value: float) -> float:
    """1e-05 for the float32 that is nearest to 1e-05, where widening would give 9.999999747378752e-06."""
    return float(str(np.float32(value)))


def array_of(constant: Constant) -> np.ndarray:
    """[shape]; types that numpy lacks are represented as in `NARROW`."""
    return np.array(constant.values, numpy_dtype(constant)).reshape(constant.shape)


def numpy_dtype(tensor: Tensor) -> np.dtype[Any]:
    """The numpy type for the tensor's values [...]. Raises InputError where there is none."""
    try:
        return np.dtype(NARROW.get(tensor.dtype, tensor.dtype))
    except TypeError:
        raise InputError(
            f"tensor {tensor.name!r} has type {tensor.dtype!r}, for which hwprof cannot create values"
        ) from None


def tensor_proto(constant: Constant) -> TensorProto:
    """The constant as a message with its values."""
    kind = dtype_code(constant.dtype)
    content = _raw_bytes(array_of(constant), constant.dtype)
    return TensorProto(name=constant.name, data_type=kind, dims=constant.shape, raw_data=content)


def storage_of(tensor: Tensor, array: np.ndarray) -> np.ndarray:
    """[tensor.shape]: the array of a type that NumPy lacks as a runtime stores it, in integers of the type's width. Of
    4-bit integers two share a byte, and the second half of the array is unused."""
    content = np.frombuffer(_raw_bytes(array, tensor.dtype), np.uint16 if tensor.dtype == "bfloat16" else np.uint8)
    stored = np.zeros(tensor.numel, content.dtype)
    stored[: content.size] = content
    return stored.reshape(tensor.shape)


def _raw_bytes(array: np.ndarray, dtype: str) -> bytes:
    if dtype == "bfloat16":
        array = (np.ascontiguousarray(array, np.float32).view(np.uint32) >> 16).astype(np.uint16)
    elif dtype in ("int4", "uint4"):
        nibbles = np.zeros(math.ceil(array.size / 2) * 2, np.uint8)
        nibbles[: array.size] = array.ravel().astype(np.int16) & 0x0F
        array = nibbles[::2] | (nibbles[1::2] << 4)
    if sys.byteorder == "big":
        array = array.byteswap()
    return array.tobytes()


# -- attributes and operators ------------------------------------------------------------------------

_NUMBERS_OR_TEXT: Mapping[int, Callable[[AttributeProto], AttributeValue]] = {
    AttributeProto.INT: lambda a: int(a.i),
    AttributeProto.INTS: lambda a: tuple(a.ints),
    AttributeProto.FLOAT: lambda a: shortest_float(a.f),
    AttributeProto.FLOATS: lambda a: tuple(shortest_float(f) for f in a.floats),
    AttributeProto.STRING: lambda a: _text(a.s),
    AttributeProto.STRINGS: lambda a: tuple(_text(s) for s in a.strings),
    AttributeProto.TENSOR: lambda a: constant_of("", _values(a.t), stored_type(a.t).dtype),
}


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


def _attribute(proto: AttributeProto, node: NodeProto, opsets: Opsets) -> AttributeValue:
    if proto.type == AttributeProto.GRAPH:
        return graph_from_proto(proto.g, [_body_input(i) for i in proto.g.input], opsets, proto.g.name, is_body=True)
    try:
        return _NUMBERS_OR_TEXT[proto.type](proto)
    except (KeyError, ValueError, TypeError):
        kind = AttributeProto.AttributeType.Name(proto.type)
        title = f"{node.op_type} {node.name!r}"
        raise InputError(
            f"operator {title} has attribute {proto.name!r} of kind {kind}, which hwprof cannot represent"
        ) from None


def _body_input(info: ValueInfoProto) -> Tensor:
    return tensor_type(info) or Tensor(info.name, UNDEFINED, ())


def _domain(name: str) -> str:
    return "" if name == "ai.onnx" else name


def node_from_proto(proto: NodeProto, opsets: Opsets) -> Node:
    """Raises InputError for an attribute that a Graph cannot hold, and for one that occurs twice."""
    attributes = tuple((a.name, _attribute(a, proto, opsets)) for a in proto.attribute)
    if len({name for name, _ in attributes}) < len(attributes):
        raise InputError(f"operator {proto.op_type} {proto.name!r} has an attribute twice; ONNX allows each once")
    return Node(
        proto.op_type, tuple(proto.input), tuple(proto.output), attributes, _domain(proto.domain), proto.name
    )  # fmt: skip


def node_to_proto(node: Node, contents: Contents) -> NodeProto:
    """contents: returns the arrays of the weights in control-flow bodies."""
    proto = NodeProto(
        op_type=node.op, input=node.inputs, output=node.outputs, name=node.name, domain=node.domain
    )  # fmt: skip
    for key, value in node.attributes:
        proto.attribute.append(_attribute_proto(key, value, contents))
    return proto


def _attribute_proto(key: str, value: AttributeValue, contents: Contents) -> AttributeProto:
    if isinstance(value, Graph):
        proto = AttributeProto(name=key, type=AttributeProto.GRAPH)
        _fill(proto.g, value, contents)
        _fill_weights(proto.g, value, contents)
        return proto
    if isinstance(value, Constant):
        return AttributeProto(name=key, type=AttributeProto.TENSOR, t=tensor_proto(value))
    if isinstance(value, str):
        value = value.encode("utf-8", "surrogateescape")
    elif isinstance(value, tuple) and value and isinstance(value[0], str):
        value = [v.encode("utf-8", "surrogateescape") for v in value]
    # An empty tuple has lost its kind; axes and pads, the lists that may be empty, hold integers.
    kind = AttributeProto.INTS if isinstance(value, tuple) and not value else None
    return helper.make_attribute(key, value, attr_type=kind)


# -- graphs ------------------------------------------------------------------------------------------


def graph_from_proto(
    proto: GraphProto, inputs: Sequence[Tensor], opsets: Opsets, name: str, is_body: bool = False
) -> Graph:
    """The graph with the values of small tensors kept as constants and without inferred types.

    contents: of any shape [...]. External data must have been resolved for the tensors that `keeps_values`. Raises
    InputError for a cycle and for operators that read a tensor that nothing produces (a body may read those around it).
    """
    results = {o.name for o in proto.output}
    stored = [*proto.initializer, *(_stored_tensor(n) for n in proto.node if _is_stored(n, results))]
    statics = [static_from_proto(t) for t in stored]
    statics += [stored_type(s.values, s.dims) for s in proto.sparse_initializer]
    nodes = [node_from_proto(n, opsets) for n in proto.node if not _is_stored(n, results)]
    available = {t.name for t in (*inputs, *statics)}
    made = _made(nodes, available)
    if is_body:
        available |= {i for n in nodes for i in (*n.inputs, *captured(n))} - made
    for output in set() if is_body else results - available - made:
        raise InputError(f"output {output!r} is not produced by any operator")
    return Graph(
        inputs=tuple(inputs),
        outputs=tuple(o.name for o in proto.output),
        nodes=sort_nodes(nodes, available),
        weights=tuple(t for t in statics if not isinstance(t, Constant)),
        constants=tuple(t for t in statics if isinstance(t, Constant)),
        opsets=opsets,
        name=name,
    )


def _made(nodes: Sequence[Node], available: set[str]) -> set[str]:
    """Names of all results. Raises InputError when one is produced twice or has the name of a stored tensor."""
    made: set[str] = set()
    for name in (out for n in nodes for out in n.outputs if out):
        if name in made or name in available:
            raise InputError(f"tensor {name!r} is produced twice")
        made.add(name)
    return made


_CONSTANT_ATTRIBUTES = {"value", "value_int", "value_ints", "value_float", "value_floats"}


def _is_stored(node: NodeProto, results: set[str]) -> bool:
    """Whether the node is a Constant that can become a stored tensor. A body's result remains a node."""
    return (
        node.op_type == "Constant"
        and not _domain(node.domain)
        and len(node.attribute) == 1
        and node.output[0] not in results
        and {a.name for a in node.attribute} <= _CONSTANT_ATTRIBUTES
    )


def _stored_tensor(node: NodeProto) -> TensorProto:
    attribute = node.attribute[0]
    if attribute.name == "value":
        tensor = TensorProto()
        tensor.CopyFrom(attribute.t)
        tensor.name = node.output[0]
        return tensor
    dtype = np.int64 if attribute.name.startswith("value_int") else np.float32
    return numpy_helper.from_array(np.array(helper.get_attribute_value(attribute), dtype), node.output[0])


def stored_type(proto: TensorProto, dims: Sequence[int] | None = None) -> Tensor:
    """The type and shape [*dims] of a stored tensor; dims: a sparse one's. Raises InputError for an invalid type."""
    shape = tuple(proto.dims if dims is None else dims)
    if not proto.data_type or min(shape, default=0) < 0:
        raise InputError(f"stored tensor {proto.name!r} has no element type, or a negative size in {shape}")
    return Tensor(proto.name, dtype_name(proto.data_type), shape)


def static_from_proto(proto: TensorProto) -> Tensor:
    """A Constant [...] where the tensor is small enough to keep its values, else its type and shape."""
    tensor = stored_type(proto)
    if not keeps_values(tensor) or lacks_values(proto):
        return tensor
    return constant_of(proto.name, _values(proto), tensor.dtype)


def lacks_values(proto: TensorProto) -> bool:
    """Whether a stored tensor has a shape and no values at all, as in data sets of architectures."""
    if proto.HasField("raw_data"):  # most have it; listing the fields would copy it
        return False
    is_external = proto.data_location == TensorProto.EXTERNAL
    has_values = any(f.name.endswith("_data") and f.name != "external_data" for f, _ in proto.ListFields())
    return not (is_external or has_values) and math.prod(proto.dims) > 0


def _values(proto: TensorProto) -> np.ndarray:
    """[*dims]. Raises InputError where the values are not as many as the shape needs."""
    try:
        return numpy_helper.to_array(proto)
    except (ValueError, TypeError) as error:
        reason = f"its shape {tuple(proto.dims)}: {' '.join(str(error).split())}"
        raise InputError(f"the values of tensor {proto.name!r} do not fill {reason}") from None


def model_of(graph: Graph, contents: Contents) -> ModelProto:
    """The graph as a model; contents: returns the arrays of the weights."""
    model = _empty_model(graph)
    _fill(model.graph, graph, contents)
    _fill_weights(model.graph, graph, contents)
    return model


def skeleton_of(graph: Graph) -> ModelProto:
    """The graph as a model with inputs in place of weights, for callers that need their types but not their values."""
    model = _empty_model(graph)
    _fill(model.graph, graph, zeros)
    model.graph.input.extend(value_info(t) for t in graph.weights)
    return model


def zeros(_: Graph) -> Callable[[Tensor], np.ndarray]:
    """Zeros of the tensor's shape [...], for callers that do not depend on the values."""
    return lambda tensor: np.zeros(tensor.shape, numpy_dtype(tensor))


def _empty_model(graph: Graph) -> ModelProto:
    opsets = [helper.make_opsetid(domain, version) for domain, version in graph.opsets]
    return helper.make_model(GraphProto(), opset_imports=opsets, ir_version=IR_VERSION, producer_name="hwprof")


def _fill(proto: GraphProto, graph: Graph, contents: Contents) -> None:
    """Writes everything in the graph except its own weights."""
    proto.name = graph.name
    proto.input.extend(value_info(t) for t in graph.inputs)
    for name in graph.outputs:
        known = graph.has_type(name)
        proto.output.append(value_info(graph.type_of(name)) if known else ValueInfoProto(name=name))
    proto.initializer.extend(tensor_proto(c) for c in graph.constants)
    proto.node.extend(node_to_proto(n, contents) for n in graph.nodes)


def _fill_weights(proto: GraphProto, graph: Graph, contents: Contents) -> None:
    """In place, since copying all weights takes time."""
    content = contents(graph)
    for tensor in graph.weights:
        entry = proto.initializer.add(name=tensor.name, data_type=dtype_code(tensor.dtype), dims=tensor.shape)
        entry.raw_data = _raw_bytes(content(tensor), tensor.dtype)


# -- control flow ------------------------------------------------------------------------------------


def bodies_of(node: Node) -> dict[str, Graph]:
    """The control-flow bodies of the node by attribute; most operators have none."""
    return {key: value for key, value in node.attributes if isinstance(value, Graph)}


def with_bodies(node: Node, change: Callable[[str, Graph], Graph]) -> Node:
    """The node with each body replaced by `change(attribute, body)`."""
    changed = {key: change(key, body) for key, body in bodies_of(node).items()}
    if not changed:
        return node
    return replace(node, attributes=tuple((key, changed.get(key, value)) for key, value in node.attributes))
