"""Additive noise annealing: stairs of few values that noise has smoothed, until there is no noise left (Spallanzani,
Leonardi & Benini, Training Quantised Neural Networks with STE Variants: the Additive Noise Annealing Algorithm, CVPR
2022, arXiv 2203.11323; theory in Analytical Aspects of Non-Differentiable Neural Networks, arXiv 2011.01858).

A stair s is replaced by E[s(x + noise)], which has a gradient: the sum of the noise's densities at the jumps. The scale
of the noise goes to 0, one layer after the other. In evaluation there is no noise.

The shape of the noise changes little, the order of the layers much: a stair without noise has no gradient, so that
layers before it learn nothing any more. Without annealing, `Ana("static", forward="mode")`, this is the
straight-through estimator, which the paper generalizes and which is as good on small networks.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

import numpy as np
import torch
from torch import Tensor, nn

from hwprof.compress.choice import Choices
from hwprof.compress.integer.cell import replaced
from hwprof.compress.low_bit import BINARY, TERNARY, LowBitMethod, step_of
from hwprof.compress.method import Network
from hwprof.errors import InputError
from hwprof.graph import Graph, Node
from hwprof.graph import Tensor as GraphTensor
from hwprof.training import Hooks
from hwprof.variants.low_bit import Layer

Shape: TypeAlias = Literal["uniform", "triangular", "normal", "logistic"]
Forward: TypeAlias = Literal["expectation", "mode", "random"]
Schedule: TypeAlias = Literal["partition", "same_start", "same_end", "overlapped", "static"]
FIRST_SCALE = 0.5  # in steps: with uniform noise, the expectation of a stair is then a straight line
_LEAST_STEP = 1e-12
_FOLLOWING = 0.1  # share of a batch in the running step of activations
_DONE_AT = 0.9  # share of the training after which there is no noise


@dataclass(frozen=True, slots=True)
class Noise:
    """A symmetric distribution with the standard deviation of a uniform one between -1 and 1.

    cumulative, density: of values in units of the scale, [...], to [...]. draw: of a shape, such values.
    """

    cumulative: Callable[[Tensor], Tensor]
    density: Callable[[Tensor], Tensor]
    draw: Callable[[torch.Size], Tensor]


_HALF_WIDTH = math.sqrt(2)  # of the triangle
_DEVIATION = 1 / math.sqrt(3)  # of the normal one
_LOGISTIC = 1 / math.pi  # scale of the logistic one


def _triangular_cumulative(x: Tensor) -> Tensor:
    left = (1 - x.abs() / _HALF_WIDTH).clamp(min=0) ** 2 / 2
    return torch.where(x < 0, left, 1 - left)


def _normal_density(x: Tensor) -> Tensor:
    return torch.exp(-((x / _DEVIATION) ** 2) / 2) / (_DEVIATION * math.sqrt(2 * math.pi))


def _logistic_density(x: Tensor) -> Tensor:
    share = torch.sigmoid(x / _LOGISTIC)
    return share * (1 - share) / _LOGISTIC


def _drawn_logistic(shape: torch.Size) -> Tensor:
    return _LOGISTIC * torch.logit(torch.rand(shape).clamp(1e-6, 1 - 1e-6))


NOISES: Mapping[Shape, Noise] = {
    "uniform": Noise(
        lambda x: ((x + 1) / 2).clamp(0, 1), lambda x: (x.abs() <= 1) / 2, lambda shape: 2 * torch.rand(shape) - 1
    ),
    "triangular": Noise(
        _triangular_cumulative,
        lambda x: (1 - x.abs() / _HALF_WIDTH).clamp(min=0) / _HALF_WIDTH,
        lambda shape: _HALF_WIDTH * (torch.rand(shape) - torch.rand(shape)),
    ),
    "normal": Noise(
        lambda x: torch.special.ndtr(x / _DEVIATION), _normal_density, lambda shape: _DEVIATION * torch.randn(shape)
    ),
    "logistic": Noise(lambda x: torch.sigmoid(x / _LOGISTIC), _logistic_density, _drawn_logistic),
}


@dataclass(frozen=True, slots=True)
class Stair:
    """A function that is `lowest` before the first threshold and rises by `jump` at each of them."""

    lowest: float
    jump: float
    thresholds: Sequence[float]

    def hard(self, x: Tensor) -> Tensor:
        """x: [...]. Returns [...]; at a threshold, the value after it."""
        return self.lowest + self.jump * sum(((x >= t).to(x.dtype) for t in self.thresholds), torch.zeros_like(x))

    def expected(self, x: Tensor, noise: Noise, scale: float) -> Tensor:
        """E[hard(x + scale * noise)]. x: [...]. Returns [...]."""
        if scale == 0:
            return self.hard(x)
        risen = (noise.cumulative((x - t) / scale) for t in self.thresholds)
        return self.lowest + self.jump * sum(risen, torch.zeros_like(x))

    def slope(self, x: Tensor, noise: Noise, scale: float) -> Tensor:
        """The derivative of `expected`. x: [...]. Returns [...]."""
        if scale == 0:
            return torch.zeros_like(x)
        densities = (noise.density((x - t) / scale) for t in self.thresholds)
        return self.jump / scale * sum(densities, torch.zeros_like(x))


WEIGHT_STAIRS = {BINARY: Stair(-1, 2, (0.0,)), TERNARY: Stair(-1, 1, (-0.5, 0.5))}


def interval(schedule: Schedule, place: int, count: int) -> tuple[float, float]:
    """From where to where, as shares of the annealing, the noise of the layer at this place of `count` shrinks."""
    first, last = place / count, (place + 1) / count
    intervals = {
        "partition": (first, last), "same_start": (0.0, last), "same_end": (first, 1.0), "overlapped": (0.0, 1.0),
        "static": (math.inf, math.inf),
    }  # fmt: skip
    if schedule not in intervals:
        raise InputError(f"no annealing is named {schedule!r}; known: {', '.join(intervals)}")
    return intervals[schedule]


def scale_at(progress: float, start: float, end: float, power: float) -> float:
    """The scale of the noise, in steps: FIRST_SCALE until `start`, then with this power of what is left until `end`."""
    if progress <= start:
        return FIRST_SCALE
    return float(FIRST_SCALE * max(0.0, (end - progress) / (end - start)) ** power)


class NoisyStair(nn.Module):
    """A stair with steps of `step`, and with noise in training mode. scale: of the noise, in steps."""

    scale: Tensor

    def __init__(self, stair: Stair, shape: Shape, forward: Forward) -> None:
        super().__init__()
        if shape not in NOISES or forward not in ("expectation", "mode", "random"):
            raise InputError(
                f"no noise is named {shape!r} or no forward pass {forward!r}; known: {', '.join(NOISES)}, and "
                "expectation, mode, random"
            )
        self._stair, self._noise, self._forward = stair, NOISES[shape], forward
        self.register_buffer("scale", torch.tensor(FIRST_SCALE))

    def stepped(self, x: Tensor, step: Tensor) -> Tensor:
        """x: [...]; step: broadcasts to it. Returns [...]."""
        with torch.no_grad():
            in_steps, scale = x / step, self.scale.item()
            slope = self._stair.slope(in_steps, self._noise, scale)
            value = self._value(in_steps, scale) * step
        return replaced(x, slope, value)

    def _value(self, x: Tensor, scale: float) -> Tensor:
        if not self.training or self._forward == "mode":
            return self._stair.hard(x)
        if self._forward == "random":
            return self._stair.hard(x + scale * self._noise.draw(x.shape).to(x))
        return self._stair.expected(x, self._noise, scale)


class _Weight(NoisyStair):
    def __init__(self, axis: int, bits: int, shape: Shape, forward: Forward) -> None:
        super().__init__(WEIGHT_STAIRS[bits], shape, forward)
        self._axis, self._bits = axis, bits

    def forward(self, weight: Tensor) -> Tensor:
        return self.stepped(weight, step_of(weight, self._axis, self._bits))


class _Activation(NoisyStair):
    """The step follows the root mean square of what is above 0: for half of a normal distribution that is about the
    step of four values with the least error."""

    step: Tensor

    def __init__(self, levels: int, shape: Shape, forward: Forward) -> None:
        super().__init__(Stair(0, 1, tuple(i + 0.5 for i in range(levels - 1))), shape, forward)
        self.register_buffer("step", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            with torch.no_grad():
                now = x.square().mean().sqrt().clamp(min=_LEAST_STEP)
                self.step.copy_(torch.where(self.step > 0, torch.lerp(self.step, now, _FOLLOWING), now))
        return self.stepped(x, self.step)


class Ana(LowBitMethod):
    """Weights of 1 or 2 bits.

    schedule: of `interval`; `is_reversed` anneals from the output to the input. shape: of the noise. forward: what a
    stair gives while it has noise: its expectation, its value without noise ("mode"), or that with noise that is drawn
    ("random"); the gradient is always that of the expectation. activation_levels: the results of Relu become stairs of
    this many values, too; devices that run integers only do not take such networks.
    """

    name = "ana"
    paper = "Spallanzani et al., The Additive Noise Annealing Algorithm, CVPR 2022, arXiv 2203.11323"

    def __init__(
        self,
        schedule: Schedule = "partition",
        *,
        is_reversed: bool = False,
        shape: Shape = "uniform",
        forward: Forward = "expectation",
        power: float = 2.0,
        bits: int = TERNARY,
        activation_levels: int | None = None,
    ) -> None:
        super().__init__(bits)
        interval(schedule, 0, 1)
        self._schedule, self._is_reversed, self._power = schedule, is_reversed, power
        self._shape, self._forward, self._activation_levels = shape, forward, activation_levels
        self._activations: dict[str, _Activation] = {}

    def quantizer(self, layer: Layer) -> NoisyStair:
        return _Weight(layer.axis, self.bits, self._shape, self._forward)

    def hooks(self, network: Network, quantizers: Mapping[str, nn.Module | None]) -> Hooks:
        by_layer = {name: [stair] for name, stair in quantizers.items() if isinstance(stair, NoisyStair)}
        for tensor, layer in self._stairs_after(network.graph).items():
            self._activations[tensor] = made = _Activation(self._activation_levels or 0, self._shape, self._forward)
            network.module.insert(tensor, made)
            by_layer[layer].append(made)
        ordered = list(by_layer.values())
        return _Annealing(ordered[::-1] if self._is_reversed else ordered, self._schedule, self._power)

    def finish(self, choices: Choices) -> Network:
        network = super().finish(choices)
        if not choices or not self._activations:
            return network
        steps = {tensor: stair.step.item() for tensor, stair in self._activations.items()}
        graph = _with_stairs(network.graph, list(steps))
        arrays = {f"{name}{suffix}": np.asarray(value) for name, step in steps.items() for suffix, value in (
            ("_low", np.float32(0)), ("_high", np.float32(step * ((self._activation_levels or 0) - 1))),
            ("_step", np.float32(step)), ("_zero", np.uint8(0)),
        )}  # fmt: skip
        return network.with_weights(graph, network.weights | arrays)

    def _stairs_after(self, graph: Graph) -> dict[str, str]:
        """By result of a Relu the layer that it follows."""
        found, last = {}, ""
        for node in graph.nodes:
            last = node.label if node.label in self._layers else last
            if node.op == "Relu" and last and self._activation_levels:
                found[node.outputs[0]] = last
        return found


class _Annealing(Hooks):
    """stairs: of each layer, in the order in which they are annealed."""

    def __init__(self, stairs: Sequence[Sequence[NoisyStair]], schedule: Schedule, power: float) -> None:
        self._stairs, self._schedule, self._power = stairs, schedule, power

    def penalty(self, progress: float) -> float:
        for place, stairs in enumerate(self._stairs):
            start, end = interval(self._schedule, place, len(self._stairs))
            scale = scale_at(progress / _DONE_AT, start, end, self._power)
            for stair in stairs:
                stair.scale.fill_(scale)
        return 0.0


def _with_stairs(graph: Graph, tensors: Sequence[str]) -> Graph:
    """The graph in which readers of these tensors read few values of them: what lies between two bounds, rounded to a
    grid of 8 bits."""
    nodes: list[Node] = []
    weights, values = list(graph.weights), list(graph.values)
    stair = {name: f"{name}_stair" for name in tensors}
    for node in graph.nodes:
        nodes.append(replace(node, inputs=tuple(stair.get(name, name) for name in node.inputs)))
        for name in (out for out in node.outputs if out in stair):
            kind = graph.type_of(name)
            nodes += [
                Node("Clip", (name, f"{name}_low", f"{name}_high"), (f"{name}_clipped",), name=f"{name}_clip"),
                Node("QuantizeLinear", (f"{name}_clipped", f"{name}_step", f"{name}_zero"), (f"{name}_steps",)),
                Node("DequantizeLinear", (f"{name}_steps", f"{name}_step", f"{name}_zero"), (stair[name],)),
            ]
            weights += [GraphTensor(f"{name}_{end}", "float32", ()) for end in ("low", "high", "step")]
            weights.append(GraphTensor(f"{name}_zero", "uint8", ()))
            values += [
                replace(kind, name=f"{name}_clipped"),
                replace(kind, name=f"{name}_steps", dtype="uint8"),
                replace(kind, name=stair[name]),
            ]
    return replace(graph, nodes=tuple(nodes), weights=tuple(weights), values=tuple(values), source=None)
