"""The state of a lowering: the integer values that represent tensors, and the operations between them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from hwprof.errors import InputError
from hwprof.graph import Graph, Node
from hwprof.integer.lowering.sharing import Shared
from hwprof.integer.numerics.grid import Grid, Stored
from hwprof.integer.program.program import Entry, IntegerType, Operation, Reshape, Table, Transpose, Value

_UNFORESEEN = (ArithmeticError, AssertionError, AttributeError, LookupError, RuntimeError, TypeError, ValueError)


@dataclass(frozen=True, slots=True)
class Held:
    """A quantized tensor as a value. `shape` is the ONNX shape; in memory the channels are last where `is_image`."""

    value: str
    grid: Grid
    shape: tuple[int, ...]
    is_image: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Code:
    """A function of the integers of an input. values: [n], the results for 0 to n - 1; shape: of the tensor."""

    input: str
    values: np.ndarray
    shape: tuple[int, ...]


WANTED = "--variant integer quantizes all operators of the float network"


def image_axes(rank: int) -> tuple[int, ...]:
    """The axes of an image in memory, channels last, in ONNX's numbering."""
    return (0, *range(2, rank), 1)


def refuse(node: Node, reason: str) -> InputError:
    """The error for an operator that cannot run with integers only."""
    return InputError(f"operator {node.op} {node.label!r} cannot run with integers only: {reason}")


@contextmanager
def unforeseen_is_refused(node: Node) -> Iterator[None]:
    """A context in which a network that a rule did not foresee ends in an InputError that names the operator."""
    try:
        yield
    except _UNFORESEEN as error:
        words = " ".join(str(error).split()) or "no reason given"
        reason = f"its attributes or shapes are not supported ({type(error).__name__}: {words})"
        raise refuse(node, reason) from error


class SymbolTable:
    """Values by tensor name, and the operations in the order in which they run.

    `integers`: quantized tensors. `views`: float tensors that are dequantized values. `stored`: weights. `codes`:
    functions of an integer input. `pending`: float tensors that wait for their QuantizeLinear, with the node that
    computes them. `layers`: states of recurrent layers, by label. `shared`: weights of operations.
    """

    def __init__(self, graph: Graph, weights: Mapping[str, np.ndarray]) -> None:
        self.graph = graph
        self.weights = weights
        self.integers: dict[str, Held] = {}
        self.views: dict[str, Held] = {}
        self.stored: dict[str, Stored] = {}
        self.codes: dict[str, Code] = {}
        self.pending: dict[str, Node] = {}
        self.layers: dict[str, Held] = {}
        self.operations: list[Operation] = []
        self.values: dict[str, Value] = {}
        self.constants: dict[str, np.ndarray] = {}
        self.entries: list[Entry] = []
        self.shared = Shared()
        self._functions: dict[str, tuple[str, np.ndarray]] = {}
        self._moved: dict[tuple[str, bool], Held] = {}

    def new_value(self, name: str, shape: Sequence[int], dtype: IntegerType = "uint8") -> str:
        """A new value with the name of the tensor, or a variant of it where that name is taken."""
        unique = name if name not in self.values else f"{name}#{len(self.values)}"
        self.values[unique] = Value(unique, tuple(shape), dtype)
        return unique

    def reals(self, name: str) -> np.ndarray | None:
        """float64 [...]: a weight, dequantized where a DequantizeLinear reads it; None for a computed tensor."""
        if name in self.stored:
            return self.stored[name].real()
        return np.asarray(self.weights[name], np.float64) if name in self.weights else None

    def view(self, node: Node, name: str) -> Held:
        """The same as `any_view`, but only with 8 bits: raises InputError for a 16-bit tensor, too."""
        held = self.any_view(node, name)
        if held.grid.dtype != "uint8":
            raise refuse(node, f"its input {name!r} has 16 bits, but 8 are supported; quantize that input to 8 bits")
        return held

    def any_view(self, node: Node, name: str) -> Held:
        """The quantized tensor that a float input of the node views. Raises InputError where it is not quantized."""
        if name in self.views:
            return self.views[name]
        if name in self.stored:
            return self.constant(node, name)
        if name not in self.pending:
            raise refuse(node, f"its input {name!r} is not quantized")
        first = self.first_in_float(name)
        raise refuse(first, f"{self.left_in_float(first)}, so {node.op} {node.label!r} reads {name!r} in float")

    def first_in_float(self, name: str) -> Node:
        """The operator that begins the stretch of float operators which computes the tensor."""
        node = self.pending[name]
        before = next((n for n in node.inputs if n in self.pending and n not in self.views), None)
        return node if before is None else self.first_in_float(before)

    def left_in_float(self, node: Node) -> str:
        """The begin of the error for an operator whose result has no grid."""
        return f"the quantizer left it in float: its result {node.outputs[0]!r} is not quantized; {WANTED}"

    def stored_bytes(self, node: Node, name: str) -> tuple[np.ndarray, Grid]:
        """A stored tensor as uint8 [...], and its grid. Raises InputError where it has another type or several
        scales."""
        stored = self.stored[name]
        if stored.values.dtype.itemsize != 1 or stored.axis is not None:
            raise refuse(node, f"its stored input {name!r} does not have 8 bits and one scale")
        return stored.held()

    def constant(self, node: Node, name: str) -> Held:
        """A stored tensor as an activation."""
        self.views[name] = self.keep(name, *self.stored_bytes(node, name))
        return self.views[name]

    def keep(self, name: str, array: np.ndarray, grid: Grid) -> Held:
        """Integers [...] on the grid as a constant of the program."""
        value = self.new_value(name, array.shape, grid.dtype)
        self.constants[value] = array
        return Held(value, grid, array.shape)

    def function(self, value: str) -> tuple[str, np.ndarray]:
        """The 8-bit value that this one is an element-wise function of, and the function: [256]."""
        return self._functions.get(value, (value, np.arange(256, dtype=np.uint8)))

    def tabulate(self, operation: Table) -> None:
        """Appends the operation, and records the value that its result is a function of."""
        self.operations.append(operation)
        self._functions[operation.y] = (operation.x, operation.table)

    def image(self, held: Held) -> Held:
        """The same tensor with the channels last."""
        return held if held.is_image else self._change(held, to_image=True)

    def plain(self, held: Held) -> Held:
        """The same tensor in ONNX's order of axes."""
        return self._change(held, to_image=False) if held.is_image else held

    def reshaped(self, held: Held, shape: Sequence[int], name: str, members: tuple[str, ...] = ()) -> Held:
        """The bytes of `held`, in whichever order of axes, under another shape, one of whose sizes may be -1."""
        if -1 in shape:
            rest = math.prod(self.values[held.value].shape) // -math.prod(shape)
            shape = tuple(rest if n == -1 else n for n in shape)
        value = self.new_value(name, shape, held.grid.dtype)
        self.operations.append(Reshape(name, members, held.value, value))
        return Held(value, held.grid, tuple(shape))

    def transposed(self, held: Held, order: Sequence[int], name: str, members: tuple[str, ...] = ()) -> Held:
        """The tensor with another order of ONNX's axes."""
        plain = self.plain(held)
        if tuple(order) == tuple(range(len(plain.shape))):
            return plain
        size = tuple(plain.shape[axis] for axis in order)
        value = self.new_value(name, size, held.grid.dtype)
        self.operations.append(Transpose(members[0] if members else name, members, plain.value, value, tuple(order)))
        return Held(value, held.grid, size)

    def with_shape(self, held: Held, shape: Sequence[int], name: str, members: tuple[str, ...] = ()) -> Held:
        """The tensor in another ONNX shape; unchanged where that is its own."""
        return held if held.shape == tuple(shape) else self.reshaped(self.plain(held), shape, name, members)

    def _change(self, held: Held, to_image: bool) -> Held:
        key = (held.value, to_image)
        if key not in self._moved:
            order = image_axes(len(held.shape))
            shape = tuple(held.shape[axis] for axis in order) if to_image else held.shape
            value = self.new_value(held.value, shape, held.grid.dtype)
            name = f"{held.value} {'channels last' if to_image else 'channels first'}"
            if held.shape[1] == 1 or math.prod(held.shape[2:]) == 1:
                self.operations.append(Reshape(name, (), held.value, value))
            else:
                turned = order if to_image else tuple(int(axis) for axis in np.argsort(order))
                self.operations.append(Transpose(name, (), held.value, value, turned))
            self._moved[key] = Held(value, held.grid, held.shape, to_image)
        return self._moved[key]
