"""Half precision: every float32 tensor becomes float16, with Casts where an operator or the caller needs float32."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import cache

import onnx

from hwprof.errors import InputError
from hwprof.graph import Constant, Graph, Node, Tensor, captured
from hwprof.onnx_io.inference import element_types
from hwprof.onnx_io.proto import with_bodies

LARGEST_FLOAT16 = 65504.0

_FLOAT32_OPERATORS = {  # no runtime computes them in float16, or they give float32 where no attribute says more
    "NonMaxSuppression", "Range", "Upsample", "RandomNormal", "RandomUniform", "RandomNormalLike", "RandomUniformLike",
    "HannWindow", "HammingWindow", "BlackmanWindow", "MelWeightMatrix", "STFT", "DFT",
}  # fmt: skip
_FLOAT32_INPUTS = {"Resize": {1, 2}}  # region and scales describe the geometry; ONNX wants scales in float32
_QUANTIZED = {"QuantizeLinear", "DequantizeLinear", "QLinearConv", "QLinearMatMul", "DynamicQuantizeLinear"}
_TYPE_CODES = {"float32": 1, "float16": 10}  # onnx.TensorProto.DataType
_TYPE_ATTRIBUTES = {"to", "dtype"}


def half(graph: Graph, keep_io: bool = True) -> Graph:
    """The graph in float16; its inputs and outputs stay float32, with Casts, unless `keep_io` is False.

    Operators with a body keep float32, and so does all that is inside of it. Raises InputError for a quantized graph.
    """
    for node in graph.nodes:
        if node.op in _QUANTIZED:
            raise InputError(f"graph {graph.name!r} is quantized; convert the float32 one to float16")
    return _Rewriter(graph, keep_io).graph()


class _Rewriter:
    def __init__(self, graph: Graph, keep_io: bool) -> None:
        self._old = graph
        self._opset = dict(graph.opsets).get("", 1)
        self._keep_io = keep_io
        self._nodes: list[Node] = []
        self._types = {t.name: t for t in (*graph.values, *graph.inputs, *graph.weights, *graph.constants)}
        results = [name for node in graph.nodes for name in node.outputs if name]
        # Of some results only the element type is known: their shape depends on values.
        self._dtypes = {} if all(name in self._types for name in results) else element_types(graph)
        self._dtypes |= {t.name: t.dtype for t in self._types.values()}
        self._written_as: dict[str, str] = {}  # tensor -> name under which its float16 values are found
        self._casts: dict[tuple[str, str], str] = {}

    def graph(self) -> Graph:
        old = self._old
        stays = {t.name for t in old.inputs} if self._keep_io else set()
        stays |= self._read_in_float32()
        for tensor in (*old.inputs, *old.weights, *old.constants):
            if tensor.name not in stays:
                self._set(_halved(tensor))
        for node in old.nodes:
            self._operator(node)
        own = {t.name for t in (*old.inputs, *old.weights, *old.constants)}
        return replace(
            old,
            inputs=tuple(self._types[t.name] for t in old.inputs),
            nodes=tuple(self._nodes),
            weights=tuple(self._types[t.name] for t in old.weights),
            constants=tuple(c for t in old.constants if isinstance(c := self._types[t.name], Constant)),
            values=tuple(t for t in self._types.values() if t.name not in own),
            name=f"{old.name}-fp16",
            source=None,
        )

    def _read_in_float32(self) -> set[str]:
        """Weights and constants that some operator needs in float32."""
        static = {t.name for t in (*self._old.weights, *self._old.constants)}
        read = {i for node in self._old.nodes for k, i in enumerate(node.inputs) if self._needs_float32(node, k)}
        return static & read.union(*map(captured, self._old.nodes))

    def _operator(self, node: Node) -> None:
        wanted = ("float32" if self._needs_float32(node, k) else "float16" for k in range(len(node.inputs)))
        inputs = tuple(self._read(name, dtype) for name, dtype in zip(node.inputs, wanted, strict=True))
        is_float32 = self._is_float32(node)
        dtype, attributes = ("float32", node.attributes) if is_float32 else ("float16", _halved_attributes(node))
        node = self._with_float32_bodies(replace(node, attributes=attributes))
        outputs = tuple(self._output_name(name, dtype) for name in node.outputs)
        self._nodes.append(replace(node, inputs=inputs, outputs=outputs))
        for name, written in zip(node.outputs, outputs, strict=True):
            if self._is_float(name) and dtype == "float16":
                self._dtypes[written] = "float16"
                if name in self._types:
                    self._types[written] = replace(_halved(self._types[name]), name=written)
            if written != name:
                self._written_as[name] = written
                self._cast(written, "float32", name)

    def _needs_float32(self, node: Node, position: int) -> bool:
        if self._is_float32(node) or position in _FLOAT32_INPUTS.get(node.op, ()):
            return True
        inputs, _ = _float32_only(node.op, self._opset)
        return not node.domain and inputs[min(position, len(inputs) - 1)]

    def _is_float32(self, node: Node) -> bool:
        """Whether the operator computes in float32 whatever it is given."""
        has_default = node.op == "ConstantOfShape" and node.attribute("value") is None
        has_body = any(isinstance(value, Graph) for _, value in node.attributes)
        if node.op in _FLOAT32_OPERATORS or has_default or has_body or node.domain == "ai.onnx.ml":
            return True
        _, outputs = _float32_only(node.op, self._opset)
        named = (outputs[min(i, len(outputs) - 1)] for i, name in enumerate(node.outputs) if name)
        return not node.domain and any(named)

    def _with_float32_bodies(self, node: Node) -> Node:
        """The node with what its bodies read from around it under the names that hold float32."""
        names = {name: self._read(name, "float32") for name in captured(node)}
        return with_bodies(node, lambda _, body: _renamed(body, names))

    def _set(self, tensor: Tensor) -> None:
        self._types[tensor.name] = tensor
        self._dtypes[tensor.name] = tensor.dtype

    def _output_name(self, name: str, dtype: str) -> str:
        kept = self._keep_io and name in self._old.outputs and dtype == "float16" and self._is_float(name)
        return f"{name}_float16" if kept else name

    def _is_float(self, name: str) -> bool:
        return self._dtypes.get(name) in ("float32", "float16")

    def _read(self, name: str, dtype: str) -> str:
        name = self._written_as.get(name, name)
        if not self._is_float(name) or self._dtypes[name] == dtype:
            return name
        return self._casts.get((name, dtype)) or self._cast(name, dtype, f"{name}_{dtype}")

    def _cast(self, name: str, dtype: str, out: str) -> str:
        self._nodes.append(Node("Cast", (name,), (out,), (("to", _TYPE_CODES[dtype]),), name=f"Cast_{out}"))
        self._dtypes[out] = dtype
        if name in self._types:
            self._types[out] = Tensor(out, dtype, self._types[name].shape)
        self._casts[name, dtype] = out
        return out


@cache
def _float32_only(op: str, opset: int) -> tuple[tuple[bool, ...], tuple[bool, ...]]:
    """For each input and each output of ONNX's operator whether it may be float32 and not float16; the last one is also
    that of all that follow."""
    try:
        schema = onnx.defs.get_schema(op, opset)
    except onnx.defs.SchemaError:  # of another domain
        return (False,), (False,)
    inputs, outputs = (tuple(_lacks_float16(f.types) for f in formals) for formals in (schema.inputs, schema.outputs))
    return inputs or (False,), outputs or (False,)


def _lacks_float16(types: set[str]) -> bool:
    return "tensor(float)" in types and "tensor(float16)" not in types


def _renamed(body: Graph, names: Mapping[str, str]) -> Graph:
    """The body with other names for what it reads from around it."""
    own = {t.name for t in (*body.inputs, *body.weights, *body.constants)}
    own.update(out for node in body.nodes for out in node.outputs)
    outer = {name: new for name, new in names.items() if name not in own and name != new}
    if not outer:
        return body
    nodes = (with_bodies(n, lambda _, inner: _renamed(inner, outer)) for n in body.nodes)
    return replace(
        body,
        nodes=tuple(replace(n, inputs=tuple(outer.get(i, i) for i in n.inputs)) for n in nodes),
        outputs=tuple(outer.get(o, o) for o in body.outputs),
    )


def _halved(tensor: Tensor) -> Tensor:
    if tensor.dtype != "float32":
        return tensor
    if isinstance(tensor, Constant):
        values = tuple(min(max(v, -LARGEST_FLOAT16), LARGEST_FLOAT16) for v in tensor.values)
        return replace(tensor, dtype="float16", values=values)
    return replace(tensor, dtype="float16")


def _halved_attributes(node: Node) -> tuple[tuple[str, object], ...]:
    """Casts to float32 become Casts to float16, and so do tensors that an attribute holds."""
    return tuple(
        (key, _TYPE_CODES["float16"] if key in _TYPE_ATTRIBUTES and value == _TYPE_CODES["float32"]
         else _halved(value) if isinstance(value, Tensor) else value)
        for key, value in node.attributes
    )  # fmt: skip
