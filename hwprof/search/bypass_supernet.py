"""A supernet of layers with any number of filters, trained by ordered dropout (NetAdaptV2, Yang et al., arXiv
2104.00031, sections 3.2 and 3.3).

Every image of a batch passes another sub-network: in each layer a number of filters is drawn for it, and the channels
of the others are taken from the layer's input (`hwprof.spaces.bypass`). The filters that a layer keeps are always the
first ones, so that the filters are ordered by their importance. Each number of filters gets an equal part of the batch.

The numbers of filters are enabled one by one, the largest first, over the first half of the training.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from hwprof.interfaces import Arch
from hwprof.spaces.bypass import BypassSpace
from hwprof.training import Hooks

_ENABLING = 0.5  # share of the training after which all numbers of filters are enabled


class BypassConv(nn.Module):
    """A convolution of 3 x 3, batch norm and ReLU from `channels` to as many, whose last channels may be bypassed."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor, n_filters: Tensor) -> Tensor:
        """x: [batch, channels, height, width]; n_filters: [batch], or [1] for all images. Returns the shape of x: the
        first channels computed, the others those of x."""
        is_kept = torch.arange(x.shape[1], device=x.device) < n_filters[:, None]
        return torch.where(is_kept[..., None, None], self.norm(self.conv(x)).relu(), x)


class BypassSupernet(nn.Module):
    """All networks of a `BypassSpace` at once: images [batch, *space.images] to logits [batch, classes].

    In training mode each image passes a sub-network that is drawn for it, with PyTorch's generator; in evaluation mode
    all pass the largest one. It has no parameters of the architecture: searches choose by scores (`SupernetScore`).
    """

    def __init__(self, space: BypassSpace, seed: int = 0) -> None:
        super().__init__()
        self.space = space
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.first = nn.Sequential(
                nn.Conv2d(space.images[0], space.channels, 3, padding=1, bias=False),
                nn.BatchNorm2d(space.channels),
                nn.ReLU(),
            )
            self.layers = nn.ModuleList(BypassConv(space.channels) for _ in space.choices)
            self.last = nn.Linear(space.channels, space.classes)
        self._progress = 1.0

    def forward(self, images: Tensor) -> Tensor:
        """images: [batch, *space.images]. Returns the logits, [batch, classes]."""
        if self.training:
            return self.computed(images, [self._drawn(len(images)) for _ in self.layers])
        return self.at(self.derive())(images)  # type: ignore[no-any-return]

    def computed(self, images: Tensor, n_filters: Sequence[Tensor]) -> Tensor:
        """images: [batch, *space.images]; n_filters: [batch] or [1], for each layer. Returns the logits, [batch,
        classes]."""
        x: Tensor = self.first(images)
        for number, (layer, kept) in enumerate(zip(self.layers, n_filters, strict=True)):
            if number in self.space.halved_before:
                x = nn.functional.max_pool2d(x, 2)
            x = layer(x, kept)
        logits: Tensor = self.last(x.mean((2, 3)))
        return logits

    def anneal(self, progress: float) -> None:
        """progress: 0 to 1, the share of the training that is done. Enables the numbers of filters."""
        self._progress = progress

    def enabled(self) -> tuple[int, ...]:
        """The numbers of filters that are drawn now, the largest first."""
        largest_first = self.space.filters[::-1]
        share = min(1.0, self._progress / _ENABLING)
        return largest_first[: 1 + int(share * (len(largest_first) - 1))]

    def _drawn(self, batch: int) -> Tensor:
        """[batch]: a number of filters for each image, each as often as the others, in random order."""
        options = torch.tensor(self.enabled())
        return options[torch.arange(batch) % len(options)][torch.randperm(batch)]

    def architecture_parameters(self) -> list[nn.Parameter]:
        """None."""
        return []

    def probabilities(self) -> Tensor:
        """[n_layers, n_choices]: all alike."""
        n_layers, n = len(self.space.choices), len(self.space.filters)
        return torch.full((n_layers, n), 1 / n)

    def derive(self) -> Arch:
        """The largest network."""
        return tuple(n - 1 for n in self.space.choices)

    def at(self, arch: Arch) -> nn.Module:
        """The network of the architecture, which shares the weights. Raises InputError for one outside the space."""
        return SubNetwork(self, self.space.filters_of(arch))

    def weights_at(self, arch: Arch) -> dict[str, np.ndarray]:
        """The weights of `space.graph(arch)` by name, each [*shape] of its tensor, cut out of the shared ones. Raises
        InputError for an architecture outside of the space."""
        graph = self.space.graph(arch)
        cut = _filters(self.first[0], self.first[1], self.space.channels)
        for layer, n_filters in zip(self.layers, self.space.filters_of(arch), strict=True):
            assert isinstance(layer, BypassConv)
            cut += _filters(layer.conv, layer.norm, n_filters) if n_filters else []
        cut += [self.last.weight, self.last.bias]
        names = [tensor.name for tensor in graph.weights]  # in the order in which the space builds the network
        return {name: tensor.detach().numpy().copy() for name, tensor in zip(names, cut, strict=True)}


class SubNetwork(nn.Module):
    """One network of a supernet: images [batch, *space.images] to logits [batch, classes]."""

    def __init__(self, supernet: BypassSupernet, n_filters: Sequence[int]) -> None:
        super().__init__()
        self.supernet = supernet
        self._n_filters = [torch.tensor([n]) for n in n_filters]

    def forward(self, images: Tensor) -> Tensor:
        """images: [batch, *space.images]. Returns the logits, [batch, classes]."""
        return self.supernet.computed(images, self._n_filters)


class OrderedDropout(Hooks):
    """Enables the supernet's numbers of filters one by one while it is trained."""

    def __init__(self, supernet: BypassSupernet) -> None:
        self._supernet = supernet

    def penalty(self, progress: float) -> float:
        self._supernet.anneal(progress)
        return 0.0


def _filters(conv: nn.Module, norm: nn.Module, n: int) -> list[Tensor]:
    """The weight, scale, shift, mean and variance of the first n filters, in the order of `GraphBuilder`."""
    assert isinstance(conv, nn.Conv2d)
    assert isinstance(norm, nn.BatchNorm2d)
    held = (conv.weight, norm.weight, norm.bias, norm.running_mean, norm.running_var)
    return [tensor[:n] for tensor in held if tensor is not None]
