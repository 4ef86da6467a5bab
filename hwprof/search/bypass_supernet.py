"""A supernet of layers with any number of filters, trained by ordered dropout (NetAdaptV2, Yang et al., arXiv
2104.00031, sections 3.2 and 3.3).

Each image of a batch passes through a sub-network of its own: every layer draws a number of filters for it and takes
the channels of the other filters from its input (`hwprof.spaces.bypass`). A layer always keeps its first filters, so
that training orders them by importance. Each number of filters gets an equal part of the batch.

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
    """A 3 x 3 convolution, batch norm and ReLU that keep the number of channels; the last channels may be bypassed."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor, n_filters: Tensor) -> Tensor:
        """x: [batch, channels, height, width]; n_filters: [batch], or [1] for all images. Returns a tensor of the
        same shape: the first n_filters channels are computed, the others are those of x."""
        is_kept = torch.arange(x.shape[1], device=x.device) < n_filters[:, None]
        return torch.where(is_kept[..., None, None], self.norm(self.conv(x)).relu(), x)


class BypassSupernet(nn.Module):
    """All networks of a `BypassSpace` at once: images [batch, *space.images] to logits [batch, classes].

    In training mode each image passes through a sub-network that PyTorch's generator draws for it, in evaluation mode
    through the largest one. There are no architecture parameters: searches choose by scores (`SupernetScore`).
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
            return self.computed(images, [self._draw(len(images)) for _ in self.layers])
        logits: Tensor = self.at(self.derive())(images)
        return logits

    def computed(self, images: Tensor, n_filters: Sequence[Tensor]) -> Tensor:
        """images: [batch, *space.images]; n_filters: for each layer [batch], or [1] for all images. Returns the logits,
        [batch, classes]."""
        x: Tensor = self.first(images)
        for number, (layer, n) in enumerate(zip(self.layers, n_filters, strict=True)):
            if number in self.space.halved_before:
                x = nn.functional.max_pool2d(x, 2)
            x = layer(x, n.to(x.device))
        logits: Tensor = self.last(x.mean((2, 3)))
        return logits

    def anneal(self, progress: float) -> None:
        """Enables numbers of filters. progress: the share of the training that is done, 0 to 1."""
        self._progress = progress

    def enabled(self) -> tuple[int, ...]:
        """The numbers of filters that training draws at present, the largest first."""
        largest_first = self.space.filters[::-1]
        share = min(1.0, self._progress / _ENABLING)
        return largest_first[: 1 + int(share * (len(largest_first) - 1))]

    def _draw(self, batch: int) -> Tensor:
        """[batch]: the number of filters for each image. All numbers are equally frequent, in random order."""
        options = torch.tensor(self.enabled())
        return options[torch.arange(batch) % len(options)][torch.randperm(batch)]

    def architecture_parameters(self) -> list[nn.Parameter]:
        """Always empty: this supernet learns weights only."""
        return []

    def probabilities(self) -> Tensor:
        """[n_layers, n_choices]: all equal."""
        n_layers, n = len(self.space.choices), len(self.space.filters)
        return torch.full((n_layers, n), 1 / n)

    def derive(self) -> Arch:
        """The largest network."""
        return tuple(n - 1 for n in self.space.choices)

    def at(self, arch: Arch) -> nn.Module:
        """The architecture's network with the shared weights. Raises InputError for an architecture outside of the
        space."""
        return SubNetwork(self, self.space.filters_of(arch))

    def weights_at(self, arch: Arch) -> dict[str, np.ndarray]:
        """The weights of `space.graph(arch)`, cut out of the shared ones: by name, [*shape] of the graph. Raises
        InputError for an architecture outside of the space."""
        graph = self.space.graph(arch)
        cut = _filters(self.first[0], self.first[1], self.space.channels)
        for layer, n_filters in zip(self.layers, self.space.filters_of(arch), strict=True):
            assert isinstance(layer, BypassConv)
            cut += _filters(layer.conv, layer.norm, n_filters) if n_filters else []
        cut += [self.last.weight, self.last.bias]
        names = [tensor.name for tensor in graph.weights]  # in the order in which the space builds the network
        return {name: tensor.detach().cpu().numpy().copy() for name, tensor in zip(names, cut, strict=True)}


class SubNetwork(nn.Module):
    """A network of the supernet: images [batch, *space.images] to logits [batch, classes]."""

    def __init__(self, supernet: BypassSupernet, n_filters: Sequence[int]) -> None:
        super().__init__()
        self.supernet = supernet
        self._n_filters = [torch.tensor([n]) for n in n_filters]

    def forward(self, images: Tensor) -> Tensor:
        """images: [batch, *space.images]. Returns the logits, [batch, classes]."""
        return self.supernet.computed(images, self._n_filters)


class OrderedDropout(Hooks):
    """Enables the supernet's numbers of filters one by one while it trains."""

    def __init__(self, supernet: BypassSupernet) -> None:
        self._supernet = supernet

    def penalty(self, progress: float) -> float:
        self._supernet.anneal(progress)
        return 0.0


def _filters(conv: nn.Module, norm: nn.Module, n: int) -> list[Tensor]:
    """Weight, scale, shift, mean and variance of the first n filters, in the order of `GraphBuilder`: [n, ...] each."""
    assert isinstance(conv, nn.Conv2d)
    assert isinstance(norm, nn.BatchNorm2d)
    held = (conv.weight, norm.weight, norm.bias, norm.running_mean, norm.running_var)
    return [tensor[:n] for tensor in held if tensor is not None]
