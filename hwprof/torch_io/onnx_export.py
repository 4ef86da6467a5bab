"""A PyTorch module as a float ONNX network, weights included."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import GraphProto, numpy_helper
from torch import nn

from hwprof.errors import InputError
from hwprof.graph import Graph
from hwprof.onnx_io import load
from hwprof.torch_io.example_inputs import ExampleInputs, called, tensor_names

_OPSET = 21  # the first with integers of 16 bits


def export(module: object, batch: Mapping[str, np.ndarray], path: Path) -> Graph:
    """Traces the module in evaluation mode with a batch, whose arrays are its arguments in their order, and writes
    PATH. batch: [n, ...] by argument. Raises InputError for an object that is not a module, and for a module that
    PyTorch cannot export.

    2026-11-21: uses PyTorch's older exporter, which needs no further library and keeps an LSTM as one operator. A layer
    of a transformer is exported by its parts: ONNX has no operator for the single one that PyTorch makes of it.
    """
    if not isinstance(module, nn.Module):
        raise InputError(f"calibration needs a Graph or a torch.nn.Module, not {type(module).__name__}")
    trace(module, batch, path)
    _share_weights(path)
    return load(path).renamed(type(module).__name__)


def export_onnx(module: object, example_inputs: ExampleInputs | None, path: Path, name: str = "") -> Graph:
    """The module as `export` writes it, from the arguments that `hwprof.torch_io.export` takes, with a warning that
    says so: the runtime does not run the module itself. Raises InputError as that does, and for a module that PyTorch
    cannot export."""
    name = name or type(module).__name__
    module, (args, kwargs) = called(module, example_inputs, name)
    _write(module, args, kwargs, tensor_names(module, args, kwargs), path)
    _share_weights(path)
    graph = load(path).renamed(name)
    return replace(graph, warnings=(*graph.warnings, f"exported from the PyTorch module to ONNX, opset {_OPSET}"))


def trace(module: nn.Module, batch: Mapping[str, np.ndarray], path: Path, **settings: Any) -> None:
    """Writes what PyTorch's exporter makes of the module in evaluation mode. batch: [n, ...] by argument; settings:
    those of `torch.onnx.export`. Raises InputError for a module that PyTorch cannot export."""
    arguments = tuple(torch.from_numpy(np.ascontiguousarray(array)) for array in batch.values())
    _write(module, arguments, {}, list(batch), path, **settings)


def _write(
    module: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any], names: list[str], path: Path, **settings: Any
) -> None:  # fmt: skip
    was_training, before = module.training, logging.root.manager.disable
    was_fused = torch.backends.mha.get_fastpath_enabled()
    logging.disable(logging.WARNING)
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with warnings.catch_warnings(), torch.no_grad(), _without_log():
            warnings.simplefilter("ignore")  # that it is the older one, and that all batches have one size
            torch.onnx.export(
                module.eval(), args, path, kwargs=dict(kwargs) or None, input_names=names, opset_version=_OPSET,
                dynamo=False, **settings,
            )  # fmt: skip
    except Exception as error:  # noqa: BLE001 -- whatever user code and tracer raise
        reason = next((line for line in str(error).splitlines() if line.strip()), "")
        raise InputError(f"PyTorch cannot export {type(module).__name__}: {reason}") from None
    finally:
        module.train(was_training)
        torch.backends.mha.set_fastpath_enabled(was_fused)
        logging.disable(before)


@contextmanager
def _without_log() -> Iterator[None]:
    """The exporter prints its whole graph where it fails: PyTorch 2.13 turns its log on and never off."""
    core: Any = torch._C
    log = getattr(core, "_jit_onnx_log", None)
    core._jit_onnx_log = lambda *_words: None
    try:
        yield
    finally:
        core._jit_onnx_log = log


def _share_weights(path: Path) -> None:
    """Keeps one of equal weights, and one name of each: where a loop uses a weight at every step, the exporter stores
    copies of it or puts an Identity after it."""
    model = onnx.load(path)
    first: dict[tuple[int, tuple[int, ...], bytes], str] = {}
    names: dict[str, str] = {}
    for tensor in model.graph.initializer:
        key = tensor.data_type, tuple(tensor.dims), numpy_helper.to_array(tensor).tobytes()
        names[tensor.name] = first.setdefault(key, tensor.name)
    nodes = []
    results = {output.name for output in model.graph.output}
    for node in model.graph.node:
        if node.op_type == "Identity" and node.input[0] in names and results.isdisjoint(node.output):
            names[node.output[0]] = names[node.input[0]]
        else:
            nodes.append(node)
    kept = [tensor for tensor in model.graph.initializer if names[tensor.name] == tensor.name]
    if len(kept) < len(names):  # a name that is another's is in `names`, too
        del model.graph.initializer[:], model.graph.node[:]
        model.graph.initializer.extend(kept)
        model.graph.node.extend(nodes)
        rename(model.graph, names)
        onnx.save(model, path)


def rename(graph: GraphProto, names: Mapping[str, str]) -> None:
    """Renames the inputs of all operators, in the bodies of others too; names are unique in the whole file."""
    for node in graph.node:
        node.input[:] = [names.get(name, name) for name in node.input]
        for attribute in node.attribute:
            rename(attribute.g, names)
