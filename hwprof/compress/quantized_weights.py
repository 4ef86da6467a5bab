"""Quantizers between the weights that a method trains and the operators that read them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from hwprof.compress.choice import Choices
from hwprof.compress.method import Network
from hwprof.variants.low_bit import Layer, dictionary_weights, layers

Quantizer = TypeVar("Quantizer", bound=nn.Module)


def insert_quantizers(network: Network, make: Callable[[Layer, Tensor], Quantizer]) -> dict[str, Quantizer]:
    """Puts what `make` returns for each layer and its weight, [*shape], between the weight and the operator. Returns
    it by the layer's label."""
    made = {}
    for label, layer in layers(network.graph).items():
        made[label] = make(layer, trained_weight(network, layer).detach().clone())
        network.module.insert(layer.weight.name, made[label])
    return made


def trained_weight(network: Network, layer: Layer) -> Tensor:
    """The weight, [*shape], that the optimizer changes."""
    return network.module.tensor(layer.weight.name)


def computed_weights(network: Network, quantizers: Mapping[str, nn.Module]) -> dict[str, np.ndarray]:
    """All weights of the network by name, each [*shape] of its tensor, as it computes with them."""
    weights, found = network.weights, layers(network.graph)
    with torch.no_grad():
        for label, quantizer in quantizers.items():
            weight = trained_weight(network, found[label])
            weights[found[label].weight.name] = quantizer(weight).cpu().numpy()
    return weights


def with_dictionaries(network: Network, quantizers: Mapping[str, nn.Module], choices: Choices) -> Network:
    """The network as it computes, whose chosen layers hold indices into dictionaries. Raises InputError as
    `hwprof.variants.low_bit.dictionaries` does."""
    levels = {name: choice.levels for name, choice in choices.items() if choice.levels is not None}
    return network.with_weights(*dictionary_weights(network.graph, computed_weights(network, quantizers), levels))
