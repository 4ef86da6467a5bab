"""Dynamic grouping convolution (Yang et al., arXiv 2109.06094): each convolution learns its number of groups.

A weight is multiplied by a Kronecker product of 2 x 2 matrices, of ones where a gate is 1 and the identity where it is
0, so that it has 2^(number of zeros) groups. The gates are the signs of parameters, and the gradient passes straight
through the signs. Gates are sorted ascending: then groups are blocks on the diagonal, which a grouped convolution
computes without a permutation of channels. Where channels are not powers of 2, the product ends with a matrix of ones.

The loss has a penalty on the latency that the device's table gives for each number of groups: a grouped convolution may
be slower than a dense one, and then its gates stay 1.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property

import torch
from torch import Tensor, nn

from hwprof.compress.choice import AS_BEFORE, Choice, Choices, Options
from hwprof.compress.choices import MOST_OPTIONS, log_loss
from hwprof.compress.method import Cost, Need, Network, Outcome
from hwprof.graph import Graph
from hwprof.training import Hooks, ParamGroup
from hwprof.variants.group import diagonal_blocks, groupable, grouped_weights

_FIRST = 0.5, 1.0  # values of the gates' parameters at the start: all gates are 1, and close one after the other


class DGConv:
    """Grouped convolutions where the table says that they are faster."""

    name = "dgconv"
    paper = "Yang et al., dynamic grouping convolution, arXiv 2109.06094"
    needs: frozenset[Need] = frozenset({"training", "tuning"})
    result: Outcome = "more groups"

    def __init__(self, strength: float = 1.0, rate: float = 0.01) -> None:
        """strength: of the penalty on the latency, in units of the task's loss. rate: of the gates, by Adam."""
        self._strength, self._rate = strength, rate

    def options(self, graph: Graph) -> Options:
        return {layer: (AS_BEFORE, *(Choice(groups=1 << i) for i in range(1, n + 1))) for layer, n in _gates(graph)}

    def attach(self, network: Network, cost: Cost) -> Hooks:
        self._network, self._cost = network, cost
        self._grouped = {layer: _Grouped(n) for layer, n in _gates(network.graph)}
        self._weights = {node.label: node.inputs[1] for node in network.graph.nodes if node.label in self._grouped}
        for layer, made in self._grouped.items():
            network.module.parametrize(self._weights[layer], made)
        return _GroupHooks(self._grouped, self._price, self._rate) if self._grouped else Hooks()

    def choices(self) -> Choices:
        """Empty: the groups that the gates have learned do no harm, so the projection takes them first, and no more
        than the target needs."""
        return {}

    def learned(self) -> Choices:
        """The numbers of groups that the gates have now."""
        groups = {layer: made.n_groups for layer, made in self._grouped.items()}
        return {layer: Choice(groups=n) for layer, n in groups.items() if n > 1}

    def harm(self, layer: str, choice: Choice) -> float:
        """The `log_loss` of the energy outside of the groups."""
        if choice.groups is None:
            return 0.0
        weight = self._network.weights[self._weights[layer]].astype(float)
        inside = diagonal_blocks(weight, choice.groups)
        return log_loss(float((inside**2).sum()), float((weight**2).sum()))

    def finish(self, choices: Choices) -> Network:
        network = self._network
        groups = {layer: choice.groups for layer, choice in choices.items() if choice.groups is not None}
        graph, weights = grouped_weights(network.graph, network.weights, groups)
        return network.with_weights(graph, weights)

    def _price(self) -> Tensor:
        """Less the shares of the latency that the layers' groups save, a scalar."""
        prices = [_towards_best(self._savings[layer], made.n_zeros) for layer, made in self._grouped.items()]
        return -self._strength * torch.stack(prices).sum()

    @cached_property
    def _savings(self) -> dict[str, list[float]]:
        """By layer the share of the network's latency that 1, 2, 4, ... groups save; below 0 where they cost more."""
        whole = float(self._cost({}))
        return {
            layer: [1 - float(self._cost({layer: Choice(groups=1 << i)} if i else {})) / whole for i in range(n + 1)]
            for layer, n in _gates(self._network.graph)
        }


def relation(gates: Tensor, outputs: int, inputs: int) -> Tensor:
    """gates: [n], 1 or 0, the first one for the coarsest groups. Returns which output reads which input, 1 or 0,
    [outputs, inputs], multiples of 2^n."""
    made = gates.new_ones(1, 1)
    ones, identity = gates.new_ones(2, 2), torch.eye(2, dtype=gates.dtype, device=gates.device)
    for gate in gates:
        made = torch.kron(made, gate * ones + (1 - gate) * identity)
    side = 1 << len(gates)
    return torch.kron(made, gates.new_ones(outputs // side, inputs // side))


class _Grouped(nn.Module):
    """A parametrization that leaves groups of a weight. It does not own its gates: the hooks keep and restore them."""

    def __init__(self, n_gates: int) -> None:
        super().__init__()
        self._held = (nn.Parameter(torch.linspace(*_FIRST, n_gates)),)  # in a tuple it is not the module's

    def forward(self, weight: Tensor) -> Tensor:
        """weight: [out, in, *kernel]. Returns the one with zeros between its groups, of the same shape."""
        mask = relation(self._binary(), *weight.shape[:2])
        return weight * mask.reshape(*weight.shape[:2], *(1 for _ in weight.shape[2:]))

    def right_inverse(self, weight: Tensor) -> Tensor:
        """weight: [out, in, *kernel]. Returns it: all gates are 1 at the start."""
        return weight

    @property
    def gates(self) -> nn.Parameter:
        """[n_gates], of any sign."""
        return self._held[0]

    @property
    def n_groups(self) -> int:
        return 1 << round(float(self.n_zeros.detach()))

    @property
    def n_zeros(self) -> Tensor:
        """How many gates are 0, a scalar with the gradient of the gates."""
        return (1 - self._binary()).sum()

    def _binary(self) -> Tensor:
        """1 where a gate is above 0, else 0; ascending, [n_gates]; the gradient passes straight through."""
        binary = _Sign.apply(self.gates)  # type: ignore[no-untyped-call]
        return torch.sort(binary).values


class _Sign(torch.autograd.Function):
    @staticmethod
    def forward(_context: object, x: Tensor) -> Tensor:
        return (x > 0).to(x.dtype)

    @staticmethod
    def backward(_context: object, *gradients: Tensor) -> Tensor:
        return gradients[0]


class _GroupHooks(Hooks):
    def __init__(self, grouped: Mapping[str, _Grouped], price: Callable[[], Tensor], rate: float) -> None:
        self._grouped, self._price, self._rate = grouped, price, rate

    def parameters(self) -> Sequence[ParamGroup]:
        return (ParamGroup([made.gates for made in self._grouped.values()], self._rate, optimizer="adam"),)

    def penalty(self, progress: float) -> Tensor:  # noqa: ARG002
        return self._price()


def _gates(graph: Graph) -> list[tuple[str, int]]:
    """The layers that can have groups, and how many gates they have."""
    found = ((layer, math.gcd(*channels)) for layer, channels in groupable(graph).items())
    powers = ((layer, min((n & -n).bit_length() - 1, MOST_OPTIONS)) for layer, n in found)
    return [(layer, n) for layer, n in powers if n]


def _towards_best(savings: Sequence[float], place: Tensor) -> Tensor:
    """place: a whole number, a scalar. Returns the saving there; its gradient leads to the place with the largest gain
    for each step, and is 0 where no other place saves more, a scalar."""
    here = int(place)
    gains = {i: (saving - savings[here]) / abs(i - here) for i, saving in enumerate(savings) if i != here}
    best = max(gains, key=gains.__getitem__)
    slope = max(gains[best], 0.0) * (1 if best > here else -1)
    return savings[here] + slope * (place - place.detach())
