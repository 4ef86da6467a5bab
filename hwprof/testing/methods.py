"""The contract of compression methods: `check_method`."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from hwprof import plugins
from hwprof.testing.rules import require

if TYPE_CHECKING:
    import torch


_HOOKS = ("parameters", "before_step", "penalty", "after_backward", "after_step", "after_epoch", "state", "restore")


def check_method(make: Callable[[], Any], network: Any) -> None:
    """Attaches what `make` gives (a `hwprof.compress.method.Method`) to copies of the network (a `Network`) and asks
    for its options and choices, and for the networks that they make.

    Options go from as before to the smallest, and their harm never falls. Nothing chosen gives what the network
    computes; the smallest choices give another network for the same inputs and outputs, the same one each time. The
    network's examples must fit it.
    """
    method = make()
    for text in ("name", "paper"):
        require(bool(getattr(method, text, "")), f"`{text}` of the method is not a text")
    unknown = set(method.needs) - {"training", "tuning", "examples"}
    require(not unknown, f"`needs` has {', '.join(map(repr, unknown))}; a method needs training, tuning or examples")
    options = method.options(network.graph)
    hooks = method.attach(network.copy(), lambda _choices: _no_cost())
    missing = [name for name in _HOOKS if not callable(getattr(hooks, name, None))]
    require(not missing, f"`attach` returns a {type(hooks).__name__} without {', '.join(missing)}")
    for layer, some in options.items():
        _check_options(method, layer, some)
    require(bool(options or method.choices()), f"the method finds nothing to change in {network.graph.name!r}")
    smallest = {layer: some[-1] for layer, some in options.items()} or _with_zeros(method.choices())
    _check_finished(method, network, smallest)


def _with_zeros(choices: Mapping[str, Any]) -> dict[str, Any]:
    """The choices, with half of the weights 0 in layers of which a method that has learned nothing takes none."""
    return {layer: replace(c, sparsity=0.5) if c.sparsity == 0 else c for layer, c in choices.items()}


def _no_cost() -> torch.Tensor:
    with plugins.optional_library("check_method"):
        import torch
    return torch.tensor(math.nan)


def _check_options(method: Any, layer: str, some: Sequence[Any]) -> None:
    require(len(some) > 1, f"layer {layer!r} has nothing to choose from: leave it out of `options`")
    require(some[0] == type(some[0])(), f"the first option of layer {layer!r} is {some[0]}, not as before")
    require(len(set(some)) == len(some), f"an option of layer {layer!r} is there twice")
    harms = [method.harm(layer, choice) for choice in some]
    require(all(map(math.isfinite, harms)), f"a harm of layer {layer!r} is not finite: {harms}")
    require(harms[0] == 0, f"layer {layer!r} as before has the harm {harms[0]}, not 0")
    require(harms == sorted(harms), f"the harm of layer {layer!r} falls for smaller options: {harms}")


def _check_finished(method: Any, network: Any, smallest: Mapping[str, Any]) -> None:
    same, small, again = method.finish({}), method.finish(smallest), method.finish(smallest)
    before, after = _outputs(network, network), _outputs(same, network)
    require(np.allclose(before, after, atol=1e-5), "with nothing chosen, the network computes something else")
    is_other = small.graph != network.graph or not _have_equal_weights(small, network)
    require(is_other, "the smallest choices leave the network as it was")
    require(small.graph == again.graph, "the same choices, finished again, give another network")
    computed = _outputs(small, network)
    require(computed.shape == before.shape, f"the output's shape becomes {computed.shape}, not {before.shape}")
    require(bool(np.isfinite(computed).all()), "the smallest choices give outputs that are not finite")
    require(np.array_equal(computed, _outputs(again, network)), "the same choices, finished again, compute otherwise")


def _have_equal_weights(network: Any, other: Any) -> bool:
    """Whether two networks with one graph have the same weights."""
    return all(np.array_equal(array, other.weights[name]) for name, array in network.weights.items())


def _outputs(network: Any, given: Any) -> np.ndarray:
    """The network's outputs for the first example, in evaluation mode, [1, ...]."""
    with plugins.optional_library("check_method"):
        import torch
    with torch.no_grad():
        inputs = [torch.from_numpy(given.examples[t.name][0]) for t in given.graph.inputs]
        return np.asarray(network.module.eval()(*inputs).numpy())
