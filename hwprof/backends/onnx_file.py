"""Shared by the backends that load an .onnx file with ONNX Runtime: which file to run, and its errors in one line."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError

from hwprof import onnx_io
from hwprof.errors import InputError
from hwprof.graph import Graph

PROTOBUF_LIMIT_BYTES = 1_800_000_000  # a model in one piece stays below 2 GiB


def locate(graph: Graph, folder: Path) -> tuple[Path | None, dict[str, int]]:
    """The file to run and the sizes of its named dynamic dimensions.

    The file is the graph's source where it exists, or one written to `folder` for weights too large to pass in memory.
    None for the rest, including sources with dynamic dimensions that have no name to set them by.
    """
    is_large = graph.weight_bytes > PROTOBUF_LIMIT_BYTES
    if graph.source and is_in_place(Path(graph.source)):
        inputs = read(Path(graph.source)).graph.input
        is_named = all(d.WhichOneof("value") for i in inputs for d in i.type.tensor_type.shape.dim)
        return (Path(graph.source), _dimensions(inputs, graph)) if is_named or is_large else (None, {})
    if is_large:
        onnx_io.save(onnx_io.materialize(graph), folder / "model.onnx")
        return folder / "model.onnx", {}
    return None, {}


def is_in_place(file: Path) -> bool:
    """Whether all of the model's data is inside of its folder; runtimes refuse links that lead out of it."""
    return all(f.resolve().is_relative_to(file.parent.resolve()) for f in onnx_io.external_files(file))


def read(file: Path) -> onnx.ModelProto:
    """The model without the weights in its external files. Raises InputError."""
    try:
        return onnx.load(file, load_external_data=False)
    except (OSError, DecodeError) as error:
        raise InputError(f"cannot read the model {str(file)!r}: {error}") from None


def _dimensions(inputs: Iterable[onnx.ValueInfoProto], graph: Graph) -> dict[str, int]:
    shapes = {t.name: t.shape for t in graph.inputs}
    return {
        dimension.dim_param: size
        for tensor in inputs
        for dimension, size in zip(tensor.type.tensor_type.shape.dim, shapes.get(tensor.name, ()), strict=False)
        if dimension.dim_param
    }
