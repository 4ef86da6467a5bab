"""Loads the network that a user names, whatever kind of thing the user has."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hwprof import onnx_io, plugins, workloads
from hwprof.errors import InputError
from hwprof.graph import Graph

Shapes = Mapping[str, Sequence[int]]
_FACTORY = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*")


def load_network(
    model: object, shapes: Shapes | None = None, folder: Path | None = None, example_inputs: Any = None
) -> Graph:
    """The graph of a model: a Graph itself, an .onnx file by its path, a reference network by its name, a PyTorch
    module with its `example_inputs` or as package.module:factory.

    shapes: for inputs with dynamic dimensions, by name. A PyTorch module is traced into a file in `folder`.
    Raises InputError for everything else, and for a module without a folder.
    """
    if isinstance(model, Graph):
        return model
    if not isinstance(model, str | Path):
        return _traced(model, example_inputs, folder)
    path = Path(model)
    if path.suffix == ".onnx" or path.exists():
        return onnx_io.load(path, shapes)
    if str(model) in workloads.names():
        if shapes:
            raise InputError(f"the shapes of workload {str(model)!r} are fixed; --shape is for .onnx files")
        return workloads.build(str(model))
    if _FACTORY.fullmatch(str(model)):
        with plugins.optional_library("measuring a PyTorch module"):
            from hwprof import torch_io
        made, inputs = torch_io.from_factory(str(model), shapes)
        return _traced(made, inputs, folder, str(model).rpartition(":")[2])
    known = ", ".join(workloads.names())
    raise InputError(f"{str(model)!r} is neither an .onnx file nor a workload; workloads: {known}")


def _traced(module: object, example_inputs: Any, folder: Path | None, name: str = "") -> Graph:
    if folder is None:
        raise InputError("a PyTorch module can be profiled and compared; for the rest give an .onnx file or a workload")
    with plugins.optional_library("measuring a PyTorch module"):
        from hwprof import torch_io
    file = folder / f"traced-{len(list(folder.iterdir()))}.pt2"
    return torch_io.export(module, example_inputs, file, name)
