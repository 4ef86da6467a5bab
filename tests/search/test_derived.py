"""The trainable Graph of a derived architecture, against the same network by hand."""

import numpy as np
import pytest
import torch

from hwprof.spaces import sampling
from hwprof.spaces.darts import EDGES, NONE, OPERATIONS, Darts
from hwprof.tasks import Classification
from hwprof.torch_io import trainable
from hwprof.training import TrainSettings, evaluate, fit
from tests.search import darts_by_hand

TINY = Darts(channels=4, cells=3, resolution=8)


def check_against_hand(arch):
    """Outputs and the gradients of all weights that learn, in training mode."""
    network = trainable(TINY.graph(arch)).double()
    images = torch.randn(3, 3, 8, 8, generator=torch.Generator().manual_seed(0)).double()
    tensors = [network.tensor(t.name).detach().clone() for t in network.graph.weights]
    own = [network.tensor(t.name) for t in network.graph.weights]
    for copy, tensor in zip(tensors, own, strict=True):
        copy.requires_grad_(tensor.requires_grad)

    def chosen(weights, reduces, edge, x, stride):
        choice = arch[len(EDGES) * reduces + edge]
        return None if choice == NONE else darts_by_hand.operation(weights, OPERATIONS[choice], x, stride)

    expected, got = darts_by_hand.network(TINY, iter(tensors), images, chosen), network(images)
    torch.testing.assert_close(got, expected)
    for output in (expected, got):
        output.square().mean().backward()
    for copy, tensor in zip(tensors, own, strict=True):
        torch.testing.assert_close(tensor.grad, copy.grad)


@pytest.mark.parametrize("seed", range(4))
def test_a_random_architecture(seed):
    (arch,) = sampling.random_archs(TINY, 1, np.random.default_rng(seed))
    check_against_hand(arch)


@pytest.mark.parametrize("operation", OPERATIONS[1:])
def test_an_operation_at_both_strides(operation):
    first_two = [OPERATIONS.index(operation) if source < 2 else NONE for source, _ in EDGES]
    check_against_hand((*first_two, *first_two))


def test_a_derived_network_learns_in_the_one_loop():
    labels = torch.arange(32) % 2
    noise = 0.1 * torch.randn(32, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    part = (noise + labels.view(-1, 1, 1, 1), labels)
    skips = tuple(OPERATIONS.index("skip_connect") if source < 2 else NONE for source, _ in EDGES)
    network = trainable(Darts(channels=4, cells=3, resolution=8, classes=2).graph((*skips, *skips)))
    task = Classification("bright or dark", part, part, part)
    fit(network, task, TrainSettings(epochs=5, batch_size=8, validation=None))
    assert evaluate(network, task) == 100
