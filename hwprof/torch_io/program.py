"""A user's own PyTorch module in a form that other processes can run: a .pt2 file by torch.export, and its Graph.

2026-11-21, why a file. A measurement runs in processes of its own, perhaps on another machine, so it cannot take a
module in memory. torch.export writes down the operators with their shapes and the weights; the Graph
made of it (operators of the domain "aten") has a digest, so that a measurement is found again and data sets can
hold it. The alternative, the import path of a factory, would work only where the user's code is installed, and nobody
could tell whether it is still the same network. The traced program is timed: the operators without the Python around
them. A module that torch.export cannot trace is refused with its reason.
"""

from __future__ import annotations

import io
import logging
import operator
import warnings
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr
from hashlib import sha256
from pathlib import Path
from typing import Any, TypeAlias

import torch
from torch import fx, nn
from torch.export import ExportedProgram
from torch.export.graph_signature import InputKind, OutputKind
from torch.utils._pytree import tree_leaves, tree_map

from hwprof import plugins
from hwprof.errors import InputError
from hwprof.graph import AttributeValue, Graph, Node, Tensor

SUFFIX = ".pt2"
DOMAIN = "aten"
ExampleInputs: TypeAlias = torch.Tensor | Sequence[Any] | Mapping[str, Any]
_TORCH_NAMES = {
    torch.float32: "float32", torch.float16: "float16", torch.bfloat16: "bfloat16", torch.float64: "float64",
    torch.int8: "int8", torch.uint8: "uint8", torch.int16: "int16", torch.int32: "int32", torch.int64: "int64",
    torch.bool: "bool", torch.complex64: "complex64", torch.complex128: "complex128",
}  # fmt: skip
_OTHERWISE_EQUAL = ("sample_inputs", "serialization_id")  # parts of a .pt2 that differ although the network does not


def export(module: object, example_inputs: ExampleInputs | None, path: Path, name: str = "") -> Graph:
    """Traces the module in evaluation mode, writes PATH and returns its graph, whose source is that file.

    example_inputs: a tensor, a sequence of arguments, or a mapping of keyword arguments. Raises InputError
    for an object that is not a module, without inputs, and for a module that torch.export cannot trace.
    """
    if not isinstance(module, nn.Module):
        raise InputError(f"a network is an .onnx file, a workload or a torch.nn.Module, not {type(module).__name__}")
    name = name or type(module).__name__
    if example_inputs is None:
        raise InputError(
            f"{name!r} is a PyTorch module: give its inputs (example_inputs=, or --shape NAME=1,3,224,224)"
        )
    args, kwargs = _arguments(example_inputs)
    was_training = module.training
    try:
        with _quietly(), torch.no_grad():
            program = torch.export.export(module.eval(), args, dict(kwargs))
            torch.export.save(program, path)
    except Exception as error:  # noqa: BLE001 -- whatever user code and tracer raise
        raise InputError(f"torch.export cannot trace {name!r}: {_first_line(error)}") from None
    finally:
        module.train(was_training)
    return graph_of(program, name, path)


def is_program(graph: Graph) -> bool:
    """Whether the graph was made from a PyTorch module."""
    return graph.source is not None and graph.source.endswith(SUFFIX)


def load_program(graph: Graph, floats: torch.dtype, place: torch.device) -> tuple[fx.GraphModule, list[torch.Tensor]]:
    """The module of the graph's file, which takes its inputs one by one and returns a tuple, and example inputs, each
    [*shape] of the graph's input.

    Both are on `place`, and float32 becomes `floats`. Raises InputError when the file is gone or holds another network.
    """
    assert graph.source is not None
    path = Path(graph.source)
    if not path.is_file():
        raise InputError(f"the traced program of {graph.name!r} is gone: {path}")
    with _quietly():
        program = torch.export.load(path)
    if graph_of(program, graph.name, path) != graph:
        raise InputError(f"{path} holds another network than {graph.name!r}")
    module = _flat_module(program, floats, place).to(place)
    args, kwargs = program.example_inputs
    inputs = [v.to(place) for v in tree_leaves((args, kwargs)) if isinstance(v, torch.Tensor)]
    if floats is torch.float32:
        return module, inputs
    return module.to(floats), [v.to(floats) if v.dtype is torch.float32 else v for v in inputs]


def content_digest(path: Path) -> str:
    """A digest of operators and weights in a .pt2 file, the same for two traces of one module. Raises InputError for
    another kind of file."""
    try:
        with zipfile.ZipFile(path) as archive:
            parts = sorted(
                (i.filename.partition("/")[2], i.CRC)
                for i in archive.infolist()
                if not any(word in i.filename for word in _OTHERWISE_EQUAL)
            )
    except (OSError, zipfile.BadZipFile) as error:
        raise InputError(f"{path} is not a traced PyTorch program: {error}") from None
    return sha256(repr(parts).encode()).hexdigest()


# -- the graph of a program --------------------------------------------------------------------------


def graph_of(program: ExportedProgram, name: str, path: Path) -> Graph:
    """The program's operators with their shapes; weights and example inputs stay in the file."""
    signature = program.graph_signature
    user = {s.arg.name for s in signature.input_specs if s.kind is InputKind.USER_INPUT}
    placeholders = [n for n in program.graph.nodes if n.op == "placeholder"]
    calls = _calls(program, name)
    return Graph(
        inputs=tuple(t for n in placeholders if n.name in user for t in _tensors(n)),
        outputs=tuple(s.arg.name for s in signature.output_specs if s.kind is OutputKind.USER_OUTPUT),
        nodes=tuple(_node(n) for n in calls),
        weights=tuple(t for n in placeholders if n.name not in user for t in _tensors(n) if n.users),
        values=tuple(t for n in calls for t in _tensors(n)),
        opsets=((DOMAIN, 1),),
        name=name,
        source=str(path.resolve()),
    )


def _calls(program: ExportedProgram, name: str) -> list[fx.Node]:
    calls = [n for n in program.graph.nodes if n.op not in ("placeholder", "output")]
    for call in calls:
        if call.op != "call_function":
            raise InputError(
                f"{name!r} has control flow ({call.name}), which cannot be timed; export a module without it"
            )
    return calls


def _tensors(node: fx.Node) -> Iterator[Tensor]:
    """The types of the node's results, several of which are told apart by their number."""
    value = node.meta.get("val")
    if isinstance(value, torch.Tensor):
        yield _tensor(node.name, value)
    elif isinstance(value, list | tuple):
        yield from (_tensor(_result(node, i), v) for i, v in enumerate(value) if isinstance(v, torch.Tensor))


def _tensor(name: str, value: torch.Tensor) -> Tensor:
    return Tensor(name, _TORCH_NAMES.get(value.dtype, str(value.dtype)), tuple(int(d) for d in value.shape))


def _result(node: fx.Node, i: int) -> str:
    return f"{node.name}.{i}"


def _node(call: fx.Node) -> Node:
    """Tensors are inputs; everything else is an attribute, named by its place or keyword."""
    if call.target is operator.getitem:
        of, i = call.args
        assert isinstance(of, fx.Node)
        assert isinstance(i, int)
        return Node("getitem", (_result(of, i),), (call.name,), (("arg1", i),), DOMAIN, call.name)
    inputs: list[str] = []
    attributes: dict[str, AttributeValue] = {}
    for key, value in (*((f"arg{i}", a) for i, a in enumerate(call.args)), *call.kwargs.items()):
        fx.node.map_arg(value, lambda n: inputs.append(n.name))
        attributes[key] = _attribute(value)
    op = str(call.target) if isinstance(call.target, str) else _title(call.target)
    outputs = tuple(t.name for t in _tensors(call)) or (call.name,)
    return Node(op, tuple(inputs), outputs, tuple(attributes.items()), DOMAIN, call.name)


def _title(target: Callable[..., Any]) -> str:
    """conv2d.default for torch.ops.aten.conv2d.default."""
    return str(target).removeprefix("aten.") if isinstance(target, torch._ops.OpOverload) else target.__name__


def _attribute(value: Any) -> AttributeValue:
    if isinstance(value, fx.Node):
        return "tensor"
    if isinstance(value, int | float | str):
        return value
    if isinstance(value, list | tuple) and all(isinstance(v, int | float) for v in value):
        return tuple(value)
    if isinstance(value, list | tuple):
        return tuple(str(_attribute(v)) for v in value)
    return str(value)


# -- the module of a program -------------------------------------------------------------------------


def _flat_module(program: ExportedProgram, floats: torch.dtype, place: torch.device) -> fx.GraphModule:
    """Plain code, without the checks and nested arguments that `ExportedProgram.module` adds, which would be timed too.

    Where the traced code makes a tensor, it names the device and the type of the trace: `place` and `floats` replace
    them, or the masks and positions of a model would stay on the host.
    """

    def there(value: Any) -> Any:
        if isinstance(value, torch.device):
            return place
        return floats if value is torch.float32 else value

    root, code = nn.Module(), fx.Graph()
    stored = {s.arg.name: s.target for s in program.graph_signature.input_specs if s.kind is not InputKind.USER_INPUT}
    made: dict[fx.Node, fx.Node] = {}
    number = 0
    for node in program.graph.nodes:
        if node.op == "placeholder" and node.name in stored:
            if node.users:
                root.register_buffer(node.name, _stored(program, stored[node.name]))
                made[node] = code.get_attr(node.name)
        elif node.op == "placeholder":
            made[node] = code.placeholder(node.name)
        elif node.op == "call_function":
            copied = made[node] = code.node_copy(node, lambda n: made[n])
            copied.args, copied.kwargs = tree_map(there, copied.args), tree_map(there, copied.kwargs)
            copied.name = f"n{number}"
            number += 1
        else:
            wanted = set(program.graph_signature.user_outputs)
            code.output(tuple(made[n] for n in node.args[0] if isinstance(n, fx.Node) and n.name in wanted))
    return fx.GraphModule(root, code).eval()


def _stored(program: ExportedProgram, target: str | None) -> torch.Tensor:
    value = program.state_dict.get(target, program.constants.get(target))
    if not isinstance(value, torch.Tensor):
        raise InputError(f"the traced program holds {target!r}, which is not a tensor")
    return value.detach()


# -- where modules come from -------------------------------------------------------------------------


def from_factory(spec: str, shapes: Mapping[str, Sequence[int]] | None) -> tuple[object, ExampleInputs | None]:
    """The result of package.module:factory: a module, or a module with example inputs.

    shapes: those of float32 inputs that are drawn at random, in the order of the arguments, where the factory gives
    none. Raises InputError for a path that leads to nothing and for a factory that fails.
    """
    found = plugins.user_object(spec)
    try:
        made = found() if callable(found) and not isinstance(found, nn.Module) else found
    except Exception as error:  # noqa: BLE001 -- whatever user code raises
        raise InputError(f"{spec!r} does not return a module: {_first_line(error)}") from None
    if isinstance(made, tuple) and len(made) == 2:
        return made
    if not shapes:
        return made, None
    drawn = torch.Generator().manual_seed(0)
    return made, [torch.randn(*shape, generator=drawn) for shape in shapes.values()]


def _arguments(example_inputs: ExampleInputs) -> tuple[tuple[Any, ...], Mapping[str, Any]]:
    if isinstance(example_inputs, torch.Tensor):
        return (example_inputs,), {}
    if isinstance(example_inputs, Mapping):
        return (), example_inputs
    return tuple(example_inputs), {}


@contextmanager
def _quietly() -> Iterator[None]:
    """Silences warnings and log lines of PyTorch's parts about one another, and the code that it prints when it fails:
    the reason is in the exception."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
