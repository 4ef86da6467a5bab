"""Rewrites ONNX models where OpenVINO refuses what ONNX allows; the results stay the same."""

from __future__ import annotations

from collections import Counter

import numpy as np
import onnx


def flatten_conditions(graph: onnx.GraphProto) -> None:
    """Gives the condition of each If, here and in bodies, one dimension: ONNX allows any number for its one element,
    OpenVINO at most one. Changes the graph."""
    nodes: list[onnx.NodeProto] = []
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("g"):
                flatten_conditions(attribute.g)
        if node.op_type == "If":
            one, flat = (f"{node.output[0]}_condition{end}" for end in ("_shape", ""))
            graph.initializer.append(onnx.numpy_helper.from_array(np.array([1], np.int64), one))
            nodes.append(onnx.helper.make_node("Reshape", [node.input[0], one], [flat]))
            node.input[0] = flat
        nodes.append(node)
    if len(nodes) > len(graph.node):
        del graph.node[:]
        graph.node.extend(nodes)


def pad_integers(graph: onnx.GraphProto) -> bool:
    """Pads the integers of a quantized tensor in place of its numbers, where the result is quantized on the same grid;
    whether there was any. Changes the graph.

    OpenVINO 2026.4 moves the dequantization of such a tensor to after the padding, with a zero point for each place
    along the padded axis, which it then forgets to reshape or cut as the tensor itself.
    """
    made = {name: node for node in graph.node for name in node.output}
    reads = Counter(name for node in graph.node for name in node.input)
    padded = [
        (made[node.input[0]], made[node.input[0]].input[0], node)
        for node in graph.node
        if node.op_type == "QuantizeLinear" and node.input[0] in made and reads[node.input[0]] == 1
    ]
    found = False
    for pad, name, quantize in padded:
        before = made.get(name)
        is_plain = pad.op_type == "Pad" and not any(pad.input[2:]) and pad.output[0] not in _outputs(graph)
        if not is_plain or before is None or before.op_type != "DequantizeLinear" or len(before.input) < 3:
            continue
        if before.input[1:] == quantize.input[1:]:
            pads = pad.input[1]
            del pad.input[:]
            pad.input.extend([before.input[0], pads, before.input[2]])
            pad.output[0] = quantize.output[0]
            graph.node.remove(quantize)
            found = True
    return found


def _outputs(graph: onnx.GraphProto) -> set[str]:
    return {tensor.name for tensor in graph.output}
