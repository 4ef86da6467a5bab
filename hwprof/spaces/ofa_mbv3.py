"""Once-for-all's MobileNetV3: five stages of 2 to 4 inverted residuals at one of 25 resolutions (arXiv 1908.09791).

An architecture is 20 kernels, 20 expansions, 5 depths, 1 resolution. The kernel and expansion of a block
that its stage's depth leaves out change nothing: `repair` sets them to the first choice.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from hwprof.builder import GraphBuilder
from hwprof.errors import InputError
from hwprof.graph import Graph
from hwprof.interfaces import Arch
from hwprof.spaces import checked, index_of
from hwprof.spaces.blocks import Activation, conv_bn, hard_swish, inverted_residual, relu

NAME = "ofa_mbv3"
KERNELS = (3, 5, 7)
EXPANSIONS = (3, 4, 6)
DEPTHS = (2, 3, 4)
RESOLUTIONS = tuple(range(128, 225, 4))
LONGEST = max(DEPTHS)
# channels, stride of the first block, squeeze-and-excite, activation
STAGES: tuple[tuple[int, int, bool, Activation], ...] = (
    (24, 2, False, relu),
    (40, 2, True, relu),
    (80, 2, False, hard_swish),
    (112, 1, True, hard_swish),
    (160, 2, True, hard_swish),
)
BLOCKS = len(STAGES) * LONGEST


class OfaMobileNetV3:
    """The space of ofa_mbv3_d234_e346_k357_w1.0."""

    choices: Sequence[int] = (
        *(len(KERNELS),) * BLOCKS,
        *(len(EXPANSIONS),) * BLOCKS,
        *(len(DEPTHS),) * len(STAGES),
        len(RESOLUTIONS),
    )

    def __init__(self, classes: int = 1000) -> None:
        self.classes = classes

    def graph(self, arch: Arch) -> Graph:
        """Raises InputError for an architecture outside of the space."""
        kernels, expansions, depths, resolution = _settings(arch)
        b = GraphBuilder(NAME)
        x = b.input((1, 3, resolution, resolution))
        x = hard_swish(b, conv_bn(b, x, 16, 3, stride=2))
        x = inverted_residual(b, x, 16, 3, 1, 16, expand=False)
        for stage, (channels, stride, squeeze, activation) in enumerate(STAGES):
            for block in range(depths[stage]):
                number = stage * LONGEST + block
                x = inverted_residual(
                    b, x, channels, kernels[number], 1 if block else stride, b.shape(x)[1] * expansions[number],
                    squeeze=squeeze, activation=activation,
                )  # fmt: skip
        x = b.global_average_pool(hard_swish(b, conv_bn(b, x, 960)))
        x = hard_swish(b, b.conv(x, 1280))
        return b.build(b.gemm(b.flatten(x), self.classes))

    def repair(self, arch: Arch, _rng: np.random.Generator | None = None) -> Arch:
        """The same network with every unused position at its first choice."""
        arch = checked(NAME, self.choices, arch)
        _, _, depths, _ = _settings(arch)
        used = [block < depths[stage] for stage in range(len(STAGES)) for block in range(LONGEST)]
        blocks = [choice if live else 0 for choice, live in zip(arch, used * 2, strict=False)]
        return (*blocks, *arch[2 * BLOCKS :])

    def from_columns(self, row: Mapping[str, Any]) -> Arch:
        """The architecture of a record with `ks` [20], `e` [20], `d` [5] and `r` (one number, or a list of one).

        Raises InputError when a value is missing or none of the choices.
        """
        try:
            kernels, expansions, depths, size = row["ks"], row["e"], row["d"], row["r"]
        except KeyError as error:
            raise InputError(f"{NAME}: a record needs ks, e, d and r; {error} is missing") from None
        resolution = size[0] if isinstance(size, Sequence) else size
        arch = (
            *(index_of(NAME, "kernel", value, KERNELS) for value in kernels),
            *(index_of(NAME, "expansion", value, EXPANSIONS) for value in expansions),
            *(index_of(NAME, "depth", value, DEPTHS) for value in depths),
            index_of(NAME, "resolution", resolution, RESOLUTIONS),
        )
        return self.repair(arch)

    def parse(self, text: str) -> Arch:
        """The architecture of a JSON record {"ks": [20], "e": [20], "d": [5], "r": 224}, as OFA's tools print it."""
        try:
            row = json.loads(text)
        except ValueError:
            row = None
        if not isinstance(row, dict):
            raise InputError(f'{NAME}: {text!r} is not a JSON record {{"ks": [...], "e": [...], "d": [...], "r": 224}}')
        return self.from_columns(row)

    def format(self, arch: Arch) -> str:
        kernels, expansions, depths, resolution = _settings(arch)
        return json.dumps({"ks": kernels, "e": expansions, "d": depths, "r": resolution})


def _settings(arch: Arch) -> tuple[list[int], list[int], list[int], int]:
    """Kernels [20], expansions [20], depths [5] and the resolution."""
    arch = checked(NAME, OfaMobileNetV3.choices, arch)
    return (
        [KERNELS[choice] for choice in arch[:BLOCKS]],
        [EXPANSIONS[choice] for choice in arch[BLOCKS : 2 * BLOCKS]],
        [DEPTHS[choice] for choice in arch[2 * BLOCKS : -1]],
        RESOLUTIONS[arch[-1]],
    )


SPACE = OfaMobileNetV3()
