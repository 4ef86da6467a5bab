"""BlockQNN: a block as a network structure code, a list of 5-tuples (Zhong et al., arXiv 1808.05584).

A tuple is (index, type, kernel, first input, second input); input 0 is the block's input, input i the layer
with index i. Types: 1 convolution, 2 max pooling, 3 average pooling, 4 identity, 5 sum, 6 concatenation,
7 end of the block. Results that no layer reads are concatenated to the block's output. An architecture is (operation,
first input, second input) per layer, with the kernel in the operation; positions after the end, and second
inputs of layers with one input, change nothing: `repair` sets them to 0.

2026-11-20, widths. Convolutions have their stage's number of channels. A sum of tensors of different widths,
and a block whose input has another width than its stage, get a 1x1 convolution first: without the latter the
channels of concatenating blocks multiply from block to block.
"""

from __future__ import annotations

import ast
from collections.abc import Sequence
from typing import Any

import numpy as np

from hwprof.builder import GraphBuilder
from hwprof.errors import InputError
from hwprof.graph import Graph
from hwprof.interfaces import Arch
from hwprof.spaces import checked, index_of
from hwprof.spaces.blocks import classify, conv_bn, relu_conv_bn

NAME = "blockqnn"
CONVOLUTION, MAX_POOL, AVERAGE_POOL, IDENTITY, SUM, CONCATENATION, END = range(1, 8)
# (type, kernel) of each choice
OPERATIONS = (
    (CONVOLUTION, 1), (CONVOLUTION, 3), (CONVOLUTION, 5), (MAX_POOL, 1), (MAX_POOL, 3),
    (AVERAGE_POOL, 1), (AVERAGE_POOL, 3), (IDENTITY, 0), (SUM, 0), (CONCATENATION, 0), (END, 0),
)  # fmt: skip
PER_LAYER = 3
STAGES = 3


class BlockQnn:
    """Blocks of at most `layers` layers, `blocks` of them in each of three stages of 1, 2 and 4 times `channels`."""

    def __init__(
        self, layers: int = 8, blocks: int = 2, channels: int = 32, resolution: int = 32, classes: int = 10
    ) -> None:  # fmt: skip
        self.layers = layers
        self.blocks = blocks
        self.channels = channels
        self.resolution = resolution
        self.classes = classes
        inputs = range(1, layers + 1)  # the layer with index i may read 0 to i - 1
        self.choices: Sequence[int] = tuple(n for index in inputs for n in (len(OPERATIONS), index, index))

    def graph(self, arch: Arch) -> Graph:
        """Raises InputError for an architecture outside of the space."""
        code = self._code(arch)
        b = GraphBuilder(NAME)
        x = conv_bn(b, b.input((1, 3, self.resolution, self.resolution)), self.channels, 3)
        for stage in range(STAGES):
            if stage:
                x = b.pool("MaxPool", x, 2, 2)
            for _ in range(self.blocks):
                x = _block(b, x, code, self.channels * 2**stage)
        return b.build(classify(b, b.relu(x), self.classes))

    def repair(self, arch: Arch, _rng: np.random.Generator | None = None) -> Arch:
        """The same network with every position that changes nothing at 0."""
        return self._arch(self._code(arch))

    def parse(self, text: str) -> Arch:
        """The architecture of a structure code, `(1,1,3,0,0),(2,7,0,0,0)`. Raises InputError when it is not one."""
        try:
            code = [tuple(layer) for layer in ast.literal_eval(f"[{text.strip().strip('[]')}]")]
        except (SyntaxError, ValueError, TypeError) as error:
            raise InputError(f"{NAME}: not a structure code like (1,1,3,0,0),(2,7,0,0,0): {error}") from None
        if len(code) > self.layers:
            raise InputError(f"{NAME}: a block has at most {self.layers} layers in this space, not {len(code)}")
        for index, layer in enumerate(code, start=1):
            if len(layer) != 5 or layer[0] != index:
                raise InputError(f"{NAME}: {layer} is not a 5-tuple that begins with its index {index}")
        ended = code if code and code[-1][1] == END else [*code, (len(code) + 1, END, 0, 0, 0)][: self.layers]
        return self.repair(self._arch([tuple(layer) for layer in ended]))

    def format(self, arch: Arch) -> str:
        """The structure code up to the end of the block."""
        return ",".join(str(layer).replace(" ", "") for layer in self._code(arch))

    def _code(self, arch: Arch) -> list[tuple[int, ...]]:
        """The 5-tuples up to the end of the block; a second input that is not read is 0."""
        arch = checked(NAME, self.choices, arch)
        code: list[tuple[int, ...]] = []
        for start in range(0, len(arch), PER_LAYER):
            choice, first, second = arch[start : start + PER_LAYER]
            kind, kernel = OPERATIONS[choice]
            if kind == END:
                return [*code, (len(code) + 1, END, 0, 0, 0)]
            code.append((len(code) + 1, kind, kernel, first, second if kind in (SUM, CONCATENATION) else 0))
        return code

    def _arch(self, code: Sequence[Sequence[Any]]) -> Arch:
        arch: list[int] = []
        for _, kind, kernel, first, second in code:
            arch += [index_of(NAME, "(type, kernel)", (kind, kernel), OPERATIONS), first, second]
        return checked(NAME, self.choices, arch + [0] * (len(self.choices) - len(arch)))


def _block(b: GraphBuilder, x: str, code: Sequence[tuple[int, ...]], channels: int) -> str:
    tensors = [x if b.shape(x)[1] == channels else relu_conv_bn(b, x, channels)]
    read: set[int] = set()
    for _, kind, kernel, first, second in code:
        if kind == END:
            break
        read |= {first, second} if kind in (SUM, CONCATENATION) else {first}
        tensors.append(_layer(b, kind, kernel, tensors[first], tensors[second], channels))
    unread = [tensor for index, tensor in enumerate(tensors) if index not in read]
    return unread[0] if len(unread) == 1 else b.concat(unread)


def _layer(b: GraphBuilder, kind: int, kernel: int, x: str, y: str, channels: int) -> str:
    if kind == CONVOLUTION:
        return relu_conv_bn(b, x, channels, kernel)
    if kind == MAX_POOL:
        return b.pool("MaxPool", x, kernel, pad=kernel // 2)
    if kind == AVERAGE_POOL:
        return b.pool("AveragePool", x, kernel, pad=kernel // 2)
    if kind == SUM:
        width = b.shape(x)[1]
        return b.add(x, y if b.shape(y)[1] == width else relu_conv_bn(b, y, width))
    return b.concat([x, y]) if kind == CONCATENATION else x


SPACE = BlockQnn()
