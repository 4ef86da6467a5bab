"""An operator at other numbers of channels: the networks on which the staircases of a latency table are measured."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import replace

from hwprof.errors import InputError
from hwprof.graph import Graph, Tensor
from hwprof.latency_table import operators
from hwprof.latency_table.operators import Operator

SWEPT = ("cin", "cout")


def at_channels(single: Graph, points: Mapping[str, Sequence[int]]) -> list[tuple[Operator, Graph]]:
    """The one operator of `single` at every combination of the points of `cin` and `cout` (its own number where one is
    not given), each with its network. Empty for an operator whose channels are not free: a grouped one, or one that is
    not a convolution or matrix product with weights of its own. Empty for a quantized one, too: sweep the float
    operator, then quantize.

    Raises InputError for another attribute or a point below 1.
    """
    if unknown := points.keys() - set(SWEPT):
        raise InputError(f"{min(unknown)!r} cannot be swept; known: {', '.join(SWEPT)}")
    if any(point < 1 for values in points.values() for point in values):
        raise InputError("a number of channels must be at least 1")
    own = _own_channels(single) if len(single.nodes) == 1 else None
    if own is None:
        return []
    grid = itertools.product(*(points.get(name, (size,)) for name, size in zip(SWEPT, own, strict=True)))
    networks = [_with_channels(single, own[1], cin, cout) for cin, cout in grid]
    return [(operators.of(network)[0], network) for network in networks]


def _own_channels(single: Graph) -> tuple[int, int] | None:
    """Numbers of input and output channels, or None where they are not free."""
    (node,) = single.nodes
    weights = [name for name in node.inputs[1:] if name]
    if not weights or not single.weight_names.issuperset(weights) or node.attribute("group", 1) != 1:
        return None
    if node.op == "Conv":
        cout, cin, *_ = single.shape(node.inputs[1])
        return cin, cout
    if node.op in ("Gemm", "MatMul") and len(single.shape(node.inputs[1])) == 2 and not node.attribute("transA", 0):
        cin, cout = single.shape(node.inputs[1])
        return (cout, cin) if node.attribute("transB", 0) else (cin, cout)
    return None


def _with_channels(single: Graph, own_cout: int, cin: int, cout: int) -> Graph:
    (node,) = single.nodes
    x, w, *biases = node.inputs
    y = node.outputs[0]
    shapes = {
        bias: (*single.shape(bias)[:-1], cout) for bias in biases if bias and single.shape(bias)[-1:] == (own_cout,)
    }
    if node.op == "Conv":
        shapes[x], shapes[y] = ((n, c, *size) for (n, _, *size), c in ((single.shape(x), cin), (single.shape(y), cout)))
        shapes[w] = (cout, cin, *single.shape(w)[2:])
    else:
        shapes[x], shapes[y] = (*single.shape(x)[:-1], cin), (*single.shape(y)[:-1], cout)
        shapes[w] = (cout, cin) if node.attribute("transB", 0) else (cin, cout)
    return replace(
        single,
        inputs=_resized(single.inputs, shapes),
        weights=_resized(single.weights, shapes),
        values=_resized(single.values, shapes),
    )


def _resized(tensors: Sequence[Tensor], shapes: Mapping[str, tuple[int, ...]]) -> tuple[Tensor, ...]:
    return tuple(replace(t, shape=shapes[t.name]) if t.name in shapes else t for t in tensors)
