"""The networks that ESNAC may make of a ResNet: layers removed, channels shrunk, skips added (Cao et al., arXiv
1902.00383).

The teacher is a ResNet of basic blocks for CIFAR. An architecture is the width of the 4 stages, then for each block the
layers that are removed, the width between its two convolutions, and whether a skip is added around the first one.
Widths are tenths of the teacher's. A convolution may be removed where its input and output have one shape, so the first
one of a stage that shrinks the image stays. Stages, not layers, share an outer width, because the residual sums tie
their channels together.

Positions that change nothing (the inner width of a block without two convolutions, a skip between different
shapes) are set to 0 by `repair`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hwprof.builder import GraphBuilder
from hwprof.graph import Graph
from hwprof.interfaces import Arch
from hwprof.spaces import checked
from hwprof.spaces.blocks import classify, conv_bn

NAME = "resnet_shrink"
STAGE_CHANNELS = (64, 128, 256, 512)
TENTHS = 10
KEEP, WITHOUT_SECOND, WITHOUT_FIRST, WITHOUT_BOTH = range(4)
PER_BLOCK = 3


@dataclass(frozen=True, slots=True)
class Block:
    """A block of the student: its channels inside and after it, and the convolutions that are left."""

    channels: int
    inner: int
    stride: int
    removed: int
    skip: bool

    @property
    def has_both(self) -> bool:
        return self.removed == KEEP

    @property
    def can_skip(self) -> bool:
        """The input and the first convolution's output have one shape: only `choices` tells in the first block."""
        return self.has_both and self.stride == 1 and self.inner == self.channels


class ResNetShrink:
    """Students of ResNet-18, or of the ResNet whose four stages have `blocks` basic blocks and these `channels`."""

    def __init__(
        self,
        blocks: Sequence[int] = (2, 2, 2, 2),
        resolution: int = 32,
        classes: int = 10,
        channels: Sequence[int] = STAGE_CHANNELS,
    ) -> None:
        self.blocks = tuple(blocks)
        self.channels = tuple(channels)
        self.resolution = resolution
        self.classes = classes
        self._strides = [
            2 if stage and not block else 1 for stage, count in enumerate(self.blocks) for block in range(count)
        ]
        per_block = ((2 if stride == 2 else 4, TENTHS, 2) for stride in self._strides)
        self.choices: Sequence[int] = (*(TENTHS,) * len(STAGE_CHANNELS), *(n for block in per_block for n in block))

    @property
    def teacher(self) -> Arch:
        """The architecture in which nothing is removed, shrunk or added."""
        return (*(TENTHS - 1,) * len(STAGE_CHANNELS), *(KEEP, TENTHS - 1, 0) * len(self._strides))

    def graph(self, arch: Arch) -> Graph:
        """Raises InputError for an architecture outside of the space."""
        blocks = self._student(checked(NAME, self.choices, arch))
        b = GraphBuilder(NAME)
        x = b.input((1, 3, self.resolution, self.resolution))
        x = b.relu(conv_bn(b, x, blocks[0].channels, 3))
        for block in blocks:
            x = _block(b, x, block)
        return b.build(classify(b, x, self.classes))

    def repair(self, arch: Arch, _rng: np.random.Generator | None = None) -> Arch:
        """The same network with every position that changes nothing at 0."""
        arch = checked(NAME, self.choices, arch)
        repaired = list(arch)
        for number, block in enumerate(self._student(arch)):
            start = len(STAGE_CHANNELS) + PER_BLOCK * number
            if not block.has_both:
                repaired[start + 1] = 0
            if not block.can_skip:
                repaired[start + 2] = 0
        return tuple(repaired)

    def _student(self, arch: Arch) -> list[Block]:
        stages = [stage for stage, count in enumerate(self.blocks) for _ in range(count)]
        blocks = []
        for number, (stage, stride) in enumerate(zip(stages, self._strides, strict=True)):
            start = len(STAGE_CHANNELS) + PER_BLOCK * number
            removed, inner, skip = arch[start : start + PER_BLOCK]
            teacher = self.channels[stage]
            blocks.append(Block(_shrunk(teacher, arch[stage]), _shrunk(teacher, inner), stride, removed, bool(skip)))
        return blocks


def _shrunk(channels: int, choice: int) -> int:
    return max(1, round(channels * (choice + 1) / TENTHS))


def _block(b: GraphBuilder, x: str, block: Block) -> str:
    if block.removed == WITHOUT_BOTH:
        return x
    if block.has_both:
        y = conv_bn(b, x, block.inner, 3, block.stride)
        y = b.relu(b.add(y, x) if block.skip and block.can_skip else y)
        y = conv_bn(b, y, block.channels, 3)
    else:
        y = conv_bn(b, x, block.channels, 3, block.stride)
    same = block.stride == 1 and b.shape(x) == b.shape(y)
    return b.relu(b.add(y, x if same else conv_bn(b, x, block.channels, 1, block.stride)))


SPACE = ResNetShrink()
