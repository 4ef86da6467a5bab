"""Writes models as `.onnx` files, with the weights in a second file where one file cannot hold them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import BinaryIO

from google.protobuf.message import Message
from onnx import ModelProto, TensorProto

from hwprof import files
from hwprof.errors import EnvironmentUnfitError
from hwprof.graph import Graph
from hwprof.onnx_io.random_values import to_model

# Protobuf is limited to 2 GiB; the rest of the model needs space, too.
INLINE_LIMIT_BYTES = 1_900_000_000
# Smaller tensors stay in the .onnx file, where shape inference of any tool finds them.
EXTERNAL_FROM_BYTES = 1024


def save(network: ModelProto | Graph, path: str | os.PathLike[str], seed: int = 0) -> None:
    """Writes a model, or a graph with seeded random weights, as one .onnx file.

    Above 1.9 GB the weights go into PATH.data next to it. Files appear complete or not at all. Raises
    EnvironmentUnfitError when they cannot be written.
    """
    path = Path(path)
    model = to_model(network, seed) if isinstance(network, Graph) else network
    if sum(len(t.raw_data) for t in model.graph.initializer) > INLINE_LIMIT_BYTES:
        model = _moved_out(model, path.with_name(f"{path.name}.data"))
    files.write_bytes(path, model.SerializeToString())


def _moved_out(model: ModelProto, file: Path) -> ModelProto:
    """The model with its large weights written to the file; the given model does not change."""
    slim = ModelProto()
    _copy_but("graph", model, slim)
    _copy_but("initializer", model.graph, slim.graph)
    temporary = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        with temporary.open("wb") as stream:
            for tensor in model.graph.initializer:
                slim.graph.initializer.append(_written(tensor, stream, file.name))
        temporary.replace(file)
    except OSError as error:
        raise EnvironmentUnfitError(f"cannot write {str(file)!r}: {error.strerror}") from None
    finally:
        temporary.unlink(missing_ok=True)
    return slim


def _written(tensor: TensorProto, stream: BinaryIO, location: str) -> TensorProto:
    """The tensor with its content appended to the stream; a small tensor is returned unchanged."""
    size = len(tensor.raw_data)
    if size < EXTERNAL_FROM_BYTES:
        return tensor
    entry = TensorProto(data_location=TensorProto.EXTERNAL)
    _copy_but("raw_data", tensor, entry)
    for key, value in (("location", location), ("offset", stream.tell()), ("length", size)):
        entry.external_data.add(key=key, value=str(value))
    stream.write(tensor.raw_data)
    return entry


def _copy_but(omitted: str, source: Message, target: Message) -> None:
    """Copies all fields except one, whose content may be too large to be in memory twice."""
    for field, value in source.ListFields():
        if field.name == omitted:
            continue
        if isinstance(value, Message):
            getattr(target, field.name).CopyFrom(value)
        elif hasattr(value, "extend"):
            getattr(target, field.name).extend(value)
        else:
            setattr(target, field.name, value)
