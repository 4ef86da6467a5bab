"""A chain of eight residual blocks, each with a kernel of 1 or 3, as a space and as a user's supernet whose choices
harden by sparsestmax until the relaxed network is the derived one."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from hwprof.builder import GraphBuilder
from hwprof.graph import Graph
from hwprof.interfaces import Arch
from hwprof.objective.sparsestmax import sparsestmax
from hwprof.spaces import checked
from hwprof.spaces.blocks import classify, conv_bn

KERNELS = (1, 3)
BLOCKS, HALVED_BEFORE = 8, (3, 6)


class ChainSpace:
    """The position of a block says which of `KERNELS` it has."""

    choices = (len(KERNELS),) * BLOCKS

    def __init__(self, channels: int = 24, side: int = 14, classes: int = 10) -> None:
        self.channels, self.side, self.classes = channels, side, classes

    def graph(self, arch: Arch) -> Graph:
        b = GraphBuilder("chain")
        x = b.relu(conv_bn(b, b.input((1, 1, self.side, self.side)), self.channels, 3))
        for number, choice in enumerate(checked("chain", self.choices, arch)):
            x = b.pool("MaxPool", x, 2, 2) if number in HALVED_BEFORE else x
            x = b.add(x, b.relu(conv_bn(b, x, self.channels, KERNELS[choice])))
        return b.build(classify(b, x, self.classes))


class ChainSupernet(nn.Module):
    """Images [batch, 1, side, side] to logits [batch, classes]. Its batch norms learn no scale, which would rescale the
    choices."""

    def __init__(self, space: ChainSpace, seed: int = 0) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.space, self._radius = space, 0.0
        n = space.channels
        self.first = nn.Sequential(nn.Conv2d(1, n, 3, padding=1, bias=False), nn.BatchNorm2d(n), nn.ReLU())
        self.blocks = nn.ModuleList(nn.ModuleList(_block(n, kernel) for kernel in KERNELS) for _ in range(BLOCKS))
        self.last = nn.Linear(n, space.classes)
        self.logits = nn.Parameter(1e-3 * torch.randn(BLOCKS, len(KERNELS)))

    def anneal(self, progress: float) -> None:
        """progress: 0 to 1. Hardens the choices."""
        self._radius = progress

    def architecture_parameters(self) -> list[nn.Parameter]:
        return [self.logits]

    def probabilities(self) -> Tensor:
        """[BLOCKS, n_choices]"""
        return sparsestmax(self.logits, self._radius)

    def derive(self) -> Arch:
        return tuple(self.logits.argmax(-1).tolist())

    def at(self, arch: Arch) -> nn.Module:
        return OneNetwork(self, arch)

    def forward(self, images: Tensor) -> Tensor:
        """images: [batch, 1, side, side]. Returns the logits, [batch, classes]."""
        return self.weighted(images, self.probabilities())

    def weighted(self, images: Tensor, probabilities: Tensor) -> Tensor:
        """images: [batch, 1, side, side]; probabilities: [BLOCKS, n_choices]. Returns the logits, [batch, classes]."""
        x = self.first(images)
        for number, (block, row) in enumerate(zip(self.blocks, probabilities, strict=True)):
            x = nn.functional.max_pool2d(x, 2) if number in HALVED_BEFORE else x
            x = x + sum(p * operation(x) for p, operation in zip(row, block, strict=True))
        logits: Tensor = self.last(x.mean((2, 3)))
        return logits


class OneNetwork(nn.Module):
    """One network of the supernet, with its weights."""

    def __init__(self, supernet: ChainSupernet, arch: Arch) -> None:
        super().__init__()
        self.supernet = supernet
        self.chosen = nn.functional.one_hot(torch.tensor(arch), len(KERNELS)).float()

    def forward(self, images: Tensor) -> Tensor:
        """images: [batch, 1, side, side]. Returns the logits, [batch, classes]."""
        return self.supernet.weighted(images, self.chosen)


def _block(channels: int, kernel: int) -> nn.Module:
    conv = nn.Conv2d(channels, channels, kernel, padding=kernel // 2, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(channels, affine=False), nn.ReLU())
