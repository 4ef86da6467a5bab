"""Loads the network that a user names, whatever kind of thing the user has."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from hwprof import device, onnx_io, plugins, workloads
from hwprof.errors import InputError
from hwprof.graph import Graph
from hwprof.workloads.shapes import split

Shapes = Mapping[str, Sequence[int]]
_FACTORY = re.compile(r"([A-Za-z_][\w.]*|.+\.py):[A-Za-z_][\w.]*")


def load_network(
    model: object,
    shapes: Shapes | None = None,
    folder: Path | None = None,
    example_inputs: Any = None,
    inputs: onnx_io.GivenInputs | None = None,
    *,
    as_onnx: bool = False,
) -> Graph:
    """The graph of a model: a Graph itself, an .onnx file by its path, a reference network by its name, a PyTorch
    module with its `example_inputs` or as package.module:factory or file.py:factory.

    shapes: for inputs with dynamic dimensions, by name; a text may have its own, as in "model.onnx@x=1,3,64,64",
    which become part of the network's name. inputs: what inputs hold, by name: a number, several, a text
    such as "randint:0:30000", a .npy file or an array, whose shape binds the input's. A PyTorch module is traced into a
    file in `folder`, which keeps arrays, too, or exported there `as_onnx`. Raises InputError for everything else, for a
    module without a folder or inputs, and for one that PyTorch cannot trace or export.
    """
    if isinstance(model, str) and (own := split(model))[1]:
        graph = load_network(own[0], {**(shapes or {}), **own[1]}, folder, example_inputs, inputs, as_onnx=as_onnx)
        return graph.renamed(f"{graph.name}@{model.partition('@')[2]}", graph.source)
    given = onnx_io.as_texts(inputs, folder)
    if isinstance(model, Graph):
        return onnx_io.with_values(model, given)
    if not isinstance(model, str | Path):
        return _traced(model, example_inputs, given, folder, as_onnx)
    path = Path(model)
    if path.suffix == ".onnx" or path.exists():
        known = {name: shape for name, text in given.items() if (shape := onnx_io.shape_of(name, text)) is not None}
        return onnx_io.with_values(onnx_io.load(path, {**known, **(shapes or {})}), given)
    if str(model) in workloads.names():
        if shapes:
            raise InputError(f"the shapes of workload {str(model)!r} are fixed; --shape is for .onnx files")
        return onnx_io.with_values(workloads.build(str(model)), given)
    if _FACTORY.fullmatch(str(model)):
        with plugins.optional_library("measuring a PyTorch module"):
            from hwprof import torch_io
        made, arguments = torch_io.from_factory(str(model), shapes, given)
        return _exported(made, arguments, given, folder, as_onnx, str(model).rpartition(":")[2])
    if str(model) in device.available():
        raise InputError(
            f"{str(model)!r} is a device, not a model: give --device {model} (or --devices) with a model; hwprof "
            "devices without a model lists the devices"
        )
    known_names = ", ".join(workloads.names())
    raise InputError(f"{str(model)!r} is neither an .onnx file nor a workload; workloads: {known_names}")


def _traced(
    module: object, example_inputs: Any, given: Mapping[str, str], folder: Path | None, as_onnx: bool
) -> Graph:  # fmt: skip
    with plugins.optional_library("measuring a PyTorch module"):
        from torch import nn

        from hwprof import torch_io
    arguments = torch_io.with_given(module, example_inputs, None, given) if isinstance(module, nn.Module) else None
    return _exported(module, arguments, given, folder, as_onnx)


def _exported(
    module: object, arguments: Any, given: Mapping[str, str], folder: Path | None, as_onnx: bool, name: str = ""
) -> Graph:  # fmt: skip
    if folder is None:
        raise InputError(
            "a PyTorch module needs a folder for its file; give one, or give the module itself to the function that "
            "takes a network (hp.profile, ...)"
        )
    with plugins.optional_library("measuring a PyTorch module"):
        from hwprof import torch_io
    write, suffix = (torch_io.export_onnx, ".onnx") if as_onnx else (torch_io.export, ".pt2")
    file = folder / f"module-{len(list(folder.iterdir()))}{suffix}"
    graph: Graph = write(module, arguments, file, name)
    if as_onnx:
        return onnx_io.with_values(graph, {n: text for n, text in given.items() if n in {t.name for t in graph.inputs}})
    return replace(graph, given=tuple(sorted(given.items())))
