"""A PyTorch module as an ONNX network that trains as the module does: with its own parameters and its own operators.

2026-11-29, why a second way to export. The usual one (`hwprof.torch_io.onnx_export`) writes what inference needs:
batch norms are fused into convolutions, dropouts are gone, and equal tensors are one tensor, so that in a module
before its training the scales of all batch norms are one weight, together with their running variances. Here the
exporter folds and merges nothing, a tensor that the module uses twice is one weight, and only parameters of the
module train. A file that is deployed after the training may be optimized as before.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import GraphProto, NodeProto
from torch import nn
from torch.nn import functional
from torch.onnx import TrainingMode
from torch.overrides import TorchFunctionMode

from hwprof.graph import Graph, Tensor
from hwprof.onnx_io import load
from hwprof.onnx_io.inference import NEVER_FOLDED
from hwprof.onnx_io.tensor_uses import MOVING
from hwprof.torch_io.onnx_export import rename, trace

# Their results hold elements of their inputs, unchanged.
_LAYOUT = MOVING | {"Concat", "Gather"}
_LAYERS = {"Conv", "ConvTranspose", "Gemm", "MatMul"}
_LOST = (
    functional.dropout1d, functional.dropout2d, functional.dropout3d, functional.alpha_dropout,
    functional.feature_alpha_dropout,
)  # fmt: skip


@dataclass(frozen=True, slots=True, eq=False)
class TrainingExport:
    """The network of a module; `fixed` names its weights that the module does not train (buffers, frozen parameters),
    `notes` say, one line each, in what its training differs from the module's and what cannot be compressed."""

    graph: Graph
    fixed: frozenset[str]
    notes: tuple[str, ...]


def export_to_train(module: nn.Module, batch: Mapping[str, np.ndarray], path: Path) -> TrainingExport:
    """Traces the module with a batch, whose arrays are its arguments in their order, and writes PATH. The code is that
    of evaluation mode, with its dropouts. Where the module has no parameter that requires gradients, all train.

    batch: [n, ...] by argument. Raises InputError for a module that PyTorch cannot export.
    """
    with _WithDropout() as dropouts:
        trace(
            module, batch, path, training=TrainingMode.PRESERVE, do_constant_folding=False,
            keep_initializers_as_inputs=True,  # else PyTorch merges equal ones
        )  # fmt: skip
    model = onnx.load(path)
    _tidy(model.graph)
    onnx.save(model, path)
    parameters = dict(module.named_parameters())
    origins = _origins(model.graph, parameters)
    computed = _computed_tensors(model.graph, origins)
    tied = _tied(load(path, kept=computed), origins, {name: p.numel() for name, p in parameters.items()})
    kept = computed | {name for name, read in origins.items() if tied & read}
    graph = _with_scalars(load(path, kept=kept), parameters).renamed(type(module).__name__)
    learning = {name for name, p in parameters.items() if p.requires_grad} or set(parameters)
    fixed = frozenset(name for name in graph.weight_names if learning.isdisjoint(origins.get(name, ())))
    notes = (*_lost(module, dropouts.lost), *_differing(graph, origins, parameters))
    return TrainingExport(graph, fixed, tuple(f"{graph.name}: {note}" for note in notes))


class _WithDropout(TorchFunctionMode):
    """Turns on the dropouts of code that runs in evaluation mode; `lost` names those that ONNX does not have."""

    def __init__(self) -> None:
        super().__init__()
        self.lost: set[str] = set()

    def __torch_function__(self, func: Any, _types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if func is functional.dropout:
            x = args[0] if args else kwargs["input"]
            ratio = args[1] if len(args) > 1 else kwargs.get("p", 0.5)
            return func(x, ratio, True) if ratio else x
        if func is functional.multi_head_attention_forward:
            kwargs["training"] = True
        if func in _LOST:
            self.lost.add(func.__name__)
        return func(*args, **kwargs)


# -- the file ----------------------------------------------------------------------------------------


def _tidy(graph: GraphProto) -> None:
    """Leaves the network's own inputs alone, makes one of equal operators on stored tensors (a loop transposes a weight
    at every step), and lets the runtime's mode decide whether a dropout does anything."""
    static = {tensor.name for tensor in graph.initializer}
    inputs = [info for info in graph.input if info.name not in static]
    results = {output.name for output in graph.output}
    first: dict[bytes, NodeProto] = {}
    names: dict[str, str] = {}
    nodes = []
    for node in graph.node:
        node.input[:] = [names.get(name, name) for name in node.input]
        if node.op_type == "Dropout":
            del node.input[2:], node.output[1:]
        is_static = static.issuperset(filter(None, node.input)) and _is_plain(node)
        if is_static and results.isdisjoint(node.output):
            if node.op_type == "Identity":
                names[node.output[0]] = node.input[0]
                continue
            kept = first.setdefault(_computed(node), node)
            if kept is not node:
                names.update(zip(node.output, kept.output, strict=True))
                continue
            static.update(node.output)
        nodes.append(node)
    del graph.input[:], graph.node[:]
    graph.input.extend(inputs)
    graph.node.extend(nodes)
    rename(graph, names)


def _is_plain(node: NodeProto) -> bool:
    return node.op_type not in NEVER_FOLDED and not any(a.HasField("g") or a.graphs for a in node.attribute)


def _computed(node: NodeProto) -> bytes:
    """The same for two operators that compute the same."""
    bare = NodeProto()
    bare.CopyFrom(node)
    bare.ClearField("name")
    bare.ClearField("doc_string")
    bare.ClearField("output")
    return bare.SerializeToString(deterministic=True)


# -- parameters and the tensors made of them -----------------------------------------------------------


def _origins(graph: GraphProto, parameters: Collection[str]) -> dict[str, set[str]]:
    """By tensor the parameters that its values are computed from."""
    found = {tensor.name: {tensor.name} for tensor in graph.initializer if tensor.name in parameters}
    for node in graph.node:
        read = set() if node.op_type in ("Shape", "Size") else {o for i in node.input for o in found.get(i, ())}
        found.update(dict.fromkeys(node.output, read))
    return found


def _computed_tensors(graph: GraphProto, origins: Mapping[str, set[str]]) -> set[str]:
    """The tensors whose values are not those of parameters, but computed from them (weight norm)."""
    found: set[str] = set()
    for node in graph.node:
        if origins[node.output[0]] and (node.op_type not in _LAYOUT or not found.isdisjoint(node.input)):
            found.update(node.output)
    return found


def _tied(graph: Graph, origins: Mapping[str, set[str]], sizes: Mapping[str, int]) -> set[str]:
    """The parameters that the graph holds in several layouts, so that they would train apart. sizes: the number of
    elements by parameter."""
    made = dict.fromkeys(sizes, 0)
    for tensor in (*graph.weights, *graph.constants):
        for name in origins.get(tensor.name, ()):
            made[name] += tensor.numel
    used = {name: sum(name in origins.get(t.name, ()) for t in graph.weights) for name in sizes}
    return {name for name in sizes if used[name] > 1 and made[name] > sizes[name]}


def _with_scalars(graph: Graph, parameters: Collection[str]) -> Graph:
    """A parameter of a single number is a weight, although loading takes it for a part of the formula."""
    scalars = tuple(Tensor(c.name, c.dtype, c.shape) for c in graph.constants if c.name in parameters)
    constants = tuple(c for c in graph.constants if c.name not in parameters)
    return replace(graph, weights=(*graph.weights, *scalars), constants=constants)


# -- notes -------------------------------------------------------------------------------------------


def _lost(module: nn.Module, dropouts: Collection[str]) -> Iterator[str]:
    for name in sorted(dropouts):
        yield f"ONNX has no {name}; the network trains without it"
    for name, part in module.named_modules():
        if isinstance(part, nn.RNNBase) and part.dropout and part.num_layers > 1:
            yield f"{name!r} trains without the dropout between its layers, which ONNX does not have"
        if isinstance(part, nn.modules.batchnorm._BatchNorm) and part.track_running_stats and part.momentum is None:
            yield f"{name!r} keeps its running statistics, since ONNX has no momentum=None; give it a number"


def _differing(graph: Graph, origins: Mapping[str, set[str]], parameters: Collection[str]) -> Iterator[str]:
    """Parameters that the network does not have, and layers whose weight is not a stored one."""
    stored = {t.name for t in (*graph.weights, *graph.constants)}
    absent = sorted(set(parameters).difference(*(origins.get(name, ()) for name in stored)))
    if absent:
        yield (
            f"the network has no weight for {', '.join(absent)}: the output does not depend on it, or PyTorch merged "
            "it with another"
        )
    made: set[str] = set()
    for node in graph.nodes:
        if (stored | made).issuperset(filter(None, node.inputs)):
            made.update(node.outputs)
        for name in made.intersection(node.inputs[1:2]) if node.op in _LAYERS else ():
            sources = ", ".join(sorted(origins[name]))
            yield f"{node.label!r} computes its weight from {sources}, so methods do not change the layer"
