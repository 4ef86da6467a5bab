"""A small network that is trained on the digits once, and short trainings of methods from it."""

from __future__ import annotations

from functools import cache

import torch

from hwprof import onnx_io
from hwprof.builder import GraphBuilder
from hwprof.compress.choice import Choices
from hwprof.compress.method import Method, Network
from hwprof.graph import Graph
from hwprof.tasks.digits import digits
from hwprof.torch_io import trainable
from hwprof.training import TrainSettings, evaluate, fit

TASK = digits()
SETTINGS = TrainSettings(epochs=6, rate=0.05, batch_size=32, keep="best")


def graph() -> Graph:
    b = GraphBuilder("digits")
    x = b.relu(b.conv(b.input((1, 1, 8, 8)), 8, 3, stride=2, bias=True))
    x = b.relu(b.conv(x, 16, 3, stride=2, bias=True))
    return b.build(b.gemm(b.flatten(x), 10))


@cache
def _trained() -> tuple[Network, float]:
    net = graph()
    examples = {net.inputs[0].name: TASK.examples("train").inputs[:32, None].numpy()}
    network = Network(trainable(net, onnx_io.initial_weights(net)), examples)
    torch.set_num_threads(1)
    fit(network.module, TASK, TrainSettings(epochs=12, rate=0.05, batch_size=32))
    return network, evaluate(network.module, TASK)


def trained() -> tuple[Network, float]:
    """A copy of the network, and its accuracy, %."""
    network, accuracy = _trained()
    return network.copy(), accuracy


def compressed(method: Method, epochs: int = SETTINGS.epochs, seed: int = 0) -> tuple[Network, Choices, float]:
    """The network that the method makes after a short training of its own choices, and its accuracy, %."""
    network, _ = trained()
    hooks = method.attach(network, lambda _choices: torch.tensor(float("nan")))
    settings = TrainSettings(epochs, SETTINGS.batch_size, rate=SETTINGS.rate, keep="best", seed=seed)
    fit(network.module, TASK, settings, [hooks])
    choices = method.choices()
    made = method.finish(choices)
    return made, choices, evaluate(made.module, TASK)
