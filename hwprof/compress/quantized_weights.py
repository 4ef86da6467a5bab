"""What methods share that train weights of few values: how they replace a weight while the network trains."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeVar

from torch import Tensor, nn
from torch.nn.utils import parametrize

from hwprof.compress.method import Choices, Network
from hwprof.errors import InputError
from hwprof.variants.low_bit import Layer, dictionary_weights, layers

Replacing = TypeVar("Replacing", bound=nn.Module)


def straight_through(x: Tensor, replacement: Tensor) -> Tensor:
    """The replacement, bit for bit, with the gradient of x; both [...] of one shape."""
    return replacement.detach() + (x - x.detach())


def replace_weights(network: Network, make: Callable[[Layer, Tensor], Replacing]) -> dict[str, Replacing]:
    """Puts what `make` returns for each layer and its weight, [*shape], before that weight, as
    torch.nn.utils.parametrize does. Returns it by the layer's label."""
    made = {}
    for label, layer in layers(network.graph).items():
        weight = network.module.tensor(layer.weight.name)
        made[label] = make(layer, weight.detach().clone())
        home, attribute = _home_of(network.module, weight)
        parametrize.register_parametrization(home, attribute, made[label])
    return made


def trained_weight(network: Network, replacing: nn.Module) -> Tensor:
    """The weight, [*shape], that the optimizer changes and `replacing` replaces."""
    for module in network.module.modules():
        if isinstance(module, parametrize.ParametrizationList) and module[0] is replacing:
            original: Tensor = module.original
            return original
    raise InputError(f"{type(replacing).__name__} replaces no weight of {network.graph.name!r}")


def _home_of(module: nn.Module, weight: Tensor) -> tuple[nn.Module, str]:
    for home in module.modules():
        for attribute, parameter in home.named_parameters(recurse=False):
            if parameter is weight:
                return home, attribute
    raise InputError("a weight that does not train cannot be replaced")


def with_dictionaries(network: Network, choices: Choices) -> Network:
    """The network with the chosen layers' weights as indices into dictionaries. Raises InputError as
    `hwprof.variants.low_bit.dictionaries` does."""
    levels: Mapping[str, int] = {name: choice.levels for name, choice in choices.items() if choice.levels is not None}
    return network.with_weights(*dictionary_weights(network.graph, network.weights, levels))
