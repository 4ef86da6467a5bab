"""Shared by the backends that load an .onnx file with ONNX Runtime: which file to run, and its errors in one line."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError

from hwprof import onnx_io
from hwprof.errors import InputError
from hwprof.graph import Graph
from hwprof.onnx_io import pool_shapes

PROTOBUF_LIMIT_BYTES = 1_800_000_000  # a model in one piece stays below 2 GiB


def locate(graph: Graph, folder: Path) -> tuple[Path | None, dict[str, int]]:
    """The file to run and the sizes of its named dynamic dimensions.

    The file is the graph's source where it exists, or one written to `folder` for weights too large to pass in memory.
    None for the rest, including sources with dynamic dimensions that have no name to set them by, or whose names mean
    several sizes.
    """
    is_large = graph.weight_bytes > PROTOBUF_LIMIT_BYTES
    if graph.source and is_in_place(Path(graph.source)):
        inputs = read(Path(graph.source)).graph.input
        sizes = _sizes(inputs, graph)
        is_named = all(d.WhichOneof("value") for i in inputs for d in i.type.tensor_type.shape.dim)
        is_plain = is_named and all(len(found) == 1 for found in sizes.values())
        dimensions = {name: found.pop() for name, found in sizes.items() if len(found) == 1}
        return (Path(graph.source), dimensions) if is_plain or is_large else (None, {})
    if is_large:
        onnx_io.save(onnx_io.materialize(graph), folder / "model.onnx")
        return folder / "model.onnx", {}
    return None, {}


def is_in_place(file: Path) -> bool:
    """Whether a runtime can take the file: all data are in its folder; runtimes refuse links that lead out of it."""
    folder = file.parent.resolve()
    return onnx_io.has_values(file) and all(f.resolve().is_relative_to(folder) for f in onnx_io.external_files(file))


def read(file: Path) -> onnx.ModelProto:
    """The model without the weights in its external files, its local functions inlined. Raises InputError."""
    try:
        return onnx_io.inlined(onnx.load(file, load_external_data=False))
    except (OSError, DecodeError) as error:
        raise InputError(f"cannot read the model {str(file)!r}: {error}") from None


def forms(graph: Graph, folder: Path) -> Iterator[tuple[Path | onnx.ModelProto, dict[str, int]]]:
    """The model as a runtime may take it, the preferred form first: with the graph's shapes written into it, which
    optimizers use, then without any. Shapes that are written in make a runtime refuse a model where a branch that is
    not taken does not fit them, and where it infers a wrong shape from them."""
    file, dimensions = locate(graph, folder)
    is_large = graph.weight_bytes > PROTOBUF_LIMIT_BYTES
    if is_large or not pool_shapes.has_misinferred_shapes(graph):
        yield file or onnx_io.materialize(graph), dimensions
    if not is_large:
        yield _without_shapes(onnx_io.materialize(graph)), {}


def _without_shapes(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model in place, with inputs of open dimensions and no shapes of results."""
    for i, tensor in enumerate(model.graph.input):
        for k, dimension in enumerate(tensor.type.tensor_type.shape.dim):
            dimension.dim_param = f"open_{i}_{k}"
    for tensor in model.graph.output:
        if tensor.HasField("type"):
            tensor.type.tensor_type.ClearField("shape")
    del model.graph.value_info[:]
    return model


def _sizes(inputs: Iterable[onnx.ValueInfoProto], graph: Graph) -> dict[str, set[int]]:
    """The sizes that each named dimension has."""
    shapes = {t.name: t.shape for t in graph.inputs}
    found: dict[str, set[int]] = {}
    for tensor in inputs:
        for dimension, size in zip(tensor.type.tensor_type.shape.dim, shapes.get(tensor.name, ()), strict=False):
            if dimension.dim_param:
                found.setdefault(dimension.dim_param, set()).add(size)
    return found
