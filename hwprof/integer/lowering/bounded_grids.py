"""Activations of fewer bits in a file of 8: a Clip between QuantizeLinear and DequantizeLinear, as Brevitas exports
them (QCDQ).

The bounds are integers of the grid, so the same Clip of the real numbers before the QuantizeLinear gives the same
integers; there it is a bound of the operator that makes them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from hwprof.graph import Constant, Graph, Node, Tensor


def with_real_bounds(graph: Graph, weights: Mapping[str, np.ndarray]) -> tuple[Graph, dict[str, np.ndarray]]:
    """The network with each Clip of quantized values before their QuantizeLinear, and the weights with its bounds.

    weights: every weight and constant of the graph by name, each of its shape [...]. A Clip whose bounds are computed,
    or whose QuantizeLinear others read too, stays.
    """
    readers, arrays = graph.consumers(), dict(weights)
    quantized = {node.outputs[0]: node for node in graph.nodes if node.op == "QuantizeLinear"}
    clips = {
        clip.inputs[0]: clip
        for clip in graph.nodes
        if clip.op == "Clip"
        and clip.inputs[0] in quantized
        and len(readers[clip.inputs[0]]) == 1
        and all(name in arrays for name in (*clip.inputs[1:], *quantized[clip.inputs[0]].inputs[1:]) if name)
    }
    nodes: list[Node] = []
    reals: list[Tensor] = []
    for node in graph.nodes:
        if node.op == "QuantizeLinear" and (clip := clips.get(node.outputs[0])):
            before = node.inputs[0]
            if bounds := _real_bounds(node, clip, arrays):
                arrays |= bounds
                reals.append(replace(graph.type_of(before), name=f"{clip.outputs[0]}_real"))
                nodes.append(replace(clip, inputs=(before, *bounds), outputs=(reals[-1].name,)))
                before = reals[-1].name
            nodes.append(replace(node, inputs=(before, *node.inputs[1:]), outputs=clip.outputs))
        elif clips.get(node.inputs[0] if node.inputs else "") is not node:
            nodes.append(node)
    added = tuple(Constant(n, "float32", (), (float(a),)) for n, a in arrays.items() if n not in weights)
    moved = replace(graph, nodes=tuple(nodes), constants=(*graph.constants, *added), values=(*graph.values, *reals))
    return (moved, arrays) if clips else (graph, arrays)


def _real_bounds(quantize: Node, clip: Node, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The lower and the upper bound of the Clip as real numbers, each a scalar []; none where it keeps all integers."""
    zero = arrays[quantize.inputs[2]] if len(quantize.inputs) > 2 and quantize.inputs[2] else np.zeros((), np.uint8)
    limits = np.iinfo(zero.dtype)
    given = [arrays[name].item() if name else None for name in (*clip.inputs[1:], "", "")][:2]
    integers = [limit if one is None else one for one, limit in zip(given, (limits.min, limits.max), strict=True)]
    if integers == [limits.min, limits.max]:
        return {}
    scale = float(np.asarray(arrays[quantize.inputs[1]], np.float64).item())
    names = (f"{clip.outputs[0]}_low", f"{clip.outputs[0]}_high")
    return {
        name: np.array((one - int(zero.item())) * scale, np.float32) for name, one in zip(names, integers, strict=True)
    }
