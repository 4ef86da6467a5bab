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
import re
import warnings
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr
from dataclasses import fields, is_dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch
from torch import fx, nn
from torch.export import ExportedProgram
from torch.export.graph_signature import InputKind, OutputKind, TensorArgument
from torch.nn.parameter import is_lazy
from torch.utils._pytree import tree_leaves, tree_map

from hwprof import plugins
from hwprof.errors import InputError, one_line
from hwprof.graph import AttributeValue, Graph, Node, Tensor
from hwprof.torch_io.example_inputs import ExampleInputs, called, with_given

DOMAIN = "aten"
_TORCH_NAMES = {
    torch.float32: "float32", torch.float16: "float16", torch.bfloat16: "bfloat16", torch.float64: "float64",
    torch.int8: "int8", torch.uint8: "uint8", torch.int16: "int16", torch.int32: "int32", torch.int64: "int64",
    torch.bool: "bool", torch.complex64: "complex64", torch.complex128: "complex128",
}  # fmt: skip
_FOREIGN_RESULT = ("not a known type", "TreeSpec")  # in what torch.export says of a class that it does not know
# Checks that the tracer adds. They are not of the network, and a call of each would be timed.
_CHECKS = re.compile(r"aten\._assert_|aten\.sym_constrain_range|.*::_assert|aten\._check")
_OTHERWISE_EQUAL = ("sample_inputs", "serialization_id")  # parts of a .pt2 that differ although the network does not


def export(module: object, example_inputs: ExampleInputs | None, path: Path, name: str = "") -> Graph:
    """Traces the module in evaluation mode, writes PATH and returns its graph, whose source is that file.

    example_inputs: a tensor, a sequence of arguments, or a mapping of keyword arguments. Raises InputError
    for an object that is not a module, without inputs, and for a module that torch.export cannot trace.
    """
    name = name or type(module).__name__
    module, (args, kwargs) = called(module, example_inputs, name)
    was_training = module.training
    try:
        with _quietly(), torch.no_grad():
            program = _written(module.eval(), args, kwargs, path)
    except Exception as error:  # noqa: BLE001 -- whatever user code and tracer raise
        raise InputError(f"torch.export cannot trace {name!r}: {_cause(error)}") from None
    finally:
        module.train(was_training)
    return graph_of(program, name, path)


def _written(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], path: Path) -> ExportedProgram:
    """The program of the module, which is also in PATH."""
    if any(map(is_lazy, module.parameters())):
        module(*args, **kwargs)
    try:
        program = torch.export.export(module, args, kwargs)
        torch.export.save(program, path)
    except (RuntimeError, NotImplementedError, ValueError) as error:
        if isinstance(module, _Flattened) or not any(words in str(error) for words in _FOREIGN_RESULT):
            raise
        return _written(_Flattened(module), args, kwargs, path)
    return program


class _Flattened(nn.Module):
    """A module whose results, of a class that torch.export does not know, come as a plain list of tensors."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, *args: Any, **kwargs: Any) -> list[torch.Tensor]:
        return list(_results(self.module(*args, **kwargs)))


def _results(value: Any) -> Iterator[torch.Tensor]:
    if isinstance(value, torch.Tensor):
        yield value
        return
    if is_dataclass(value):
        value = [getattr(value, f.name) for f in fields(value)]
    for part in value.values() if isinstance(value, Mapping) else value if isinstance(value, list | tuple) else ():
        yield from _results(part)


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
    outputs = _outputs(program)
    if not outputs:
        raise InputError(f"{name!r} returns no tensor; there is nothing to run")
    user = {s.arg.name for s in signature.input_specs if s.kind is InputKind.USER_INPUT}
    placeholders = [n for n in program.graph.nodes if n.op == "placeholder"]
    calls = _calls(program, name)
    return Graph(
        inputs=tuple(t for n in placeholders if n.name in user for t in _tensors(n)),
        outputs=outputs,
        nodes=tuple(_node(n) for n in calls),
        weights=tuple(t for n in placeholders if n.name not in user for t in _tensors(n) if n.users),
        values=tuple(t for n in calls for t in _tensors(n)),
        opsets=((DOMAIN, 1),),
        name=name,
        source=str(path.resolve()),
    )


def _outputs(program: ExportedProgram) -> tuple[str, ...]:
    """Names of the tensors that the module returns."""
    specs = program.graph_signature.output_specs
    return tuple(
        s.arg.name for s in specs if s.kind is OutputKind.USER_OUTPUT and isinstance(s.arg, TensorArgument)
    )  # fmt: skip


def _calls(program: ExportedProgram, name: str) -> list[fx.Node]:
    """The operators of the network in their order: all calls but the tracer's checks and what only they read."""
    calls: list[fx.Node] = []
    needed: set[fx.Node] = set()
    for call in reversed(program.graph.nodes):
        if call.op == "placeholder" or _CHECKS.match(str(call.target)):
            continue
        is_size = call.op == "call_function" and not _is_tensor(call) and not call.is_impure()
        if is_size and call not in needed:
            continue
        needed.update(call.all_input_nodes)
        if call.op != "output":
            calls.insert(0, call)
    for call in calls:
        if call.op != "call_function":
            raise InputError(
                f"{name!r} has control flow ({call.name}), which cannot be timed; export a module without it"
            )
    return calls


def _is_tensor(node: fx.Node) -> bool:
    """Whether a result is a tensor, and not a size that is read off one."""
    return any(isinstance(v, torch.Tensor) for v in tree_leaves(node.meta.get("val")))


def _named(node: fx.Node) -> Iterator[tuple[str, torch.Tensor]]:
    """The node's results, several of which are told apart by their number."""
    value = node.meta.get("val")
    if isinstance(value, torch.Tensor):
        yield node.name, value
    elif isinstance(value, list | tuple):
        yield from ((_result(node, i), v) for i, v in enumerate(value) if isinstance(v, torch.Tensor))


def _tensors(node: fx.Node) -> Iterator[Tensor]:
    """The types of the node's results. Those whose shape depends on the data are not known."""
    for name, value in _named(node):
        if all(isinstance(d, int) for d in value.shape):
            yield Tensor(name, _TORCH_NAMES.get(value.dtype, str(value.dtype)), tuple(value.shape))


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
    outputs = tuple(name for name, _ in _named(call)) or (call.name,)
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
    calls = set(_calls(program, ""))
    number = 0
    for node in program.graph.nodes:
        if node.op == "placeholder" and node.name in stored:
            if node.users:
                root.register_buffer(node.name, _stored(program, stored[node.name]))
                made[node] = code.get_attr(node.name)
        elif node.op == "placeholder":
            if isinstance(node.meta.get("val"), torch.Tensor):  # a number or a text is part of the code already
                made[node] = code.placeholder(node.name)
        elif node in calls:
            copied = made[node] = code.node_copy(node, lambda n: made[n])
            copied.args, copied.kwargs = tree_map(there, copied.args), tree_map(there, copied.kwargs)
            copied.name = f"n{number}"
            number += 1
        elif node.op == "output":
            wanted = set(_outputs(program))
            code.output(tuple(made[n] for n in node.args[0] if isinstance(n, fx.Node) and n.name in wanted))
    return fx.GraphModule(root, code).eval()


def _stored(program: ExportedProgram, target: str | None) -> torch.Tensor:
    value = program.state_dict.get(target, program.constants.get(target))
    if not isinstance(value, torch.Tensor):
        raise InputError(f"the traced program holds {target!r}, which is not a tensor")
    return value.detach()


# -- where modules come from -------------------------------------------------------------------------


def from_factory(
    spec: str, shapes: Mapping[str, Sequence[int]] | None, given: Mapping[str, str] | None = None
) -> tuple[object, ExampleInputs | None]:
    """The result of package.module:factory: a module, or a module with example inputs, or with arguments and keyword
    arguments.

    shapes, given: as `with_given` takes them. Raises InputError for a path that leads to nothing, for a factory that
    fails, and for a name that is not an argument.
    """
    found = plugins.user_object(spec)
    try:
        made = found() if callable(found) and not isinstance(found, nn.Module) else found
    except Exception as error:  # noqa: BLE001 -- whatever user code raises
        raise InputError(f"{spec!r} does not return a module: {_cause(error)}") from None
    inputs: ExampleInputs | None = None
    if isinstance(made, tuple) and len(made) in (2, 3):
        made, *rest = made
        inputs = rest[0] if len(rest) == 1 else (tuple(rest[0]), rest[1])
    if not isinstance(made, nn.Module):
        return made, inputs
    return made, with_given(made, inputs, shapes, given)


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


def _cause(error: Exception) -> str:
    """The error's class and the start of its text, which may go on for pages."""
    text = one_line(error)
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
