"""FBNet: 22 blocks, each one of 9 (Wu et al., arXiv 1812.03443)."""

from __future__ import annotations

from collections.abc import Sequence

from hwprof.builder import GraphBuilder
from hwprof.errors import InputError
from hwprof.graph import Graph
from hwprof.interfaces import Arch
from hwprof.spaces import checked, index_of
from hwprof.spaces.blocks import classify, conv_bn, inverted_residual

NAME = "fbnet"
# name: kernel, expansion, groups of the 1x1 convolutions; the order of HW-NAS-Bench
OPERATIONS: dict[str, tuple[int, int, int] | None] = {
    "k3_e1": (3, 1, 1),
    "k3_e1_g2": (3, 1, 2),
    "k3_e3": (3, 3, 1),
    "k3_e6": (3, 6, 1),
    "k5_e1": (5, 1, 1),
    "k5_e1_g2": (5, 1, 2),
    "k5_e3": (5, 3, 1),
    "k5_e6": (5, 6, 1),
    "skip": None,
}
NAMES = tuple(OPERATIONS)
# channels, blocks, stride of the first block
STAGES = ((16, 1, 1), (24, 4, 2), (32, 4, 2), (64, 4, 2), (112, 4, 1), (184, 4, 2), (352, 1, 1))
BLOCKS = sum(blocks for _, blocks, _ in STAGES)


class FBNet:
    """The space at 224 x 224. The last 1x1 convolution has 1984 channels (FBNet-B and C), 1504 in FBNet-A."""

    choices: Sequence[int] = (len(NAMES),) * BLOCKS

    def __init__(self, resolution: int = 224, last_channels: int = 1984, classes: int = 1000) -> None:
        self.resolution = resolution
        self.last_channels = last_channels
        self.classes = classes

    def graph(self, arch: Arch) -> Graph:
        """Raises InputError for an architecture outside of the space."""
        operations = iter([OPERATIONS[NAMES[choice]] for choice in checked(NAME, self.choices, arch)])
        b = GraphBuilder(NAME)
        x = b.input((1, 3, self.resolution, self.resolution))
        x = b.relu(conv_bn(b, x, 16, 3, stride=2))
        for channels, blocks, stride in STAGES:
            for block in range(blocks):
                x = _block(b, x, next(operations), channels, 1 if block else stride)
        return b.build(classify(b, b.relu(conv_bn(b, x, self.last_channels)), self.classes))

    def parse(self, text: str) -> Arch:
        """The architecture of 22 block names between bars, `k3_e1|skip|...`.

        The names of FBNet's own release (`ir_k3_e1`, `ir_k5_s2` for k5_e1_g2) are read too.
        """
        names = [name.strip().removeprefix("ir_").replace("_s2", "_e1_g2") for name in text.split("|")]
        if len(names) != BLOCKS:
            raise InputError(f"{NAME}: an architecture has {BLOCKS} blocks between bars, {len(names)} were given")
        return tuple(index_of(NAME, "block", name, NAMES) for name in names)

    def format(self, arch: Arch) -> str:
        return "|".join(NAMES[choice] for choice in checked(NAME, self.choices, arch))


def _block(b: GraphBuilder, x: str, operation: tuple[int, int, int] | None, channels: int, stride: int) -> str:
    inside = b.shape(x)[1]
    if operation is not None:
        kernel, expansion, groups = operation
        return inverted_residual(b, x, channels, kernel, stride, inside * expansion, groups=groups)
    if inside == channels and stride == 1:
        return x
    return b.relu(conv_bn(b, x, channels, stride=stride))


SPACE = FBNet()
