"""Differentiable mask pruning (Ramakrishnan, Sari & Partovi Nia, arXiv 1909.04567): masks are learned with the weights.

Each channel, weight or residual block is multiplied by a mask in [0, 1], the sigmoid of a parameter of its own, which
becomes steeper during the training. Two penalties are added to the loss: the latency of the network that the masks
leave, as the device's table has it, and the masks' distance from 0 and 1. The paper's abstract is public and its mask
function is not, so that the sigmoid is ours. Masks have an optimizer of their own without weight decay: at the rate of
the weights they do not move.

A channel is masked where it is read, and a block at its last weights, so that no batch norm can undo the mask, and the
masked network computes what the smaller one does.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property

import numpy as np
import torch
from torch import Tensor, nn

from hwprof.compress.choice import Choice, Choices, Options
from hwprof.compress.choices import (
    WITHOUT_BRANCH,
    block_options,
    chosen_branches,
    kept_options,
    kept_shares,
    log_loss,
)
from hwprof.compress.method import Cost, Need, Network, Outcome, SoftChoice, SoftChoices
from hwprof.graph import Graph
from hwprof.training import Hooks, ParamGroup
from hwprof.variants.blocks import ResidualBlock, residual_blocks, without_blocks_weights
from hwprof.variants.prune import Reading, channel_readings, prunable_groups, prune_weights
from hwprof.variants.sparsify import sparsifiable

PAPER = "Ramakrishnan et al., Differentiable Mask Pruning for Neural Networks, arXiv 1909.04567"
_SHARPNESS = 2.0, 20.0  # of the sigmoid, at the start and at the end of the training
_FIRST = 1.0  # value of all parameters of masks at the start: masks are 0.88
_OPEN = 0.5  # masks below are closed
_DECIDED = 0.7  # share of the training after which a state may be kept: masks are nearly 0 or 1


class Masks:
    """Masks of one layer. parameters: [n]."""

    def __init__(self, n: int) -> None:
        self.parameters = nn.Parameter(torch.full((n,), _FIRST))
        self.sharpness = torch.tensor(_SHARPNESS[0])

    @property
    def values(self) -> Tensor:
        """[n], in (0, 1)."""
        return torch.sigmoid(self.sharpness * self.parameters)

    def held(self) -> np.ndarray:
        """The values without a gradient, [n]."""
        return np.asarray(self.values.detach().cpu().numpy())


class _Masked(nn.Module):
    """A parametrization that multiplies a weight by masks. It does not own them: the hooks keep and restore them."""

    def __init__(self, parts: Sequence[tuple[Masks, Tensor]], shape: Sequence[int]) -> None:
        """parts: masks and for each place along `shape` the mask that it has, -1 for none. shape: that of the weight,
        1 for axes along which the mask is the same."""
        super().__init__()
        self._parts, self._shape = tuple(parts), tuple(shape)

    def forward(self, weight: Tensor) -> Tensor:
        """weight: [...]. Returns the masked one, [...]."""
        return weight * self._mask()

    def right_inverse(self, weight: Tensor) -> Tensor:
        """weight: [...]. Returns the one that is `weight` after it was masked, [...]."""
        return weight / self._mask()

    def _mask(self) -> Tensor:
        mask = torch.ones(())
        for masks, places in self._parts:
            padded = torch.cat((masks.values, masks.values.new_ones(1)))  # the place -1
            mask = mask * padded[places]
        return mask.reshape(self._shape)


class _MaskHooks(Hooks):
    """Trains masks. price: the cost of the network with the present masks, as a share of the whole one's, a scalar."""

    def __init__(
        self, masks: Mapping[str, Masks], price: Callable[[], Tensor], strength: float, rate: float
    ) -> None:  # fmt: skip
        self._masks, self._price, self._strength, self._rate = masks, price, strength, rate
        self._sharpness = torch.tensor(_SHARPNESS[0])
        self._progress = 0.0
        for each in masks.values():
            each.sharpness = self._sharpness

    def parameters(self) -> Sequence[ParamGroup]:
        return (ParamGroup([each.parameters for each in self._masks.values()], self._rate, optimizer="adam"),)

    def before_step(self, step: int) -> None:  # noqa: ARG002
        first, last = _SHARPNESS
        self._sharpness.fill_(first * (last / first) ** self._progress)

    def penalty(self, progress: float) -> Tensor:
        self._progress = progress
        every = torch.cat([each.values for each in self._masks.values()])
        return self._strength * self._price() + progress * (every * (1 - every)).mean()

    def may_be_kept(self) -> bool:
        return self._progress >= _DECIDED

    def state(self) -> Mapping[str, Tensor]:
        return {**super().state(), "sharpness": self._sharpness}


class Dmp:
    """Masks of channels of convolutions, of features of matrix products, and of units of recurrences (the paper's
    filters and nodes)."""

    name = "dmp"
    paper = PAPER
    needs: frozenset[Need] = frozenset({"training", "tuning"})
    result: Outcome = "fewer channels"
    version = 2  # the harm of channels that several layers make

    def __init__(self, strength: float = 0.1, rate: float = 0.02) -> None:
        """strength: of the penalty on the latency, in units of the task's loss. rate: of the masks."""
        self._strength, self._rate = strength, rate

    def options(self, graph: Graph) -> Options:
        readings = channel_readings(graph)
        return {name: some for name, some in kept_options(graph).items() if readings[name]}

    def attach(self, network: Network, cost: Cost) -> Hooks:
        self._network = network
        readings = {name: some for name, some in channel_readings(network.graph).items() if some}
        groups = {group.name: group for group in prunable_groups(network.graph) if group.name in readings}
        self._masks = {name: Masks(group.channels // group.granule) for name, group in groups.items()}
        self._granules = {name: group.granule for name, group in groups.items()}
        self._producers = {name: len(group.producers) for name, group in groups.items()}
        _mask_readers(network, readings, self._masks)
        return (
            _MaskHooks(self._masks, _Priced(cost, self._kept), self._strength, self._rate) if self._masks else Hooks()
        )

    def choices(self) -> Choices:
        """Empty: closed masks do no harm, so the projection takes their channels first, and no more than the target
        needs."""
        return {}

    def harm(self, layer: str, choice: Choice) -> float:
        """The `log_loss` of what the masks let through, once for each layer that makes the channels: closed channels do
        none, even where all of a layer's are."""
        if choice.kept is None:
            return 0.0
        masks = -np.sort(-self._masks[layer].held())
        lost = float(masks[choice.kept // self._granules[layer] :].sum())
        return self._producers[layer] * log_loss(len(masks) - lost, len(masks))

    def finish(self, choices: Choices) -> Network:
        network = self._network
        scores = {name: masks.parameters.detach().cpu().numpy() for name, masks in self._masks.items()}
        shares = kept_shares(network.graph, choices)
        graph, weights = prune_weights(network.graph, network.weights, shares, granule=1, scores=scores)
        return network.with_weights(graph, weights)

    def _kept(self) -> SoftChoices:
        """Numbers of channels with a gradient: the sums of the masks."""
        return {name: SoftChoice(kept=self._granules[name] * masks.values.sum()) for name, masks in self._masks.items()}


class DmpWeight:
    """Masks of single weights. The network becomes sparse, and dense kernels are not faster for it."""

    name = "dmp_weight"
    paper = PAPER
    needs: frozenset[Need] = frozenset({"training"})
    result: Outcome = "zeros"

    def __init__(self, strength: float = 0.5, rate: float = 0.02) -> None:
        """strength: of the penalty on the share of weights that stay, in units of the task's loss. rate: of the
        masks."""
        self._strength, self._rate = strength, rate

    def options(self, graph: Graph) -> Options:  # noqa: ARG002 -- the latency decides nothing
        return {}

    def attach(self, network: Network, cost: Cost) -> Hooks:  # noqa: ARG002
        self._network, self._before = network, network.copy()
        self._layers = sparsifiable(network.graph)
        names = dict.fromkeys(name for some in self._layers.values() for name in some)
        self._masks = {name: Masks(network.module.tensor(name).numel()) for name in names}
        for name, masks in self._masks.items():
            shape = network.graph.shape(name)
            network.module.parametrize(name, _Masked([(masks, torch.arange(masks.parameters.numel()))], shape))
        return _MaskHooks(self._masks, self._share, self._strength, self._rate) if self._masks else Hooks()

    def choices(self) -> Choices:
        """The share of each layer's weights whose masks are closed."""
        closed = {
            layer: np.concatenate([self._masks[name].held() < _OPEN for name in names])
            for layer, names in self._layers.items()
        }
        return {layer: Choice(sparsity=float(each.mean())) for layer, each in closed.items()}

    def harm(self, layer: str, choice: Choice) -> float:  # noqa: ARG002
        return 0.0

    def finish(self, choices: Choices) -> Network:
        if not choices:
            return self._before
        weights = self._network.weights
        for layer, choice in choices.items():
            for name, is_open in self._open(layer, choice.sparsity or 0.0).items():
                weights[name] *= is_open.reshape(weights[name].shape)
        return self._network.with_weights(self._network.graph, weights)

    def _open(self, layer: str, sparsity: float) -> dict[str, np.ndarray]:
        """By weight of the layer, bool [elements]: without the share whose masks are closed most."""
        names = self._layers[layer]
        found = [self._masks[name].parameters.detach().cpu().numpy() for name in names]
        every = np.concatenate(found)
        is_open = np.ones(len(every), bool)
        is_open[np.argsort(every, kind="stable")[: round(sparsity * len(every))]] = False
        return dict(zip(names, np.split(is_open, np.cumsum([len(one) for one in found])[:-1]), strict=True))

    def _share(self) -> Tensor:
        return torch.cat([masks.values for masks in self._masks.values()]).mean()


class DmpBlock:
    """Masks of residual branches (the paper's sub-networks): a branch whose mask is closed goes as a whole."""

    name = "dmp_block"
    paper = PAPER
    needs: frozenset[Need] = frozenset({"training", "tuning"})
    result: Outcome = "fewer blocks"

    def __init__(self, strength: float = 0.5, rate: float = 0.02) -> None:
        """strength: of the penalty on the latency, in units of the task's loss. rate: of the masks."""
        self._strength, self._rate = strength, rate

    def options(self, graph: Graph) -> Options:
        """A branch stays or goes; those whose last operators have no weights to be masked stay."""
        return block_options(_last_weights(graph))

    def attach(self, network: Network, cost: Cost) -> Hooks:
        self._network, self._cost = network, cost
        last = _last_weights(network.graph)
        self._masks = {name: Masks(1) for name in last}
        for block, names in last.items():
            for name in names:
                network.module.parametrize(name, _Masked([(self._masks[block], torch.zeros(1, dtype=torch.long))], ()))
        return _MaskHooks(self._masks, self._price, self._strength, self._rate) if self._masks else Hooks()

    def choices(self) -> Choices:
        """Empty, as those of `Dmp`."""
        return {}

    def harm(self, layer: str, choice: Choice) -> float:
        """The `log_loss` of what the mask closes."""
        return 0.0 if choice.kept is None else log_loss(1 - float(self._masks[layer].held()[0]), 1.0)

    def finish(self, choices: Choices) -> Network:
        network = self._network
        graph, weights = without_blocks_weights(network.graph, network.weights, chosen_branches(choices))
        return network.with_weights(graph, weights)

    def _price(self) -> Tensor:
        open_shares = [masks.values[0] * self._savings[block] for block, masks in self._masks.items()]
        return torch.stack(open_shares).sum()

    @cached_property
    def _savings(self) -> dict[str, float]:
        """By block the share of the latency that its branch takes; it is not rewarded where it takes none."""
        whole = float(self._cost({}))
        without = {block: float(self._cost({block: WITHOUT_BRANCH})) for block in self._masks}
        return {block: max(1 - ms / whole, 0.0) for block, ms in without.items()}


class _Priced:
    """The cost of soft choices as a share of the whole network's."""

    def __init__(self, cost: Cost, choices: Callable[[], SoftChoices]) -> None:
        self._cost, self._choices = cost, choices

    def __call__(self) -> Tensor:
        return self._cost(self._choices()) / self._whole

    @cached_property
    def _whole(self) -> float:
        return float(self._cost({}))


def _mask_readers(network: Network, readings: Mapping[str, Sequence[Reading]], masks: Mapping[str, Masks]) -> None:
    """Each weight that reads channels is masked along the axis of its channels, by the masks of all their groups."""
    by_weight: dict[tuple[str, int], list[tuple[Masks, Tensor]]] = {}
    for name, some in readings.items():
        for reading in some:
            part = masks[name], torch.from_numpy(reading.blocks)
            by_weight.setdefault((reading.weight, reading.axis), []).append(part)
    for (weight, axis), parts in by_weight.items():
        shape = [-1 if i == axis else 1 for i in range(len(network.graph.shape(weight)))]
        network.module.parametrize(weight, _Masked(parts, shape))


def _last_weights(graph: Graph) -> dict[str, tuple[str, ...]]:
    """By residual block the weights that scale the result of its branch; without blocks that have none."""
    found = {block.name: _scales(graph, block) for block in residual_blocks(graph)}
    return {name: weights for name, weights in found.items() if weights}


def _scales(graph: Graph, block: ResidualBlock) -> tuple[str, ...]:
    """The weights that multiply the branch's result by a factor of 0 or more if they are multiplied by it; empty where
    some are not weights of the graph's or have other readers, too."""
    producers = {out: node for node in block.branch for out in node.outputs}
    found: list[str] = []
    name = block.made
    while node := producers.get(name):
        if node.op == "Add":
            bias = [x for x in node.inputs if x in graph.weight_names]
            found += bias
            name = next((x for x in node.inputs if x in producers and bias), "")
        elif node.op in _HOMOGENEOUS:
            name = node.inputs[0]
        else:
            found += node.inputs[1:3]
            is_scaled = node.op in _LINEAR and all(_is_own(graph, weight) for weight in found)
            return tuple(found) if is_scaled else ()
    return ()


def _is_own(graph: Graph, weight: str) -> bool:
    return weight in graph.weight_names and len(graph.consumers()[weight]) == 1


_HOMOGENEOUS = {
    "Relu", "LeakyRelu", "Identity", "Dropout", "MaxPool", "AveragePool", "GlobalAveragePool", "Reshape", "Flatten",
    "Transpose", "Squeeze", "Unsqueeze",
}  # fmt: skip
_LINEAR = {"Conv", "ConvTranspose", "Gemm", "MatMul", "BatchNormalization"}
