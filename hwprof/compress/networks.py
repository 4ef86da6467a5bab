"""The network that is compressed: from what the user has to a module that trains, and back to a file that runs."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn.utils import parametrize

from hwprof import onnx_io, plugins, workloads
from hwprof.compress.float_network import float_network
from hwprof.compress.method import Network
from hwprof.device import Device
from hwprof.errors import InputError
from hwprof.graph import Graph
from hwprof.interfaces import KernelBackend, OneVariantBackend, Task
from hwprof.onnx_io.inference import fold
from hwprof.tasks.examples import examples_of
from hwprof.torch_io import from_factory, trainable
from hwprof.torch_io.training_export import export_to_train
from hwprof.variants.samples import Samples
from hwprof.variants.weights import load_weights, save_trained

_EXAMPLES = 128  # to calibrate with
_SHAPES = ("fewer channels", "fewer blocks", "lower rank", "more groups")  # every runtime runs other shapes


def open_network(
    model: object,
    task: Task,
    device: Device,
    folder: Path,
    shapes: Mapping[str, Sequence[int]] | None = None,
    seed: int = 0,
    tell: Callable[[str], None] = lambda _: None,
) -> Network:
    """The network of a Graph, a torch.nn.Module, an .onnx file, a workload, or file.py:factory of a Graph or module.

    folder: where a module is exported to, and the float network of a quantized one written; tell: is called with each
    difference between the training of the module and that of the network. Weights are those of the module or file, else
    seeded random ones. Raises InputError for everything else, and for a network that does not take the task's inputs.
    """
    inputs = _inputs(task)
    graph, fixed = _graph(model, inputs, folder, shapes, seed, tell)
    graph = float_network(graph, folder, tell)
    module = trainable(graph, load_weights(graph, seed), fixed=fixed)
    return Network(module, _examples(graph, task, inputs), int8_variant(device), fixed)


def int8_variant(device: Device) -> str:
    """The variant in which the device's runtime runs 8 bits."""
    return only_variant(device) or "int8"


def only_variant(device: Device) -> str:
    """The only variant that the device's runtime runs; empty where it runs float networks."""
    backend = plugins.load("backend", device.backend)
    return backend.variant if isinstance(backend, OneVariantBackend) else ""


def kernels_for(result: str, device: Device) -> str:
    """Whether the device has kernels for such networks: "yes", "no" or "unknown". result: a method's `Outcome`."""
    if result in _SHAPES:
        return "yes"
    backend = plugins.load("backend", device.backend)
    if not result or not isinstance(backend, KernelBackend):
        return "unknown"
    return "yes" if result in backend.kernels else "no"


def deployed(network: Network, device: Device) -> Network:
    """The network as the device runs it: itself, or quantized where its runtime takes nothing else."""
    variant = only_variant(device)
    has_grids = any(node.op == "QuantizeLinear" for node in network.graph.nodes)
    return network.rewritten(variant) if variant and not has_grids else network


def export(network: Network, path: Path) -> Graph:
    """Writes the network as an .onnx file and returns its graph as loading the file does, whose source that file is."""
    return fold(save_trained(network.module, path)).renamed(path.stem, os.fspath(path.resolve()))


def _graph(
    model: object,
    inputs: Sequence[np.ndarray],
    folder: Path,
    shapes: Mapping[str, Sequence[int]] | None,
    seed: int,
    tell: Callable[[str], None],
) -> tuple[Graph, frozenset[str]]:
    """The network, and the names of those of its weights that do not train."""
    if isinstance(model, str | Path):
        path = Path(model)
        if path.suffix == ".onnx":
            return onnx_io.load(path, shapes), frozenset()
        if str(model) in workloads.names():
            return workloads.build(str(model)), frozenset()
        if ":" not in str(model):
            raise InputError(
                f"{str(model)!r} is neither an .onnx file, a workload nor file.py:factory; workloads: "
                f"{', '.join(workloads.names())}"
            )
        with torch.random.fork_rng(devices=[]):  # a network that is yet to be trained is the same one in each run
            torch.manual_seed(seed)
            model, _ = from_factory(str(model), None)
    if isinstance(model, Graph):
        return model, frozenset()
    if not isinstance(model, nn.Module):
        raise InputError(
            f"a network is a torch.nn.Module, a Graph or an .onnx file, not of type {type(model).__name__}"
        )
    batch = {f"input{i}": array[:1] for i, array in enumerate(inputs)}
    model = _in_float32(model, tell)
    try:
        exported = export_to_train(model, batch, folder / f"{type(model).__name__}.onnx")
    except InputError as error:
        if parametrized := [name for name, part in model.named_modules() if parametrize.is_parametrized(part)]:
            raise InputError(
                f"{error}; its layer {parametrized[0]!r} computes its weight: end that first by "
                "torch.nn.utils.parametrize.remove_parametrizations"
            ) from None
        raise
    for note in exported.notes:
        tell(note)
    return exported.graph, exported.fixed


def _in_float32(module: nn.Module, tell: Callable[[str], None]) -> nn.Module:
    """A copy whose weights are float32, in which networks train; the module itself where they are."""
    others = {p.dtype for p in module.parameters() if p.is_floating_point()} - {torch.float32}
    if not others:
        return module
    names = ", ".join(sorted(str(dtype).removeprefix("torch.") for dtype in others))
    tell(f"{type(module).__name__}: its weights are {names}; it is trained and compressed in float32")
    return copy.deepcopy(module).float()


def _inputs(task: Task) -> list[np.ndarray]:
    """Some of the task's training inputs, each [n, ...]. Raises InputError for a task without any."""
    batch = next(iter(examples_of(task, "train").batches(_EXAMPLES)), None)
    if batch is None:
        raise InputError(f"task {task.name!r} has no example to train on")
    return [t.numpy() for t in (batch.inputs if isinstance(batch.inputs, tuple) else (batch.inputs,))]


def _examples(graph: Graph, task: Task, inputs: Sequence[np.ndarray]) -> Samples:
    """[n, *shape] for each input of the graph."""
    wanted = [tensor.shape for tensor in graph.inputs]
    given = [array.shape for array in inputs]
    if [shape[1:] for shape in wanted] != [shape[1:] for shape in given]:
        raise InputError(
            f"task {task.name!r} has inputs of shape {_text(given)}, which do not fit {graph.name!r}: it takes "
            f"{_text(wanted)}, where the first axis is the batch"
        )
    return {t.name: _batched(array, t.shape, t.dtype) for t, array in zip(graph.inputs, inputs, strict=True)}


def _batched(array: np.ndarray, shape: tuple[int, ...], dtype: str) -> np.ndarray:
    whole = np.resize(array, (max(len(array) // shape[0], 1) * shape[0], *array.shape[1:]))
    return whole.reshape(-1, *shape).astype(dtype)


def _text(shapes: Sequence[tuple[int, ...]]) -> str:
    return " and ".join(str(list(shape)) for shape in shapes)
