"""The interface of compression methods: choices, layer by layer, a way to learn them, and the network that they make.

A method knows neither the device nor the loop. It says which choices it can make (`options`) and how much each harms
the network (`harm`); `hwprof.compress.loop` decides by the measured table which of them reach the target, and then
asks for the network (`finish`).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from typing import Literal, Protocol, TypeAlias, TypeGuard

import numpy as np
from torch import Tensor

from hwprof import plugins
from hwprof.compress.choice import Choice, Choices, Options
from hwprof.graph import Graph
from hwprof.onnx_io.inference import fold
from hwprof.torch_io import TrainableGraph, trainable, weights_of
from hwprof.training import Hooks
from hwprof.variants import spec
from hwprof.variants.samples import Samples
from hwprof.variants.spec import Weighted
from hwprof.variants.weights import Weights, constant_arrays, evaluated

Need: TypeAlias = Literal["training", "tuning", "examples"]
Outcome: TypeAlias = Literal[
    "fewer channels", "fewer blocks", "lower rank", "more groups", "int8", "low-bit weights", "dictionary", "zeros",
    "shared weights",
]  # fmt: skip


@dataclass(frozen=True, slots=True, eq=False)
class SoftChoice:
    """A choice that is still being learned: its fields are scalar tensors with gradients (16 of 32 channels while the
    gates add up to 13.7), or numbers; None leaves the layer as before. Methods give it to a `Cost` alone."""

    kept: float | Tensor | None = None
    rank: float | Tensor | None = None
    bits: float | Tensor | None = None
    levels: float | Tensor | None = None
    groups: float | Tensor | None = None
    sparsity: float | Tensor | None = None
    spatial_rank: float | Tensor | None = None


SoftChoices: TypeAlias = Mapping[str, Choice | SoftChoice]
Cost: TypeAlias = Callable[[SoftChoices], Tensor]  # of the network with these choices, a scalar, differentiable in them


@dataclass(frozen=True, slots=True, eq=False)
class Network:
    """A graph with its weights, as a module that trains.

    examples: some inputs of the task, by the graph's input, [n, *shape], to calibrate with. int8: the variant of
    `hwprof.variants.spec` in which the device runs 8 bits. fixed: weights that do not train, by name.
    """

    module: TrainableGraph
    examples: Samples
    int8: str = "int8"
    fixed: frozenset[str] = frozenset()

    @property
    def graph(self) -> Graph:
        return self.module.graph

    @property
    def weights(self) -> dict[str, np.ndarray]:
        """Copies of the present weights by name, each [*shape] of its tensor."""
        return weights_of(self.module)

    def with_weights(self, graph: Graph, weights: Weights) -> Network:
        """Another graph for the same task. weights: those of the graph by name, each of its tensor's shape."""
        return replace(self, module=trainable(graph, weights, fixed=self.fixed))

    def copy(self) -> Network:
        return self.with_weights(self.graph, self.weights)

    def rewritten(self, variant: str | spec.Variant) -> Network:
        """The network in a variant, calibrated with the examples. Raises InputError where the variant does not fit."""
        weights = {**constant_arrays(self.graph), **self.weights}
        graph = fold(self.graph)  # a tied weight has one tensor for each of its layouts
        laid_out = graph.weight_names.difference(weights)
        weighted = Weighted(graph, weights | evaluated(self.graph, weights, laid_out))
        rewrite = (spec.parse(variant) if isinstance(variant, str) else variant).rewrite
        made = rewrite(weighted, lambda graph: {t.name: self.examples[t.name] for t in graph.inputs})
        return self.with_weights(made.graph, made.weights)


class Method(Protocol):
    """One object serves one compression. A class without arguments that makes such objects is an entry point of
    `hwprof.methods`.

    needs: "training", where the network is trained with the method's hooks before choices are made; "tuning", where the
    small network is trained after them; "examples", where the method reads those of the network.

    Three members are optional. `result`, an `Outcome`, is what the method makes of a network: it tells whether a device
    has kernels for that. `version`, 1 if it is missing, rises with each change of the code after which the method makes
    other networks: results in a store count for their version alone. `within(target_ms)` makes the form of the method
    that learns within a latency, which is used on devices with kernels for its result.
    """

    name: str
    paper: str
    needs: Collection[Need]

    def options(self, graph: Graph) -> Options:
        """Every choice that can be made, per layer; empty where there is nothing to decide. Raises
        UnknownOperatorError for an operator without a rule."""
        ...

    def attach(self, network: Network, cost: Cost) -> Hooks:
        """Called once, before all that follow. The network is the method's own: it may add parametrizations and gates.
        `cost` is the latency, ms, by the device's table; nan where `options` is empty, and where the machine was too
        busy for a table and the method chooses without a target. `hwprof.compress.costs` has others."""
        ...

    def choices(self) -> Choices:
        """The choices that the method made itself, by learning or because there is only one."""
        ...

    def harm(self, layer: str, choice: Choice) -> float:
        """An estimate, which adds up over layers: 0 for a layer as before, larger for smaller choices."""
        ...

    def finish(self, choices: Choices) -> Network:
        """The network with these choices: plain, and smaller in its shapes or types. May be called several times."""
        ...


def result_of(method: Method) -> str:
    """The `Outcome` of the method; empty where it does not say."""
    return str(getattr(method, "result", ""))


def version_of(method: Method) -> int:
    """The version of the method's code."""
    return plugins.version_of(method)


def within(method: Method, target_ms: float) -> Method:
    """The method that learns within the latency, where it has such a form."""
    return method.within(target_ms) if has_within(method) else method


class _LearnsWithin(Method, Protocol):
    def within(self, target_ms: float) -> Method: ...


def has_within(method: Method) -> TypeGuard[_LearnsWithin]:
    """Whether it can learn within a latency."""
    return hasattr(method, "within")


def load(name: str) -> Method:
    """A new object of the installed method. Raises InputError for an unknown name."""
    made: Method = plugins.load("method", name)()
    return made
