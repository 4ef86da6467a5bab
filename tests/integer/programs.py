"""Programs of one operation on bytes, drawn at random, and Q/DQ networks built by hand."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from hwprof.builder import GraphBuilder
from hwprof.graph import Graph
from hwprof.integer.numerics.grid import HeldType
from hwprof.integer.program import program as ir
from hwprof.integer.program.program import Entry, Exit, Program, Rescale, Value
from hwprof.integer.run.engine import Engine
from hwprof.integer.run.library import Library


def of_one(operation: ir.Operation, shapes: Mapping[str, tuple[int, ...]], constants=(), wide: str = "") -> Program:
    """A program whose inputs are what the operation reads, but for the constants. shapes: of every value; `wide`: the
    letters that are the names of those of 16 bits."""
    types: dict[str, HeldType] = {name: "int16" if name in wide else "uint8" for name in shapes}
    inputs = [name for name in dict.fromkeys(ir.reads(operation)) if name not in dict(constants)]
    return Program(
        operation.name,
        tuple(Entry(name, shapes[name], name, None, 0, is_image=False, dtype=types[name]) for name in inputs),
        (Exit(operation.y, shapes[operation.y], operation.y, None, 0, is_image=False, dtype=types[operation.y]),),
        (operation,),
        {name: Value(name, shape, types[name]) for name, shape in shapes.items()},
        dict(constants),
    )


def run_kernels(program: Program, inputs: Mapping[str, np.ndarray], kernels: Library, name: str, threads: int = 1):
    """The outputs by name."""
    engine = Engine(program, inputs, kernels, name, threads)
    try:
        engine.run()
        return engine.outputs()
    finally:
        engine.close()


def drawn_weight(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """int8 [n, ...]: rows in runs of 1 to 32 that use a part of the range, all of it, or its ends; most within a run
    of small ones with some that are large, so that instruction sets that sum products in 16 bits do so in every way."""
    weight = np.zeros(shape, np.int8)
    for begin in range(0, shape[0], run := int(rng.choice([1, 16, 32]))):
        rows = weight[begin : begin + run]
        largest = int(rng.choice([20, 40, 64, 127]))
        rows[:] = rng.integers(-largest, largest + 1, rows.shape)
        rows[rng.random(rows.shape) < rng.choice([0, 0.01])] = rng.choice([-127, 127])
    if rng.random() < 0.1:
        weight[:] = rng.choice([-127, -64, 64, 127])
    return weight


def drawn_rescale(rng: np.random.Generator, n: int, low: int = 0, high: int = 255) -> Rescale:
    """Multipliers and shifts over their whole range, mostly such as leave results in sight."""
    shift = rng.integers(32, 55, n, dtype=np.int32)
    usual = rng.random(n) < 0.8
    shift[usual] = rng.integers(36, 44, usual.sum())
    return Rescale(rng.integers(2**30, 2**31 - 1, n, dtype=np.int32), shift, int(rng.integers(256)), low, high)


class Quantized(GraphBuilder):
    """Builds networks with Q/DQ pairs."""

    def q(self, x: str, scale: float = 0.05, zero: int = 128, dtype: str = "uint8") -> str:
        """The quantized and dequantized tensor."""
        grid = [self.constant([scale], "float32", scalar=True), self.constant([zero], dtype, scalar=True)]
        (integers,) = self.nodes("QuantizeLinear", [x, *grid], [(dtype, self.shape(x))])
        return self.nodes("DequantizeLinear", [integers, *grid], [("float32", self.shape(x))])[0]

    def w(self, shape: tuple[int, ...], scale: float = 0.01, values=None, dtype: str = "int8", zero: int = 0) -> str:
        """A dequantized weight, random or of the values."""
        stored = self.weight(shape, dtype) if values is None else self.constant(values, dtype, shape=shape)
        grid = [self.constant([scale], "float32", scalar=True), self.constant([zero], dtype, scalar=True)]
        return self.nodes("DequantizeLinear", [stored, *grid], [("float32", shape)])[0]

    def convolved(self, x: str, channels: int, kernel: int = 3, bias: bool = True, **attributes) -> str:
        """A convolution with padding that keeps the size; not quantized yet."""
        n, c, h, w = self.shape(x)
        groups = attributes.get("group", 1)
        inputs = [x, self.w((channels, c // groups, kernel, kernel))]
        if bias:
            inputs.append(self.w((channels,), scale=0.05 * 0.01, dtype="int32"))
        pads = (kernel // 2,) * 4
        return self.node("Conv", inputs, (n, channels, h, w), kernel_shape=(kernel, kernel), pads=pads, **attributes)


def sequence_network() -> Graph:
    """An embedding, an LSTM, a GRU, a normalization and one head of attention over ten words."""
    b = Quantized("sequence")
    x = b.node("Gather", [b.w((50, 12), scale=0.02, dtype="uint8"), b.input((10, 1), "int64")], (10, 1, 12))
    for op, gates in (("LSTM", 4), ("GRU", 3)):
        weights = [b.w((1, gates * 12, 12), scale=0.004), b.w((1, gates * 12, 12), scale=0.004)]
        (states,) = b.nodes(op, [x, *weights], [("float32", (10, 1, 1, 12))], hidden_size=12)
        x = b.reshape(b.q(states, scale=1 / 127), (10, 1, 12))
    x = b.q(b.layer_norm(b.reshape(x, (1, 10, 12))))
    scores = b.q(b.matmul(x, b.transpose(x, (0, 2, 1))), scale=0.2)
    shares = b.q(b.softmax(scores), scale=1 / 255, zero=0)
    return b.build(b.q(b.matmul(shares, x)))


def small_network() -> Graph:
    """A convolution, a depthwise one, a residual, a pool and a matrix product."""
    b = Quantized("small")
    x = b.q(b.input((1, 3, 12, 12)))
    x = b.q(b.relu(b.convolved(x, 16)), zero=0)
    y = b.q(b.convolved(x, 16, group=16))
    x = b.q(b.add(x, y))
    x = b.flatten(b.q(b.global_average_pool(x)))
    return b.build(b.q(b.node("Gemm", [x, b.w((10, 16))], (1, 10), transB=1)))
