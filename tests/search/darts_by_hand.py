"""DARTS networks written by hand in PyTorch, to check their Graphs with. Weights come in the order of a Graph's.

x: [batch, channels, height, width] everywhere. Batch norms use the statistics of the batch.
"""

from collections.abc import Callable, Iterator

import torch
from torch.nn import functional

from hwprof.spaces.darts import EDGES, Darts

Weights = Iterator[torch.Tensor]
# (weights, in a reduction cell?, edge, x, stride) -> what arrives at the other end, None for nothing
EdgeFunction = Callable[[Weights, bool, int, torch.Tensor, int], torch.Tensor | None]


def network(space: Darts, weights: Weights, images: torch.Tensor, edge: EdgeFunction) -> torch.Tensor:
    before = last = norm(weights, convolution(weights, images))
    shrinks = False
    for number in range(space.cells):
        reduces = number in (space.cells // 3, 2 * space.cells // 3)
        first = factorized_reduction(weights, before) if shrinks else relu_conv_bn(weights, before)
        nodes = [first, relu_conv_bn(weights, last)]
        for node in range(4):
            arriving = [
                edge(weights, reduces, i, nodes[source], 2 if reduces and source < 2 else 1)
                for i, (source, target) in enumerate(EDGES)
                if target == node
            ]
            nodes.append(sum(y for y in arriving if y is not None))
        before, last, shrinks = last, torch.cat(nodes[2:], dim=1), reduces
    return functional.linear(last.mean(dim=(2, 3)), next(weights), next(weights))


def operation(weights: Weights, name: str, x: torch.Tensor, stride: int) -> torch.Tensor:
    if name == "max_pool_3x3":
        return functional.max_pool2d(x, 3, stride, padding=1)
    if name == "avg_pool_3x3":
        return functional.avg_pool2d(x, 3, stride, padding=1, count_include_pad=False)
    if name == "skip_connect":
        return x if stride == 1 else factorized_reduction(weights, x)
    if name.startswith("dil"):
        return depthwise_separable(weights, x, stride, dilation=2)
    return depthwise_separable(weights, depthwise_separable(weights, x, stride), 1)


def convolution(weights: Weights, x: torch.Tensor, stride: int = 1, dilation: int = 1) -> torch.Tensor:
    weight = next(weights)
    padding = dilation * (weight.shape[2] // 2)
    return functional.conv2d(x, weight, None, stride, padding, dilation, x.shape[1] // weight.shape[1])


def norm(weights: Weights, x: torch.Tensor) -> torch.Tensor:
    gain, shift, _mean, _variance = (next(weights) for _ in range(4))
    return functional.batch_norm(x, None, None, gain, shift, training=True)


def relu_conv_bn(weights: Weights, x: torch.Tensor) -> torch.Tensor:
    return norm(weights, convolution(weights, x.relu()))


def depthwise_separable(weights: Weights, x: torch.Tensor, stride: int, dilation: int = 1) -> torch.Tensor:
    return norm(weights, convolution(weights, convolution(weights, x.relu(), stride, dilation)))


def factorized_reduction(weights: Weights, x: torch.Tensor) -> torch.Tensor:
    x = x.relu()
    even, odd = convolution(weights, x, 2), convolution(weights, x[:, :, 1:, 1:], 2)
    return norm(weights, torch.cat([even, odd], dim=1))
