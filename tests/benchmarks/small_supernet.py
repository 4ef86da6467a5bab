"""1,024 small networks on scikit-learn's digits, as a supernet and each alone: five layers, four operations each."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import nn

from hwprof.interfaces import Arch

CHOICES = (4,) * 5
ARCHS = list(itertools.product(*map(range, CHOICES)))
WIDTH, BATCH, RATE = 16, 32, 5e-3
TRAIN, SEARCH = 250, 400  # digits to learn from, then those that score by shared weights; the others test


class Supernet(nn.Module):
    """Operations: nothing, a residual linear layer with ReLU, one with tanh, and two layers through four units."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.first, self.last = nn.Linear(64, WIDTH), nn.Linear(WIDTH, 10)
        self.layers = nn.ModuleList(nn.ModuleList(_operations()) for _ in CHOICES)

    def forward(self, x: torch.Tensor, arch: Arch) -> torch.Tensor:
        """x: [n, 64]. Returns the logits of the architecture's network, [n, 10]."""
        x = self.first(x)
        for layer, choice in zip(self.layers, arch, strict=True):
            x = layer[choice](x)
        return self.last(x)


def _operations() -> list[nn.Module]:
    narrow = nn.Sequential(nn.Linear(WIDTH, 4), nn.Linear(4, WIDTH))
    return [nn.Identity(), Residual(nn.ReLU()), Residual(nn.Tanh()), narrow]


class Residual(nn.Module):
    """x + activation(linear(x))."""

    def __init__(self, activation: nn.Module) -> None:
        super().__init__()
        self.branch = nn.Sequential(nn.Linear(WIDTH, WIDTH), activation)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x: [n, WIDTH]. Returns the same shape."""
        return x + self.branch(x)


def shared_scores(seed: int, archs: Sequence[Arch], steps: int, images: int) -> list[float]:
    """Accuracies, %, on the first `images` of the part that searches, by the weights of a supernet of which a random
    network was trained in each step."""
    rng = np.random.default_rng(seed)
    supernet = Supernet(seed)
    _train(supernet, [ARCHS[i] for i in rng.integers(len(ARCHS), size=steps)], seed)
    x, y = _part(TRAIN, TRAIN + images)
    return [_accuracy(supernet, arch, x, y) for arch in archs]


def alone(seed: int, arch: Arch, steps: int) -> float:
    """The accuracy of the network trained alone, %, on the digits that test."""
    network = Supernet(seed)
    _train(network, [arch] * steps, seed)
    return _accuracy(network, arch, *_part(TRAIN + SEARCH, None))


def _train(network: Supernet, archs: Sequence[Arch], seed: int) -> None:
    x, y = _part(0, TRAIN)
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.Adam(network.parameters(), RATE)
    for arch in archs:
        rows = torch.randint(len(x), (BATCH,), generator=generator)
        loss = nn.functional.cross_entropy(network(x[rows], arch), y[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def _part(start: int, stop: int | None) -> tuple[torch.Tensor, torch.Tensor]:
    images, labels = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(images))[start:stop]
    return torch.from_numpy(images[order] / 16).float(), torch.from_numpy(labels[order])


def _accuracy(network: Supernet, arch: Arch, x: torch.Tensor, y: torch.Tensor) -> float:
    with torch.no_grad():
        return 100 * float((network(x, arch).argmax(dim=1) == y).float().mean())
