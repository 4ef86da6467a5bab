"""The shapes of pools that round up, as runtimes compute them.

2026-11-29: a window that would start in the padding after the data is none. ONNX's inference counts it below opset 22,
while ONNX Runtime and ONNX's reference leave it out, so the shape and the cost of everything after such a pool would be
wrong. Inference is shown the same pool with explicit padding, from which it computes the shape that runtimes have.
"""

from __future__ import annotations

from collections.abc import Sequence

from onnx import GraphProto, NodeProto, helper

from hwprof.graph import Graph, Node
from hwprof.onnx_io.proto import tensor_type

_POOLS = frozenset({"MaxPool", "AveragePool", "LpPool"})
_COUNTED_RIGHT_FROM = 22  # the opset whose shape inference leaves the window out


def has_misinferred_shapes(graph: Graph) -> bool:
    """Whether ONNX's inference, which runtimes use as well, gives a pool of the graph another shape than it has."""
    if dict(graph.opsets).get("", 0) >= _COUNTED_RIGHT_FROM:
        return False
    return any(
        _floor_pads(node, graph.shape(node.inputs[0]))[1]
        for node in graph.nodes
        if rounds_up(node) and graph.has_type(node.inputs[0])
    )


def rounds_up(node: Node) -> bool:
    """Whether the node is a pool whose shape `set_padding` may have to rewrite."""
    is_explicit = node.attribute("auto_pad", "NOTSET") == "NOTSET"
    return node.op in _POOLS and not node.domain and bool(node.attribute("ceil_mode", 0)) and is_explicit


def set_padding(graph: Graph, skeleton: GraphProto, inferred: GraphProto) -> bool:
    """Rewrites the pools of the skeleton, whose nodes are those of the graph, for the shapes that were inferred.

    Returns whether there was anything to rewrite: then shapes have to be inferred again."""
    infos = (*inferred.input, *inferred.value_info)
    shapes = {t.name: t.shape for info in infos if (t := tensor_type(info))}
    changed = False
    for node, proto in zip(graph.nodes, skeleton.node, strict=True):
        if rounds_up(node) and node.inputs[0] in shapes:
            pads, _ = _floor_pads(node, shapes[node.inputs[0]])
            changed |= _rewrite(proto, pads)
    return changed


def _rewrite(proto: NodeProto, pads: Sequence[int]) -> bool:
    wanted = {"ceil_mode": 0, "pads": list(pads)}
    if {a.name: helper.get_attribute_value(a) for a in proto.attribute if a.name in wanted} == wanted:
        return False
    kept = [a for a in proto.attribute if a.name not in wanted]
    del proto.attribute[:]
    proto.attribute.extend([*kept, *(helper.make_attribute(key, value) for key, value in wanted.items())])
    return True


def _floor_pads(node: Node, shape: Sequence[int]) -> tuple[list[int], bool]:
    """The padding, begins then ends, with which a pool that rounds down has the shape of this one, and whether a window
    is left out since it would start in the padding."""
    kernel = node.attribute("kernel_shape", ())
    n = len(kernel)
    strides, dilations = node.attribute("strides", (1,) * n), node.attribute("dilations", (1,) * n)
    pads = list(node.attribute("pads", (0,) * 2 * n))
    is_cut = False
    for i, size in enumerate(shape[2:]):
        window = dilations[i] * (kernel[i] - 1) + 1
        free = size + pads[i] + pads[n + i] - window
        last = -(-free // strides[i])  # place of the last window when rounding up
        if last * strides[i] >= size + pads[i]:
            is_cut = True
        else:
            pads[n + i] += last * strides[i] - free
    return pads, is_cut
