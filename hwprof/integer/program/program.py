"""A typed integer graph: a quantized network whose scales have become multipliers and shifts.

Every value has an integer type. The only floats are the scales of `Entry` and `Exit`, where a network's inputs are
quantized and its outputs dequantized. Images are [batch, height, width, channels].
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

import numpy as np

from hwprof.integer.numerics.grid import HeldType
from hwprof.integer.numerics.normalize import RESULT_BITS
from hwprof.integer.numerics.piecewise import Piecewise

IntegerType: TypeAlias = Literal["uint8", "int16", "int32"]
WeightFormat: TypeAlias = Literal[
    "int8", "int4", "dictionary-16", "dictionary-4", "dictionary-2", "sparse-32x4", "signs"
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Value:
    """An integer array. `shape` is the shape in memory, with the channels of an image last."""

    name: str
    shape: tuple[int, ...]
    dtype: IntegerType = "uint8"

    @property
    def size_bytes(self) -> int:
        return math.prod(self.shape) * np.dtype(self.dtype).itemsize


@dataclass(frozen=True, slots=True)
class Entry:
    """A network's input and the value that it is quantized to.

    `scale` None: the input has 8 or 16 bits already, and only int8 is shifted to uint8. The ONNX input of `shape` is
    [batch, channels, ...], and its axes are permuted where `is_image`. `rows`: the input holds indices into tables, the
    shortest of which has this many rows, and is held as int32.
    """

    input: str
    shape: tuple[int, ...]
    value: str
    scale: float | None
    zero: int
    is_image: bool
    is_signed: bool = False
    rows: int | None = None
    dtype: HeldType = "uint8"


@dataclass(frozen=True, slots=True, eq=False)
class Exit:
    """A network's output and the value that it is dequantized from; fields as in `Entry`.

    `reals`, float32 [256] or [65536]: the real number for each integer, from the lowest on, where a function is between
    the integers and the output.
    """

    output: str
    shape: tuple[int, ...]
    value: str
    scale: float | None
    zero: int
    is_image: bool
    is_signed: bool = False
    reals: np.ndarray | None = None
    dtype: HeldType = "uint8"


@dataclass(frozen=True, slots=True, eq=False)
class Rescale:
    """result = clip(zero + requantize(accumulator), low, high). multiplier, shift: int32 [channels] or [1]."""

    multiplier: np.ndarray
    shift: np.ndarray
    zero: int
    low: int = 0
    high: int = 255


@dataclass(frozen=True, slots=True)
class Window:
    """The window of a convolution or pooling: (vertical, horizontal) each. `pad` is at the top and at the left."""

    kernel: tuple[int, int] = (1, 1)
    stride: tuple[int, int] = (1, 1)
    dilation: tuple[int, int] = (1, 1)
    pad: tuple[int, int] = (0, 0)


@dataclass(frozen=True, slots=True, eq=False)
class _OfOne:
    """An operation on one value. `members`: the labels of the network's nodes that it computes."""

    name: str
    members: tuple[str, ...]
    x: str
    y: str


@dataclass(frozen=True, slots=True, eq=False)
class _OfTwo:
    """An operation on two values; `b` is broadcast to `a`."""

    name: str
    members: tuple[str, ...]
    a: str
    b: str
    y: str


@dataclass(frozen=True, slots=True, eq=False)
class Convolution(_OfOne):
    """weight: int8 [out_channels, kernel_h, kernel_w, in_channels / groups]; bias: int32 [out_channels].

    The bias includes the zero point of x: accumulator = bias + sum(weight * x), where x is `zero_x` in the padding. A
    matrix product is the convolution of an image one pixel wide. `weight_format` says how the kernels store the weight;
    it does not change results. `sign_at`: x counts as +1 from this value on and as -1 below; the weights are then +1
    and -1, too.
    """

    weight: np.ndarray
    bias: np.ndarray
    rescale: Rescale
    zero_x: int
    window: Window = field(default_factory=Window)
    groups: int = 1
    weight_format: WeightFormat = "int8"
    sign_at: int | None = None


@dataclass(frozen=True, slots=True, eq=False)
class WideConvolution(_OfOne):
    """A convolution of int16 values, whose zero point is 0, to uint8 or int16: y = rescale of bias + sum(weight * x).

    weight: int8 [out_channels, kernel_h, kernel_w, in_channels / groups]; bias: int64 [out_channels]. The sums have 64
    bits; `wide_product.scaled` says how they are rescaled.
    """

    weight: np.ndarray
    bias: np.ndarray
    rescale: Rescale
    window: Window = field(default_factory=Window)
    groups: int = 1


@dataclass(frozen=True, slots=True, eq=False)
class Add(_OfTwo):
    """y = clip((a * factors[0] + b * factors[1] + offset) >> shift, low, high); b is broadcast to a.

    Factors are in (-2^15, 2^15), or in (-2^30, 2^30) where a value has 16 bits; the offset includes the zero points and
    the rounding.
    """

    factors: tuple[int, int]
    offset: int
    shift: int
    low: int = 0
    high: int = 255


@dataclass(frozen=True, slots=True, eq=False)
class Multiply(_OfTwo):
    """y = rescale of (a - zero_a) * (b - zero_b); b is broadcast to a."""

    zero_a: int
    zero_b: int
    rescale: Rescale


@dataclass(frozen=True, slots=True, eq=False)
class Table(_OfOne):
    """y = table[x]; table: [256] of y's type. Any function of one 8-bit variable, rescaling included."""

    table: np.ndarray


@dataclass(frozen=True, slots=True, eq=False)
class Lines(_OfOne):
    """y = clip(lines(x), low, high), for 16-bit x: any function of one variable, rescaling included."""

    lines: Piecewise
    low: int
    high: int


@dataclass(frozen=True, slots=True, eq=False)
class MaxPool(_OfOne):
    """The maximum over each window; padding is never chosen."""

    window: Window


@dataclass(frozen=True, slots=True, eq=False)
class AveragePool(_OfOne):
    """y = clip(zero + requantize(sum over the window of (x - zero_x)), ...).

    `rescale` has one multiplier per number of pixels, [kernel_h * kernel_w + 1]. The entry for the number of pixels of
    the window inside the image is used, or always the last one where `counts_padding`.
    """

    window: Window
    zero_x: int
    rescale: Rescale
    counts_padding: bool


@dataclass(frozen=True, slots=True, eq=False)
class Transpose(_OfOne):
    """Axis i of y is axis order[i] of x."""

    order: tuple[int, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Reshape(_OfOne):
    """The same bytes in the same order."""


@dataclass(frozen=True, slots=True, eq=False)
class Concatenate:
    """The operands, concatenated along one axis."""

    name: str
    members: tuple[str, ...]
    xs: tuple[str, ...]
    y: str
    axis: int


@dataclass(frozen=True, slots=True, eq=False)
class Slice(_OfOne):
    """y[i] = x[starts + i * steps], per axis; steps may be negative."""

    starts: tuple[int, ...]
    steps: tuple[int, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Pad(_OfOne):
    """y is `fill`, but for y[before + i * steps] = x[i]. The steps are 1 where they are left out."""

    before: tuple[int, ...]
    fill: int
    steps: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Gates:
    """The contribution of one operand to the gates of an LSTM or GRU: bias + sum(weight * x), requantized, int16.

    weight: int8 [n * units, depth] in ONNX's order of its n = 4 or 3 gates; bias, multiplier, shift: int32 [n * units];
    shift >= 28.
    """

    weight: np.ndarray
    bias: np.ndarray
    multiplier: np.ndarray
    shift: np.ndarray


@dataclass(frozen=True, slots=True, eq=False)
class Lstm(_OfOne):
    """x: [steps, batch, depth], y: [steps, batch, units]; y = clip((h * factor + offset) >> places, 0, 255).

    `recurrent.step` defines h, which has 16 bits, 15 of them fractional; the first h is `zero_h` on the grid of y.
    """

    from_x: Gates
    from_h: Gates
    zero_x: int
    zero_h: int
    factor: int
    offset: int
    places: int


@dataclass(frozen=True, slots=True, eq=False)
class Gru(_OfOne):
    """The same as Lstm, with three gates and `gated.step`; the state has 16 bits, 15 of them fractional.

    `resets_behind`: the reset gate is applied to the contribution of h to the fresh gates, instead of to h.
    """

    from_x: Gates
    from_h: Gates
    zero_x: int
    zero_h: int
    factor: int
    offset: int
    places: int
    resets_behind: bool


@dataclass(frozen=True, slots=True, eq=False)
class Product(_OfTwo):
    """y = rescale of the sums of (a - zero_a) * (b - zero_b); a: [..., rows, depth], b: [..., depth, columns].

    All axes but the last two are broadcast to those of y. One multiplier.
    """

    zero_a: int
    zero_b: int
    rescale: Rescale


@dataclass(frozen=True, slots=True, eq=False)
class Softmax(_OfOne):
    """Softmax over the last axis, as in `softmax.softmax`. powers: uint16 [256]; `rescale`: 1 over the scale of y."""

    powers: np.ndarray
    rescale: Rescale


@dataclass(frozen=True, slots=True, eq=False)
class Normalization(_OfOne):
    """Normalization over the last axis, as in `normalize.normalized`; the bias includes the zero point of y.

    result_bits: fractional bits of the bias.
    """

    multiplier: np.ndarray
    bias: np.ndarray
    epsilon: int
    zero_x: int
    is_centred: bool
    low: int = 0
    high: int = 255
    result_bits: int = RESULT_BITS


@dataclass(frozen=True, slots=True, eq=False)
class Embedding(_OfOne):
    """y = table[x]; x: int32 [...], table: uint8 [rows, width], y: [..., width]."""

    table: np.ndarray


@dataclass(frozen=True, slots=True, eq=False)
class Pick(_OfOne):
    """y = x[rows] of x as [n, width], in the shape of y. rows: int32 [m]."""

    rows: np.ndarray
    width: int


@dataclass(frozen=True, slots=True, eq=False)
class Expand(_OfOne):
    """x broadcast to the shape of y."""


Operation: TypeAlias = (
    Convolution
    | WideConvolution
    | Add
    | Multiply
    | Table
    | Lines
    | MaxPool
    | AveragePool
    | Lstm
    | Gru
    | Product
    | Softmax
    | Normalization
    | Embedding
    | Transpose
    | Reshape
    | Concatenate
    | Slice
    | Pick
    | Expand
    | Pad
)


@dataclass(frozen=True, slots=True, eq=False)
class Program:
    """Operations in the order in which they run. `constants`: stored values."""

    name: str
    entries: tuple[Entry, ...]
    exits: tuple[Exit, ...]
    operations: tuple[Operation, ...]
    values: Mapping[str, Value]
    constants: Mapping[str, np.ndarray]

    def shape(self, name: str) -> tuple[int, ...]:
        return self.values[name].shape


def reads(operation: Operation) -> tuple[str, ...]:
    """The names of the values that an operation reads."""
    match operation:
        case Add() | Multiply() | Product():
            return (operation.a, operation.b)
        case Concatenate():
            return operation.xs
        case _:
            return (operation.x,)
