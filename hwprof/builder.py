"""Builds a `Graph` operator by operator and computes every shape on the way (without a runtime, in microseconds).

Each method adds one ONNX operator and returns the name of its output. `GraphBuilder.node` adds any
operator whose output types the caller knows.

2026-11-29, why shapes and attributes are computed once for each different layer. A search builds thousands of networks
of the same few layers; only their names differ. The functions that are cached see Python's own integers alone: a NumPy
integer is equal to them, but JSON cannot hold it, and it would come back from the cache for other callers.

A `block` is kept with its names, too: drawn at random, 9 of 10 edges of NAS-Bench-201's networks are at a place where
one of the 3,000 networks before them had the same.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache, wraps
from operator import index
from typing import Any, Concatenate, Literal, NamedTuple, ParamSpec

from hwprof.errors import InputError
from hwprof.graph import AttributeValue, Constant, Graph, Node, Tensor

OPSET = 17
_MOST_LAYERS = 1 << 14
_MOST_TENSORS = 1 << 16
_MOST_BLOCKS = 1 << 15  # of about 2 kB

_Sizes = ParamSpec("_Sizes")
_Shape = tuple[int, ...]
_Attributes = tuple[tuple[str, AttributeValue], ...]


class GraphBuilder:
    """Collects operators; `build` returns the frozen graph. Tensors are named by strings."""

    def __init__(self, name: str, opset: int = OPSET) -> None:
        self._name = name
        self._opset = opset
        self._is_of_block = False
        # The numbers in the names of the first operator, weight and constant.
        self._first_node, self._first_weight, self._first_constant = 0, 0, 0
        self._inputs: list[Tensor] = []
        self._nodes: list[Node] = []
        self._weights: list[Tensor] = []
        self._constants: list[Constant] = []
        self._values: list[Tensor] = []
        self._types: dict[str, Tensor] = {}

    # -- tensors -------------------------------------------------------------------------------------

    def input(self, shape: Sequence[int], dtype: str = "float32", name: str = "") -> str:
        tensor = Tensor(name or f"input{len(self._inputs)}", dtype, _whole(shape))
        self._inputs.append(tensor)
        return self._register(tensor)

    def weight(self, shape: Sequence[int], dtype: str = "float32", name: str = "") -> str:
        return self._weight(_whole(shape), dtype, name)

    def _weight(self, shape: _Shape, dtype: str, name: str = "") -> str:
        tensor = _tensor(name or f"w{self._first_weight + len(self._weights)}", dtype, shape)
        self._weights.append(tensor)
        return self._register(tensor)

    def constant(
        self,
        values: Sequence[int | float | bool],
        dtype: str = "int64",
        scalar: bool = False,
        shape: Sequence[int] | None = None,
    ) -> str:
        """A one-dimensional tensor of the values, a scalar for a single one, or the values row by row in `shape`."""
        kind = _whole(shape) if shape is not None else () if scalar else (len(values),)
        tensor = Constant(f"c{self._first_constant + len(self._constants)}", dtype, kind, tuple(values))
        self._constants.append(tensor)
        return self._register(tensor)

    def shape(self, name: str) -> tuple[int, ...]:
        return self._types[name].shape

    def dtype(self, name: str) -> str:
        return self._types[name].dtype

    def _register(self, tensor: Tensor) -> str:
        if tensor.name in self._types:
            raise InputError(f"graph {self._name!r} already has a tensor {tensor.name!r}")
        self._types[tensor.name] = tensor
        return tensor.name

    def build(self, *outputs: str) -> Graph:
        """Raises InputError without an output."""
        if not outputs:
            raise InputError(f"graph {self._name!r} needs at least one output")
        return Graph(
            inputs=tuple(self._inputs),
            outputs=outputs,
            nodes=tuple(self._nodes),
            weights=tuple(self._weights),
            constants=tuple(self._constants),
            values=tuple(self._values),
            opsets=(("", self._opset),),
            name=self._name,
        )

    def add_block(self, build: Callable[..., str], x: str, sizes: tuple[Any, ...], named: Mapping[str, Any]) -> str:
        """Adds what `build(builder, x, *sizes, **named)` adds, which is kept for the next network that has it at the
        same place; see `block`."""
        if self._is_of_block:
            return build(self, x, *sizes, **named)
        of = self._types[x]
        first = (len(self._nodes), len(self._weights), len(self._constants))
        found = _block(build, x, of.dtype, of.shape, self._opset, first, *sizes, **named)
        if not self._types.keys().isdisjoint(found.types):
            taken = next(name for name in found.types if name in self._types)
            raise InputError(f"graph {self._name!r} already has a tensor {taken!r}")
        self._nodes += found.nodes
        self._weights += found.weights
        self._constants += found.constants
        self._values += found.values
        self._types.update(found.types)
        return found.result

    # -- any operator --------------------------------------------------------------------------------

    def nodes(
        self,
        op: str,
        inputs: Sequence[str],
        outputs: Sequence[tuple[str, Sequence[int]] | None],
        domain: str = "",
        **attributes: AttributeValue,
    ) -> list[str]:
        """Adds `op`; `outputs` gives (dtype, shape) of each output, None for an omitted one ('' in the result)."""
        number = self._first_node + len(self._nodes)
        names: list[str] = []
        for i, kind in enumerate(outputs):
            if kind is None:
                names.append("")
                continue
            tensor = _tensor(f"{op}_{number}" + (f"_{i}" if i else ""), kind[0], _whole(kind[1]))
            self._values.append(tensor)
            names.append(self._register(tensor))
        frozen = tuple((k, tuple(v) if isinstance(v, list) else v) for k, v in attributes.items() if v is not None)
        self._nodes.append(Node(op, tuple(inputs), tuple(names), frozen, domain, f"{op}_{number}"))
        return names

    def node(
        self, op: str, inputs: Sequence[str], shape: Sequence[int], dtype: str = "", **attributes: AttributeValue
    ) -> str:
        """Adds an operator with one output; its dtype is the first input's unless given."""
        return self.nodes(op, inputs, [(dtype or self.dtype(inputs[0]), shape)], **attributes)[0]

    def _operator(
        self, op: str, inputs: tuple[str, ...], dtype: str, shape: _Shape, attributes: _Attributes = ()
    ) -> str:
        """Adds an operator of ONNX's own domain with one output, all of it frozen."""
        name = f"{op}_{self._first_node + len(self._nodes)}"
        tensor = _tensor(name, dtype, shape)
        self._values.append(tensor)
        self._nodes.append(Node(op, inputs, (name,), attributes, "", name))
        return self._register(tensor)

    # -- element-wise --------------------------------------------------------------------------------

    def unary(self, op: str, x: str, **attributes: AttributeValue) -> str:
        """Relu, Sigmoid, HardSwish, Identity, ...: the result has the shape of x."""
        tensor = self._types[x]
        if attributes:
            return self.node(op, [x], tensor.shape, **attributes)
        return self._operator(op, (x,), tensor.dtype, tensor.shape)

    def relu(self, x: str) -> str:
        return self.unary("Relu", x)

    def relu6(self, x: str) -> str:
        return self.clip(x, 0.0, 6.0)

    def clip(self, x: str, low: float, high: float) -> str:
        bounds = [self.constant([v], self.dtype(x), scalar=True) for v in (low, high)]
        return self.node("Clip", [x, *bounds], self.shape(x))

    def gelu(self, x: str) -> str:
        """x/2 * (1 + erf(x / sqrt 2)), in the form that exporters before opset 20 write."""
        scaled = self.binary("Div", x, self.constant([math.sqrt(2.0)], self.dtype(x), scalar=True))
        shifted = self.binary("Add", self.unary("Erf", scaled), self.constant([1.0], self.dtype(x), scalar=True))
        half = self.binary("Mul", x, self.constant([0.5], self.dtype(x), scalar=True))
        return self.binary("Mul", half, shifted)

    def binary(self, op: str, a: str, b: str, dtype: str = "") -> str:
        """Add, Mul, Sub, Div, Pow, ... with NumPy broadcasting."""
        first, second = self._types[a], self._types[b]
        return self._operator(op, (a, b), dtype or first.dtype, broadcast(first.shape, second.shape))

    def add(self, a: str, b: str) -> str:
        return self.binary("Add", a, b)

    def mul(self, a: str, b: str) -> str:
        return self.binary("Mul", a, b)

    def bias(self, x: str) -> str:
        """Adds a weight vector along the last axis."""
        return self.add(x, self.weight(self.shape(x)[-1:], self.dtype(x)))

    # -- convolution and pooling, NCHW ---------------------------------------------------------------

    def conv(
        self,
        x: str,
        channels: int,
        kernel: int | tuple[int, int] = 1,
        stride: int = 1,
        pad: int | Literal["same"] = "same",
        groups: int = 1,
        dilation: int = 1,
        bias: bool = False,
    ) -> str:
        """2-D convolution. pad="same" is (kernel - 1) * dilation // 2 on each side, as PyTorch models have it."""
        tensor = self._types[x]
        size = kernel if isinstance(kernel, int) else tuple(kernel)
        layer = _convolution(
            tensor.shape, index(channels), size, index(stride), pad, index(groups), index(dilation), bias
        )
        weights = [self._weight(shape, tensor.dtype) for shape in layer.weights]
        return self._operator("Conv", (x, *weights), tensor.dtype, layer.shape, layer.attributes)

    def batch_norm(self, x: str) -> str:
        tensor = self._types[x]
        channels = (tensor.shape[1],)
        parameters = [self._weight(channels, tensor.dtype) for _ in range(4)]
        return self._operator("BatchNormalization", (x, *parameters), tensor.dtype, tensor.shape, _NORM_ATTRIBUTES)

    def pool(
        self, op: Literal["MaxPool", "AveragePool"], x: str, kernel: int, stride: int = 1, pad: int = 0,
        ceil: bool = False, count_include_pad: bool = False,
    ) -> str:  # fmt: skip
        tensor = self._types[x]
        includes = bool(count_include_pad) if op == "AveragePool" else None
        layer = _pool(tensor.shape, index(kernel), index(stride), index(pad), bool(ceil), includes)
        return self._operator(op, (x,), tensor.dtype, layer.shape, layer.attributes)

    def global_average_pool(self, x: str) -> str:
        n, c = self.shape(x)[:2]
        return self.node("GlobalAveragePool", [x], (n, c, *(1 for _ in self.shape(x)[2:])))

    # -- matrix products -----------------------------------------------------------------------------

    def matmul(self, a: str, b: str) -> str:
        sa, sb = self.shape(a), self.shape(b)
        if sa[-1] != sb[-2]:
            raise InputError(f"cannot multiply matrices of shapes {sa} and {sb}")
        return self.node("MatMul", [a, b], (*broadcast(sa[:-2], sb[:-2]), sa[-2], sb[-1]))

    def linear(self, x: str, features: int, bias: bool = True) -> str:
        """X times a weight matrix [in, features], plus a bias; any number of leading axes."""
        y = self.matmul(x, self.weight((self.shape(x)[-1], features), self.dtype(x)))
        return self.bias(y) if bias else y

    def gemm(self, x: str, features: int, bias: bool = True) -> str:
        """A fully connected layer on [n, in] as one Gemm with a transposed weight, as PyTorch exports it."""
        n, c = self.shape(x)
        inputs = [x, self.weight((features, c), self.dtype(x))]
        if bias:
            inputs.append(self.weight((features,), self.dtype(x)))
        return self.node("Gemm", inputs, (n, features), transB=1)

    # -- shapes --------------------------------------------------------------------------------------

    def reshape(self, x: str, shape: Sequence[int]) -> str:
        if math.prod(shape) != math.prod(self.shape(x)):
            raise InputError(f"cannot reshape {self.shape(x)} to {tuple(shape)}")
        return self.node("Reshape", [x, self.constant(shape)], shape)

    def flatten(self, x: str) -> str:
        n, *rest = self.shape(x)
        return self.node("Flatten", [x], (n, math.prod(rest)), axis=1)

    def transpose(self, x: str, order: Sequence[int]) -> str:
        shape = self.shape(x)
        return self.node("Transpose", [x], [shape[i] for i in order], perm=tuple(order))

    def concat(self, xs: Sequence[str], axis: int = 1) -> str:
        shape = list(self.shape(xs[0]))
        shape[axis] = sum(self.shape(x)[axis] for x in xs)
        return self.node("Concat", list(xs), shape, axis=axis)

    def slice(self, x: str, axis: int, start: int, stop: int) -> str:
        shape = list(self.shape(x))
        shape[axis] = len(range(*slice(start, stop).indices(shape[axis])))
        limits = [self.constant([v]) for v in (start, stop, axis)]
        return self.node("Slice", [x, *limits], shape)

    def split(self, x: str, sizes: Sequence[int], axis: int) -> list[str]:
        shape = self.shape(x)
        outputs = [(self.dtype(x), (*shape[:axis], size, *shape[axis + 1 :])) for size in sizes]
        return self.nodes("Split", [x, self.constant(sizes)], outputs, axis=axis)

    # -- normalization, embedding, recurrence --------------------------------------------------------

    def softmax(self, x: str, axis: int = -1) -> str:
        return self.unary("Softmax", x, axis=axis)

    def layer_norm(self, x: str) -> str:
        """Layer normalization over the last axis (opset 17)."""
        width = self.shape(x)[-1:]
        return self.node(
            "LayerNormalization", [x, self.weight(width), self.weight(width)], self.shape(x), axis=-1, epsilon=1e-5
        )

    def embedding(self, indices: str, rows: int, width: int) -> str:
        """indices: an integer tensor of any shape. Returns [..., width]."""
        table = self.weight((rows, width))
        return self.node("Gather", [table, indices], (*self.shape(indices), width), axis=0)

    def lstm(self, x: str, hidden: int) -> str:
        """One forward layer on [time, batch, in]. Returns [time, batch, hidden] (the direction axis squeezed)."""
        time, batch, width = self.shape(x)
        weights = [
            self.weight((1, 4 * hidden, width)),
            self.weight((1, 4 * hidden, hidden)),
            self.weight((1, 8 * hidden)),
        ]
        y = self.nodes(
            "LSTM", [x, *weights], [(self.dtype(x), (time, 1, batch, hidden))], hidden_size=hidden
        )[0]  # fmt: skip
        return self.node("Squeeze", [y, self.constant([1])], (time, batch, hidden))


def broadcast(a: Sequence[int], b: Sequence[int]) -> tuple[int, ...]:
    """The shape of a NumPy broadcast. Raises InputError when the shapes do not match."""
    if tuple(a) == tuple(b):
        return tuple(a)
    n = max(len(a), len(b))
    left = (1,) * (n - len(a)) + tuple(a)
    right = (1,) * (n - len(b)) + tuple(b)
    if any(p != q and 1 not in (p, q) for p, q in zip(left, right, strict=True)):
        raise InputError(f"shapes {tuple(a)} and {tuple(b)} do not broadcast")
    return tuple(q if p == 1 else p for p, q in zip(left, right, strict=True))


def window(size: int, kernel: int, stride: int, padding: int, dilation: int = 1, ceil: bool = False) -> int:
    """Output length of a sliding window; `padding` is the sum of both sides. Raises InputError below 1."""
    span = size + padding - dilation * (kernel - 1) - 1
    steps = -(-span // stride) if ceil else span // stride
    if span < 0:
        raise InputError(f"a window of {kernel} (dilation {dilation}) does not fit {size} + {padding} padding")
    return steps + 1


def block(
    build: Callable[Concatenate[GraphBuilder, str, _Sizes], str],
) -> Callable[Concatenate[GraphBuilder, str, _Sizes], str]:
    """A function that adds operators to a builder, from one tensor to one result; its sizes must be hashable. It runs
    once for each tensor, sizes and place in a network (the numbers of its operators, weights and constants)."""

    @wraps(build)
    def added(b: GraphBuilder, x: str, /, *sizes: _Sizes.args, **named: _Sizes.kwargs) -> str:
        return b.add_block(build, x, sizes, named)

    return added


# -- computed once for each different one --------------------------------------------------------------


class _Layer(NamedTuple):
    """An operator without the names of its tensors."""

    shape: _Shape
    attributes: _Attributes
    weights: tuple[_Shape, ...] = ()


_NORM_ATTRIBUTES: _Attributes = (("epsilon", 1e-5),)


def _whole(shape: Iterable[int]) -> _Shape:
    """Raises TypeError for a size that is not an integer."""
    return tuple(map(index, shape))


@lru_cache(_MOST_TENSORS)
def _tensor(name: str, dtype: str, shape: _Shape) -> Tensor:
    return Tensor(name, dtype, shape)


@lru_cache(_MOST_LAYERS)
def _convolution(
    shape: _Shape, channels: int, kernel: int | tuple[int, ...], stride: int, pad: int | Literal["same"], groups: int,
    dilation: int, bias: bool,
) -> _Layer:  # fmt: skip
    """A 2-D convolution of a tensor of the shape; its filters [out, in / groups, height, width] and biases."""
    n, c, h, w = shape
    kh, kw = (kernel, kernel) if isinstance(kernel, int) else kernel
    if c % groups or channels % groups:
        raise InputError(f"convolution of {c} to {channels} channels cannot have {groups} groups")
    ph, pw = ((k - 1) * dilation // 2 if pad == "same" else int(pad) for k in (kh, kw))
    oh = window(h, kh, stride, 2 * ph, dilation)
    ow = window(w, kw, stride, 2 * pw, dilation)
    attributes = (
        ("kernel_shape", (kh, kw)), ("strides", (stride, stride)), ("pads", (ph, pw, ph, pw)),
        ("dilations", (dilation, dilation)), ("group", groups),
    )  # fmt: skip
    filters = (channels, c // groups, kh, kw)
    return _Layer((n, channels, oh, ow), attributes, (filters, (channels,)) if bias else (filters,))


@lru_cache(_MOST_LAYERS)
def _pool(shape: _Shape, kernel: int, stride: int, pad: int, ceil: bool, includes_pad: bool | None) -> _Layer:
    """includes_pad: whether a mean counts the padding; None for a maximum."""
    n, c, h, w = shape
    oh, ow = (window(size, kernel, stride, 2 * pad, 1, ceil) for size in (h, w))
    attributes = (
        ("kernel_shape", (kernel, kernel)), ("strides", (stride, stride)), ("pads", (pad,) * 4),
        ("ceil_mode", int(ceil)), *(() if includes_pad is None else (("count_include_pad", int(includes_pad)),)),
    )  # fmt: skip
    return _Layer((n, c, oh, ow), attributes)


class _Block(NamedTuple):
    """The operators and tensors that a block adds to a builder; types: of the tensors, by their names."""

    result: str
    nodes: tuple[Node, ...]
    weights: tuple[Tensor, ...]
    constants: tuple[Constant, ...]
    values: tuple[Tensor, ...]
    types: Mapping[str, Tensor]


@lru_cache(_MOST_BLOCKS, typed=True)  # True, 1 and 1.0 are equal, but not equal sizes
def _block(
    build: Callable[..., str], x: str, dtype: str, shape: _Shape, opset: int, first: tuple[int, int, int],
    /, *sizes: Any, **named: Any,
) -> _Block:  # fmt: skip
    b = GraphBuilder("block", opset)
    b._is_of_block = True
    b._first_node, b._first_weight, b._first_constant = first
    b._register(Tensor(x, dtype, shape))
    result = build(b, x, *sizes, **named)
    types = {name: tensor for name, tensor in b._types.items() if name != x}
    return _Block(result, tuple(b._nodes), tuple(b._weights), tuple(b._constants), tuple(b._values), types)
