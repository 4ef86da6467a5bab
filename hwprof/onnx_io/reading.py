"""Reads `.onnx` files: checks them, binds their dynamic shapes, finds their external data."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError
from onnx import AttributeProto, GraphProto, ModelProto, TensorProto, TensorShapeProto, ValueInfoProto
from onnx.external_data_helper import uses_external_data

from hwprof.errors import InputError
from hwprof.files import reading
from hwprof.graph import Graph, Tensor
from hwprof.onnx_io import bounded, external_data
from hwprof.onnx_io.functions import inlined
from hwprof.onnx_io.inference import infer_and_fold
from hwprof.onnx_io.proto import (
    Opsets,
    dtype_name,
    graph_from_proto,
    keeps_values,
    lacks_values,
    stored_type,
    tensor_type,
    value_info,
)
from hwprof.onnx_io.random_values import to_model
from hwprof.onnx_io.tensor_uses import settle_weights

# The oldest opset that ONNX Runtime runs.
OLDEST_OPSET = 7
# Loading may take this long and this much memory, and more for large files. What has to be larger than that is hostile.
_LIMIT_S, _BYTES_PER_S = 60, 10_000_000
_LIMIT_BYTES, _BYTES_PER_BYTE = 2 << 30, 8


def load(
    path: str | os.PathLike[str], shapes: Mapping[str, Sequence[int]] | None = None, kept: Collection[str] = ()
) -> Graph:
    """The network in an .onnx file, without its weights, with every shape that can be known.

    shapes: for each input with dynamic dimensions all its dimensions; a symbol that several inputs share ("batch")
    needs to be given once. Everything that does not depend on an input is folded (see `hwprof.onnx_io`). External data
    is located but not read. kept: tensors whose operators stay although no input changes them. Raises InputError for a
    file that is missing, is not an ONNX model, is older than opset 7, lacks a shape, or does not fit the given shapes.
    """
    path = Path(path)
    size = _size_bytes(path)
    limit_s, limit_bytes = _LIMIT_S + size / _BYTES_PER_S, _LIMIT_BYTES + _BYTES_PER_BYTE * size
    return bounded.run(lambda: _loaded(path, shapes or {}, kept), str(path), limit_s, limit_bytes)


def _loaded(path: Path, shapes: Mapping[str, Sequence[int]], kept: Collection[str]) -> Graph:
    model = _read(path)
    with _naming(path):
        model = inlined(model)
        _find_external(model.graph, path.parent)
        opsets = _opsets(model)
        graph = graph_from_proto(model.graph, _bound_inputs(model.graph, shapes), opsets, path.stem)
        graph = settle_weights(infer_and_fold(graph, _declared(model.graph), kept))
        graph = replace(graph, warnings=_doubts(model.graph))
    # Links are not resolved: external data is next to the link (Hugging Face's cache), not next to its target.
    return replace(graph, source=os.path.abspath(path))  # noqa: PTH100 -- Path.absolute keeps "..", resolve no links


def _doubts(graph: GraphProto) -> tuple[str, ...]:
    """The warning about tensors without values, which `materialize` draws."""
    bare = [tensor.name for tensor in graph.initializer if lacks_values(tensor)]
    if not bare:
        return ()
    count = f"{len(bare)} of its {len(graph.initializer)} stored tensors"
    return (f"its weights are random: {count} have no values in the file ({bare[0]!r} is the first)",)


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Adds the file's name to errors, and turns those of malformed content into InputErrors."""
    with reading(str(path)):
        try:
            yield
        except UnicodeDecodeError:
            raise InputError(f"{path}: a name in it is not UTF-8 text; it is damaged") from None


def _size_bytes(path: Path) -> int:
    try:
        return path.stat().st_size
    except (OSError, ValueError) as error:
        raise InputError(f"cannot read {path}: {getattr(error, 'strerror', None) or error}") from None


def _read(path: Path) -> ModelProto:
    try:
        model = onnx.load_model_from_string(path.read_bytes())
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from None
    except DecodeError:
        raise InputError(f"{path} is not an ONNX model, or only a part of one: it cannot be decoded") from None
    if not model.graph.node or not model.graph.output:
        missing = "outputs" if model.graph.node else "operators"
        raise InputError(f"{path} contains a graph without {missing}; there is nothing to run")
    return model


def _opsets(model: ModelProto) -> Opsets:
    opsets = tuple(sorted(("" if o.domain == "ai.onnx" else o.domain, o.version) for o in model.opset_import))
    if not opsets:
        raise InputError("the model does not name an operator set; is it older than ONNX 1.2?")
    version = dict(opsets).get("", OLDEST_OPSET)
    if version < OLDEST_OPSET:
        raise InputError(
            f"opset {version} is older than {OLDEST_OPSET}, the oldest that is supported; convert the model with "
            "onnx.version_converter"
        )
    return opsets


def _declared(graph: GraphProto) -> list[Tensor]:
    """Types that the file states for results of operators outside ONNX's own domain, which cannot be inferred."""
    custom = {out for n in graph.node if n.domain not in ("", "ai.onnx") for out in n.output}
    return [t for info in graph.value_info if info.name in custom and (t := tensor_type(info))]


# -- binding of dynamic shapes -----------------------------------------------------------------------


def _bound_inputs(graph: GraphProto, shapes: Mapping[str, Sequence[int]]) -> list[Tensor]:
    stored = {t.name for t in graph.initializer} | {t.values.name for t in graph.sparse_initializer}
    infos = {i.name: i for i in graph.input if i.name not in stored}
    for name in shapes:
        if name not in infos:
            raise InputError(f"--shape names {name!r}, which is not an input; inputs: {', '.join(infos)}")
    symbols: dict[str, int | None] = {}
    for name, shape in shapes.items():
        _match(infos[name], shape, symbols)
    bound = [_bound(info, shapes.get(info.name), symbols) for info in infos.values()]
    missing = [info for info, tensor in zip(infos.values(), bound, strict=True) if tensor is None]
    if missing:
        dims = "; ".join(f"input {i.name!r} is [{', '.join(_dims(i))}]" for i in missing)
        given = " ".join(map(_example, missing))
        raise InputError(f"dynamic shapes must be given: {dims}; for example (its sizes are a guess) {given}")
    return [t for t in bound if t is not None]


def _dims(info: ValueInfoProto) -> list[str]:
    """One entry for each dimension: its size, or the name of an open one ("?" without a name)."""
    dims = info.type.tensor_type.shape.dim
    return [str(d.dim_value) if is_fixed(d) else d.dim_param or "?" for d in dims]


def is_fixed(dimension: TensorShapeProto.Dimension) -> bool:
    """Whether the file states the size, which may be 0: the past of a decoder's first step."""
    return dimension.WhichOneof("value") == "dim_value" and dimension.dim_value >= 0


def _match(info: ValueInfoProto, shape: Sequence[int], symbols: dict[str, int | None]) -> None:
    """Checks the shape against the declared one and records the value of each symbol; None for one that exporters gave
    to dimensions of different sizes, which runtimes accept."""
    dims = _dims(info)
    given = f"--shape {info.name}={','.join(map(str, shape))}"
    wanted = f"input {info.name!r} is [{', '.join(dims)}]"
    if info.type.tensor_type.HasField("shape") and len(dims) != len(shape):
        raise InputError(f"{given} has {len(shape)} dimensions; {wanted}")
    if any(size < 0 for size in shape):
        raise InputError(f"{given} has a negative dimension; {wanted}")
    for dim, size in zip(dims, shape, strict=False):
        if dim.isdecimal() and int(dim) not in (size, 0):  # some exporters write 0 for an open dimension
            raise InputError(f"{given} contradicts the network: {wanted}")
        if not dim.isdecimal() and dim != "?" and symbols.setdefault(dim, size) != size:
            symbols[dim] = None


def _bound(info: ValueInfoProto, shape: Sequence[int] | None, symbols: Mapping[str, int | None]) -> Tensor | None:
    """The input with a static shape, or None where a dimension stays open."""
    if not info.type.HasField("tensor_type"):
        raise InputError(f"input {info.name!r} is not a tensor; only tensor inputs are supported")
    dtype = dtype_name(info.type.tensor_type.elem_type)
    if shape is not None:
        return Tensor(info.name, dtype, tuple(shape))
    if not info.type.tensor_type.HasField("shape"):
        return None
    sizes = [int(d) if d.isdecimal() else symbols.get(d) for d in _dims(info)]
    known = tuple(s for s in sizes if s is not None)
    return Tensor(info.name, dtype, known) if len(known) == len(sizes) else None


def _example(info: ValueInfoProto) -> str:
    """An example of the option: one sample, image sides of 224, sequences of 128."""
    dims = _dims(info)
    if not dims:
        return f"--shape {info.name}=1,..."
    usual = {2: [1, 128], 3: [1, 128, 64], 4: [1, 3, 224, 224]}.get(len(dims), [1] * len(dims))
    sizes = [d if d.isdecimal() else str(size) for d, size in zip(dims, usual, strict=True)]
    return f"--shape {info.name}={','.join(sizes)}"


# -- external data -----------------------------------------------------------------------------------


def _tensors(graph: GraphProto) -> Iterator[TensorProto]:
    """All stored tensors of the graph, including those in attributes and control-flow bodies."""
    yield from graph.initializer
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.type == AttributeProto.TENSOR:
                yield attribute.t
            elif attribute.type == AttributeProto.GRAPH:
                yield from _tensors(attribute.g)


def _find_external(graph: GraphProto, folder: Path) -> None:
    """Checks that external data exists and reads the small part on which shapes may depend."""
    for tensor in _tensors(graph):
        if uses_external_data(tensor):
            kind = stored_type(tensor)
            _resolve(tensor, folder, kind.size_bytes, read=keeps_values(kind))


def has_values(path: Path) -> bool:
    """Whether every stored tensor of the model has values, here or in an external file."""
    return not any(map(lacks_values, _read(path).graph.initializer))


def has_functions(path: Path) -> bool:
    """Whether the model calls functions of its own, whose tensors runtimes name each in its way."""
    return bool(_read(path).functions)


def external_files(path: Path) -> list[Path]:
    """The files next to a model that hold its large weights, sorted. Raises InputError as `load` does."""
    model = _read(path)
    with _naming(path):
        external = [t for t in _tensors(model.graph) if uses_external_data(t)]
        return sorted({external_data.place_of(t, path.parent).file for t in external})


def _resolve(tensor: TensorProto, folder: Path, size_bytes: int, read: bool) -> None:
    place = external_data.place_of(tensor, folder)
    length = place.length or size_bytes
    if place.file.stat().st_size < place.offset + length:
        raise InputError(f"{place.file} ends before the weights of tensor {tensor.name!r}; is it a partial download?")
    if read:
        with place.file.open("rb") as stream:
            stream.seek(place.offset)
            tensor.raw_data = stream.read(length)
        tensor.data_location = TensorProto.DEFAULT
        del tensor.external_data[:]


# -- real weights ------------------------------------------------------------------------------------


def materialize(graph: Graph, seed: int = 0) -> ModelProto:
    """The model of `graph.source` with its own weights in memory and its inputs bound to the graph's shapes.

    A graph without a source gets seeded random weights, and so do stored tensors without values. Raises InputError
    when the source is missing or has other inputs.
    """
    if graph.source is None:
        return to_model(graph, seed)
    path = Path(graph.source)
    model = _read(path)
    with _naming(path):
        model = inlined(model)
        for tensor in _tensors(model.graph):
            if uses_external_data(tensor):
                _resolve(tensor, path.parent, stored_type(tensor).size_bytes, read=True)
    _fill_in(model.graph, graph, seed)
    _bind(model.graph, graph)
    return model


def _fill_in(proto: GraphProto, graph: Graph, seed: int) -> None:
    """Gives stored tensors without values those that a graph without a source would have; zeros where it lacks them."""
    bare = [tensor for tensor in proto.initializer if lacks_values(tensor)]
    drawn = {t.name: t.raw_data for t in to_model(graph, seed).graph.initializer} if bare else {}
    for tensor in bare:
        tensor.raw_data = drawn.get(tensor.name) or bytes(stored_type(tensor).size_bytes)


def _bind(proto: GraphProto, graph: Graph) -> None:
    infos = {i.name: i for i in proto.input}
    changed = False
    for tensor in graph.inputs:
        if tensor.name not in infos:
            raise InputError(f"{graph.source} no longer has the input {tensor.name!r}; load the file again")
        if tensor_type(infos[tensor.name]) != tensor:
            infos[tensor.name].CopyFrom(value_info(tensor))
            changed = True
    if changed:  # the file's other types hold for other shapes
        del proto.value_info[:]
        for output in proto.output:
            if graph.has_type(output.name):
                output.CopyFrom(value_info(graph.type_of(output.name)))
