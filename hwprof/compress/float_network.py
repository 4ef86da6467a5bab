"""The float network that compression starts from, of a file that may be quantized already."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from hwprof.graph import Graph, is_quantized
from hwprof.onnx_io import load, save
from hwprof.variants.dequantize import dequantized
from hwprof.variants.weights import load_weights, model_with


def float_network(graph: Graph, folder: Path, tell: Callable[[str], None]) -> Graph:
    """The graph itself; for a Q/DQ network the float network of its weights, whose source is a file in the folder.

    Raises InputError for a network that computes with integers.
    """
    if not any(map(is_quantized, graph.nodes)):
        return graph
    path = folder / f"{graph.name}-float.onnx"
    save(model_with(*dequantized(graph, load_weights(graph))), path)
    tell(
        f"{graph.name} is quantized: compression starts from the float network of its weights, {path}, with which the "
        "results are compared; layers become int8 again where that is chosen"
    )
    return replace(load(path), warnings=graph.warnings)
