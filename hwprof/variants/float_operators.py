"""Which operators of an int8 network compute in float nevertheless, and why."""

from __future__ import annotations

from collections.abc import Iterator

from hwprof.errors import InputError
from hwprof.graph import Graph, Node, Tensor, is_quantized
from hwprof.onnx_io.proto import is_float
from hwprof.onnx_io.tensor_uses import MOVING
from hwprof.variants.quantize import RAW, is_quantizable

_NAMED = 3  # operators in the warning


def warnings(quantized: Graph) -> tuple[str, ...]:
    """The warning with the number of operators that stay float, the first of them and the reasons; none where every
    operator that computes is quantized."""
    found = list(in_float(quantized))
    if not found:
        return ()
    named = [f"{node.op} {node.label.removesuffix(RAW)!r} ({reason})" for node, reason in found[:_NAMED]]
    rest = f" and {len(found) - _NAMED} more" if len(found) > _NAMED else ""
    verb = "operators stay" if len(found) > 1 else "operator stays"
    return (f"{len(found)} {verb} float: {', '.join(named)}{rest}",)


def told_of(graph: Graph) -> tuple[str, ...]:
    """The `warnings` of a network, named after it; none for one in which nothing is quantized."""
    return tuple(f"{graph.name}: {w}" for w in warnings(graph)) if any(map(is_quantized, graph.nodes)) else ()


def in_float(quantized: Graph) -> Iterator[tuple[Node, str]]:
    """The operators that compute in float, in their order, each with the reason. Those that only move values are left
    out."""
    dequantized = {out for node in quantized.nodes if node.op == "DequantizeLinear" for out in node.outputs}
    static = {t.name for t in (*quantized.weights, *quantized.constants)}
    for node in quantized.nodes:
        if node.op in MOVING or node.op in ("QuantizeLinear", "DequantizeLinear"):
            continue
        running = [name for name in node.inputs if name and name not in static]
        floats = [t for name in running if (t := _type(quantized, name)) is None or is_float(t.dtype)]
        if not floats or not any(_may_be_float(quantized, out) for out in node.outputs):
            continue
        if reason := _reason(node, [(n, _type(quantized, n)) for n in running if n not in dequantized]):
            yield node, reason


def require_float32(graph: Graph) -> None:
    """Raises InputError for a network without an operator on float32, which could be quantized, that reads float64."""
    for node in graph.nodes:
        for name in node.inputs:
            if is_quantizable(node) and (tensor := _type(graph, name)) and tensor.dtype == "float64":
                raise InputError(
                    f"{graph.name!r} cannot be quantized: {node.op} {node.label!r} reads {name!r}, which is float64; "
                    "only float32 is quantized, so convert the model to it"
                )


def _reason(node: Node, unquantized: list[tuple[str, Tensor | None]]) -> str:
    """Why the operator stays float; empty where it does not. unquantized: what it reads without a grid."""
    if node.domain not in ("", "ai.onnx"):
        return f"int8 has no operators of {node.domain}"
    if not is_quantizable(node):
        return f"int8 has no {node.op}"
    for name, tensor in unquantized:
        if tensor is None:
            return f"the type of {name!r} is unknown"
        if is_float(tensor.dtype):
            return f"{name!r} is {'not quantized' if tensor.dtype == 'float32' else tensor.dtype}"
    return ""


def _type(graph: Graph, name: str) -> Tensor | None:
    return graph.type_of(name) if graph.has_type(name) else None


def _may_be_float(graph: Graph, name: str) -> bool:
    tensor = _type(graph, name)
    return bool(name) and (tensor is None or is_float(tensor.dtype))
