"""DARTS networks in PyTorch: the module of every graph of `hwprof.spaces.darts`, for training.

What may stand on an edge is left open, so that the supernet and the networks derived from it share one
skeleton (Liu et al., arXiv 1806.09055).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import nn

from hwprof.errors import InputError
from hwprof.interfaces import Arch
from hwprof.spaces.darts import EDGES, NODES, NONE, OPERATIONS, Darts
from hwprof.torch_io.memory_format import in_channels_last, to_channels_last

# (in a reduction cell?, edge, channels, stride) -> what runs on the edge, None for nothing
EdgeMaker = Callable[[bool, int, int, int], nn.Module | None]
_NUMBERED = list(enumerate(EDGES))


class Network(nn.Module):
    """Stem, cells, classifier: images [batch, 3, resolution, resolution] to logits [batch, classes]."""

    def __init__(self, space: Darts, make_edge: EdgeMaker, affine: bool) -> None:
        """affine: whether batch norms learn a scale and a shift; in a supernet they would rescale the alphas.

        Raises InputError when the two reduction cells cannot halve the resolution.
        """
        super().__init__()
        if space.resolution % 4:
            raise InputError(f"two reduction cells need a resolution that 4 divides, not {space.resolution}")
        before = last = 3 * space.channels
        channels, shrinks = space.channels, False
        self.stem = nn.Sequential(nn.Conv2d(3, last, 3, padding=1, bias=False), nn.BatchNorm2d(last))
        self.cells = nn.ModuleList()
        self.reducing = [number in (space.cells // 3, 2 * space.cells // 3) for number in range(space.cells)]
        for reduces in self.reducing:
            channels = 2 * channels if reduces else channels
            self.cells.append(Cell((before, last), channels, shrinks, reduces, make_edge, affine))
            before, last, shrinks = last, NODES * channels, reduces
        self.classifier = nn.Linear(last, space.classes)
        to_channels_last(self)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        weights = {reduces: self.edge_weights(reduces) for reduces in (False, True)}
        before = last = self.stem(in_channels_last(images))
        for cell, reduces in zip(self.cells, self.reducing, strict=True):
            before, last = last, cell(before, last, *weights[reduces])
        logits: torch.Tensor = self.classifier(last.mean(dim=(2, 3)))
        return logits

    def edge_weights(self, reduces: bool) -> tuple[torch.Tensor, ...]:  # noqa: ARG002 -- for those that override it
        """What each edge of a kind of cell is given besides its input: tensors of [n_edges, ...]."""
        return ()

    def weights(self) -> list[nn.Parameter]:
        """What training changes: not the parameters of an architecture that is still open."""
        return list(self.parameters())


class Cell(nn.Module):
    """Two inputs and four nodes; the output is the concatenation of the nodes."""

    def __init__(
        self, inputs: tuple[int, int], channels: int, shrinks: bool, reduces: bool, make_edge: EdgeMaker, affine: bool
    ) -> None:
        """inputs: channels of the two inputs. shrinks: the first input has twice the resolution of the second."""
        super().__init__()
        first = FactorizedReduction if shrinks else relu_conv_bn
        self.first = first(inputs[0], channels, affine)
        self.second = relu_conv_bn(inputs[1], channels, affine)
        made = {i: make_edge(reduces, i, channels, 2 if reduces and source < 2 else 1) for i, (source, _) in _NUMBERED}
        self.edges = nn.ModuleDict({str(i): module for i, module in made.items() if module is not None})

    def forward(self, before: torch.Tensor, last: torch.Tensor, *edge_weights: torch.Tensor) -> torch.Tensor:
        nodes = [self.first(before), self.second(last)]
        for node in range(NODES):
            arriving = [
                self.edges[str(i)](nodes[source], *(weight[i] for weight in edge_weights))
                for i, (source, target) in _NUMBERED
                if target == node and str(i) in self.edges
            ]
            nodes.append(sum(arriving[1:], start=arriving[0]))
        return torch.cat(nodes[2:], dim=1)


def derived_network(space: Darts, arch: Arch, seed: int = 0) -> Network:
    """The stand-alone network of a derived architecture, with fresh weights.

    Raises InputError for an architecture without exactly two inputs for every node.
    """
    space.format(arch)  # for its check

    def chosen(reduces: bool, edge: int, channels: int, stride: int) -> nn.Module | None:
        choice = arch[len(EDGES) * reduces + edge]
        return None if choice == NONE else operation(OPERATIONS[choice], channels, stride, affine=True)

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Network(space, chosen, affine=True)


# -- operations --------------------------------------------------------------------------------------


def operation(name: str, channels: int, stride: int, affine: bool) -> nn.Module:
    """One of the space's operations but `none`, from `channels` to as many."""
    return _OPERATIONS[name](channels, stride, affine)


def relu_conv_bn(inputs: int, channels: int, affine: bool) -> nn.Sequential:
    """The order of the cell-based spaces."""
    return nn.Sequential(
        nn.ReLU(), nn.Conv2d(inputs, channels, 1, bias=False), nn.BatchNorm2d(channels, affine=affine)
    )  # fmt: skip


class FactorizedReduction(nn.Module):
    """Half of the channels from the even, half from the odd pixels."""

    def __init__(self, inputs: int, channels: int, affine: bool) -> None:
        super().__init__()
        self.even = nn.Conv2d(inputs, channels // 2, 1, stride=2, bias=False)
        self.odd = nn.Conv2d(inputs, channels // 2, 1, stride=2, bias=False)
        self.norm = nn.BatchNorm2d(channels, affine=affine)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x.relu()
        normed: torch.Tensor = self.norm(torch.cat([self.even(x), self.odd(x[:, :, 1:, 1:])], dim=1))
        return normed


def _separable(channels: int, stride: int, affine: bool, kernel: int) -> nn.Module:
    return nn.Sequential(
        *_depthwise_separable(channels, kernel, stride, affine), *_depthwise_separable(channels, kernel, 1, affine)
    )


def _dilated(channels: int, stride: int, affine: bool, kernel: int) -> nn.Module:
    return nn.Sequential(*_depthwise_separable(channels, kernel, stride, affine, dilation=2))


def _depthwise_separable(channels: int, kernel: int, stride: int, affine: bool, dilation: int = 1) -> list[nn.Module]:
    padding = dilation * (kernel // 2)
    depthwise = nn.Conv2d(
        channels, channels, kernel, stride, padding, dilation=dilation, groups=channels, bias=False
    )  # fmt: skip
    pointwise = nn.Conv2d(channels, channels, 1, bias=False)
    return [nn.ReLU(), depthwise, pointwise, nn.BatchNorm2d(channels, affine=affine)]


_OPERATIONS: dict[str, Callable[[int, int, bool], nn.Module]] = {
    "max_pool_3x3": lambda _channels, stride, _affine: nn.MaxPool2d(3, stride, padding=1),
    "avg_pool_3x3": lambda _channels, stride, _affine: nn.AvgPool2d(3, stride, padding=1, count_include_pad=False),
    "skip_connect": lambda channels, stride, affine: (
        nn.Identity() if stride == 1 else FactorizedReduction(channels, channels, affine)
    ),
    "sep_conv_3x3": partial(_separable, kernel=3),
    "sep_conv_5x5": partial(_separable, kernel=5),
    "dil_conv_3x3": partial(_dilated, kernel=3),
    "dil_conv_5x5": partial(_dilated, kernel=5),
}
