"""Builds a `Graph` operator by operator and computes every shape on the way (without a runtime, in microseconds).

Each method adds one ONNX operator and returns the name of its output. `GraphBuilder.node` adds any
operator whose output types the caller knows.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

from hwprof.errors import InputError
from hwprof.graph import AttributeValue, Constant, Graph, Node, Tensor

OPSET = 17


class GraphBuilder:
    """Collects operators; `build` returns the frozen graph. Tensors are named by strings."""

    def __init__(self, name: str, opset: int = OPSET) -> None:
        self._name = name
        self._opset = opset
        self._inputs: list[Tensor] = []
        self._nodes: list[Node] = []
        self._weights: list[Tensor] = []
        self._constants: list[Constant] = []
        self._values: list[Tensor] = []
        self._types: dict[str, Tensor] = {}

    # -- tensors -------------------------------------------------------------------------------------

    def input(self, shape: Sequence[int], dtype: str = "float32", name: str = "") -> str:
        tensor = Tensor(name or f"input{len(self._inputs)}", dtype, tuple(shape))
        self._inputs.append(tensor)
        return self._register(tensor)

    def weight(self, shape: Sequence[int], dtype: str = "float32", name: str = "") -> str:
        tensor = Tensor(name or f"w{len(self._weights)}", dtype, tuple(shape))
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
        kind = tuple(shape) if shape is not None else () if scalar else (len(values),)
        tensor = Constant(f"c{len(self._constants)}", dtype, kind, tuple(values))
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
        number = len(self._nodes)
        names: list[str] = []
        for i, kind in enumerate(outputs):
            if kind is None:
                names.append("")
                continue
            tensor = Tensor(f"{op}_{number}" + (f"_{i}" if i else ""), kind[0], tuple(kind[1]))
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

    # -- element-wise --------------------------------------------------------------------------------

    def unary(self, op: str, x: str, **attributes: AttributeValue) -> str:
        """Relu, Sigmoid, HardSwish, Identity, ...: the result has the shape of x."""
        return self.node(op, [x], self.shape(x), **attributes)

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
        return self.node(op, [a, b], broadcast(self.shape(a), self.shape(b)), dtype)

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
        n, c, h, w = self.shape(x)
        kh, kw = (kernel, kernel) if isinstance(kernel, int) else kernel
        if c % groups or channels % groups:
            raise InputError(f"convolution of {c} to {channels} channels cannot have {groups} groups")
        ph, pw = ((k - 1) * dilation // 2 if pad == "same" else int(pad) for k in (kh, kw))
        inputs = [x, self.weight((channels, c // groups, kh, kw), self.dtype(x))]
        if bias:
            inputs.append(self.weight((channels,), self.dtype(x)))
        oh = window(h, kh, stride, 2 * ph, dilation)
        ow = window(w, kw, stride, 2 * pw, dilation)
        return self.node(
            "Conv", inputs, (n, channels, oh, ow),
            kernel_shape=(kh, kw), strides=(stride, stride), pads=(ph, pw, ph, pw),
            dilations=(dilation, dilation), group=groups,
        )  # fmt: skip

    def batch_norm(self, x: str) -> str:
        channels = self.shape(x)[1]
        parameters = [self.weight((channels,), self.dtype(x)) for _ in range(4)]
        return self.node("BatchNormalization", [x, *parameters], self.shape(x), epsilon=1e-5)

    def pool(
        self, op: Literal["MaxPool", "AveragePool"], x: str, kernel: int, stride: int = 1, pad: int = 0,
        ceil: bool = False, count_include_pad: bool = False,
    ) -> str:  # fmt: skip
        n, c, h, w = self.shape(x)
        oh, ow = (window(size, kernel, stride, 2 * pad, 1, ceil) for size in (h, w))
        return self.node(
            op, [x], (n, c, oh, ow),
            kernel_shape=(kernel, kernel), strides=(stride, stride), pads=(pad,) * 4, ceil_mode=int(ceil),
            count_include_pad=int(count_include_pad) if op == "AveragePool" else None,
        )  # fmt: skip

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
