"""Neural epitome search (Zhou et al., arXiv 1907.05642): weights are samples of a small tensor, the epitome.

A sample starts at t = i + f, a place of the epitome with a fraction: (1 - f) E[i : i + n] + f E[i + 1 : i + 1 + n].
Epitome and places are learned, and the gradient reaches t through f. Two forms share this:

- weights: every run of input channels of a filter is a sample of an epitome of kernel slices. The file holds epitome
  and places and is smaller; the runtime computes the weights as it loads the file, so that the latency is the dense
  one.
- features: every filter is a sample of an epitome of filters. Convolving is linear, so the network convolves with the
  epitome once and interpolates between the channels of the result, which needs fewer multiply-adds.

In the paper a small network computes the places from a layer's input; they are averaged over batches and frozen when
the training ends. Here the places themselves are parameters, constant from the start.

2026-11-29, what reused features lose. A quarter of the filters leaves 8 of 32. On the CNN of reports/compress-structure
(3,000 images, 8 epochs, one seed; test accuracy, float 80.1) 74.1 were left with the first layer among the reused ones,
whose 16 filters of 9 elements came from 4; 76.9 without it, and 78.6 with 8 filters mixed freely by a 1 x 1 convolution
instead of two neighbours each. Starting with similar filters next to each other gave 76.9, fractions of either sign and
a ring of filters 77.5: within noise, so neither is here.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn

from hwprof.compress.choice import Choice, Choices, Options
from hwprof.compress.method import Cost, Need, Network, Outcome
from hwprof.graph import Constant, Graph, Node
from hwprof.graph import Tensor as TensorType
from hwprof.training import Hooks, ParamGroup
from hwprof.variants.factorize import factorize
from hwprof.variants.group import groupable

PAPER = "Zhou et al., Neural Epitome Search for Architecture-Agnostic Network Compression, arXiv 1907.05642"
_RATE = 0.02  # of the places, by Adam
_RUN = 64  # elements of a sample, at least, where a filter has that many
_FEWEST = 3  # rows that an epitome has more than a sample; a layer with fewer stays as before
_INSIDE = 1e-4  # by which a place is below the last one, after which there is nothing to interpolate


def sampled(epitome: Tensor, places: Tensor, length: int) -> Tensor:
    """epitome: [rows, *rest]; places: [n], from 0 to rows - length - 1. Returns the samples, [n, length, *rest]."""
    places = places.clamp(0, len(epitome) - length - 1 - _INSIDE)
    whole = places.detach().floor()
    share = (places - whole).reshape(-1, *(1 for _ in epitome.shape))
    rows = whole.long()[:, None] + torch.arange(length, device=places.device)
    return (1 - share) * epitome[rows] + share * epitome[rows + 1]


@dataclass(frozen=True, slots=True)
class _Shape:
    """How a weight is sampled: `places` samples of `length` rows each, from an epitome [rows, *rest]."""

    weight: TensorType
    rows: int
    rest: tuple[int, ...]
    places: int
    length: int

    @property
    def last(self) -> int:
        """The largest place."""
        return self.rows - self.length - 1

    @property
    def is_smaller(self) -> bool:
        return self.rows >= self.length + _FEWEST


class _Sampled(nn.Module):
    """A parametrization: the weight is sampled from the tensor that trains in its place, the epitome. It does not own
    its places: the hooks keep and restore them."""

    def __init__(self, shape: _Shape) -> None:
        super().__init__()
        self.shape = shape
        self._held = (nn.Parameter(torch.linspace(0, shape.last, shape.places)),)  # in a tuple it is not the module's

    @property
    def places(self) -> nn.Parameter:
        """[places]."""
        return self._held[0]

    def forward(self, epitome: Tensor) -> Tensor:
        """epitome: [rows, *rest]. Returns the weight, [out, in, *kernel]."""
        return sampled(epitome, self.places, self.shape.length).reshape(self.shape.weight.shape)

    def right_inverse(self, weight: Tensor) -> Tensor:
        """weight: [out, in, *kernel]. Returns the epitome whose samples at the present places are nearest to it, by
        least squares, [rows, *rest]."""
        eye = torch.eye(self.shape.rows, dtype=torch.float64)
        samples = sampled(eye, self.places.detach().double(), self.shape.length).reshape(-1, self.shape.rows)
        wanted = weight.detach().double().reshape(len(samples), -1)
        found = np.linalg.lstsq(samples.numpy(), wanted.numpy(), rcond=None)[0]
        return torch.from_numpy(found).to(weight).reshape(self.shape.rows, *self.shape.rest)

    def held(self) -> tuple[np.ndarray, np.ndarray]:
        """The whole part of each place, int32, and its fraction, float32; both [places]."""
        places = self.places.detach().clamp(0, self.shape.last - _INSIDE)
        whole = places.floor()
        return whole.int().numpy(), (places - whole).numpy()


class Epitome:
    """The form of weights: a file that is smaller, with the dense latency."""

    name = "epitome"
    paper = PAPER
    needs: frozenset[Need] = frozenset({"training"})
    result: Outcome = "shared weights"

    def __init__(self, smaller: int = 4) -> None:
        """smaller: how many times fewer numbers the file has for a layer's weight."""
        self._smaller = smaller

    def options(self, graph: Graph) -> Options:  # noqa: ARG002 -- the latency decides nothing
        return {}

    def attach(self, network: Network, cost: Cost) -> Hooks:  # noqa: ARG002
        self._network, self._before = network, network.copy()
        self._sampled = {layer: _Sampled(shape) for layer, shape in self._shapes(network.graph).items()}
        for made in self._sampled.values():
            network.module.parametrize(made.shape.weight.name, made)
        return _PlaceHooks(self._sampled) if self._sampled else Hooks()

    def choices(self) -> Choices:
        """How many values the weights of each layer are made of."""
        shapes = {layer: made.shape for layer, made in self._sampled.items()}
        return {layer: Choice(levels=shape.rows * math.prod(shape.rest)) for layer, shape in shapes.items()}

    def harm(self, layer: str, choice: Choice) -> float:  # noqa: ARG002
        return 0.0

    def finish(self, choices: Choices) -> Network:
        network = self._network if choices else self._before
        graph, weights = network.graph, network.weights
        for layer in choices:
            graph, added = self._exported(graph, layer, self._sampled[layer])
            weights |= added
        return network.with_weights(graph, weights)

    def _shapes(self, graph: Graph) -> dict[str, _Shape]:
        """By layer, of the convolutions that get smaller. Places count as the two numbers that the file has for
        each."""
        found = {}
        for layer, weight in _convolutions(graph).items():
            _, inputs, *kernel = weight.shape
            length = next((n for n in range(1, inputs) if inputs % n == 0 and n * math.prod(kernel) >= _RUN), inputs)
            places = weight.numel // (length * math.prod(kernel))
            rows = (weight.numel // self._smaller - 2 * places) // math.prod(kernel)
            found[layer] = _Shape(weight, rows, tuple(kernel), places, length)
        return {layer: shape for layer, shape in found.items() if shape.is_smaller}

    def _exported(self, graph: Graph, layer: str, made: _Sampled) -> tuple[Graph, dict[str, np.ndarray]]:
        """The graph in which the layer's weight is computed from the epitome, and the values of the new weights."""
        epitome = self._network.module.original(made.shape.weight.name).detach().cpu().numpy()
        whole, share = made.held()
        values = {"epitome": epitome, "start": whole[:, None], "share": share.reshape(-1, *(1 for _ in epitome.shape))}
        named = {f"{made.shape.weight.name}_{name}": array for name, array in values.items()}
        return _with_sampling(graph, layer, made.shape, list(named)), named


class EpitomeReuse(Epitome):
    """The form of features: fewer multiply-adds. Where that is slower, the comparison says so.

    A layer with fewer elements in a filter than filters, such as the first one on gray images, stays as before: to
    interpolate would need more multiply-adds than to convolve with the epitome.
    """

    name = "epitome_reuse"
    result = "lower rank"

    def choices(self) -> Choices:
        """How many filters the epitome of each layer has."""
        return {layer: Choice(rank=made.shape.rows) for layer, made in self._sampled.items()}

    def _shapes(self, graph: Graph) -> dict[str, _Shape]:
        found = {
            layer: _Shape(weight, weight.shape[0] // self._smaller, weight.shape[1:], weight.shape[0], 1)
            for layer, weight in _convolutions(graph).items()
        }
        return {
            layer: shape for layer, shape in found.items() if shape.is_smaller and math.prod(shape.rest) >= shape.places
        }

    def _exported(self, graph: Graph, layer: str, made: _Sampled) -> tuple[Graph, dict[str, np.ndarray]]:
        """A convolution with the epitome, and a 1 x 1 one that interpolates between its channels."""
        epitome = self._network.module.original(made.shape.weight.name).detach().cpu()
        between = sampled(torch.eye(len(epitome)), made.places.detach(), 1)[:, 0]
        smaller = factorize(graph, {layer: len(epitome)})
        names = {node.label: node.inputs[1] for node in smaller.nodes if node.label.startswith(f"{layer}_")}
        first, second = names[f"{layer}_first"], names[f"{layer}_second"]
        return smaller, {
            first: epitome.numpy(), second: between.reshape(smaller.shape(second)).numpy()
        }  # fmt: skip


class _PlaceHooks(Hooks):
    def __init__(self, sampled: Mapping[str, _Sampled]) -> None:
        self._sampled = sampled

    def parameters(self) -> Sequence[ParamGroup]:
        return (ParamGroup([made.places for made in self._sampled.values()], _RATE, optimizer="adam"),)


def _convolutions(graph: Graph) -> dict[str, TensorType]:
    """By layer the weights of dense convolutions."""
    weights = {node.label: node.inputs[1] for node in graph.nodes if node.op == "Conv"}
    return {layer: graph.type_of(weights[layer]) for layer in groupable(graph)}


def _with_sampling(graph: Graph, layer: str, shape: _Shape, names: Sequence[str]) -> Graph:
    """names: those of the new weights: epitome [rows, *rest], start [places, 1] and share [places, 1, ...]."""
    epitome, start, share = names
    weight = shape.weight
    prefix, many = weight.name, (shape.places, shape.length)
    samples = (*many, *shape.rest)
    run = Constant(f"{prefix}_run", "int32", (1, shape.length), tuple(range(shape.length)))
    one = Constant(f"{prefix}_one", "int32", (), (1,))
    target = Constant(f"{prefix}_shape", "int64", (len(weight.shape),), weight.shape)
    steps = (
        ("Add", (start, run.name), "rows", "int32", many),
        ("Add", (f"{prefix}_rows", one.name), "next", "int32", many),
        ("Gather", (epitome, f"{prefix}_rows"), "low", weight.dtype, samples),
        ("Gather", (epitome, f"{prefix}_next"), "high", weight.dtype, samples),
        ("Sub", (f"{prefix}_high", f"{prefix}_low"), "growth", weight.dtype, samples),
        ("Mul", (f"{prefix}_growth", share), "part", weight.dtype, samples),
        ("Add", (f"{prefix}_low", f"{prefix}_part"), "samples", weight.dtype, samples),
    )
    nodes = [Node(op, given, (f"{prefix}_{name}",), name=f"{prefix}_{name}") for op, given, name, _, _ in steps]
    nodes.append(Node("Reshape", (f"{prefix}_samples", target.name), (weight.name,), name=f"{prefix}_sampled"))
    at = next(i for i, node in enumerate(graph.nodes) if node.label == layer)
    added = (
        TensorType(epitome, weight.dtype, (shape.rows, *shape.rest)),
        TensorType(start, "int32", (shape.places, 1)),
        TensorType(share, weight.dtype, (shape.places, *(1 for _ in samples[1:]))),
    )
    return replace(
        graph,
        nodes=(*graph.nodes[:at], *nodes, *graph.nodes[at:]),
        weights=(*(t for t in graph.weights if t.name != weight.name), *added),
        constants=(*graph.constants, run, one, target),
        values=(*graph.values, weight, *(TensorType(f"{prefix}_{n}", dtype, size) for _, _, n, dtype, size in steps)),
        name=f"{graph.name}-epitome",
        source=None,
    )
