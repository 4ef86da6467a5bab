"""The Graph of a DARTS network, trained as a module, against the module that was written by hand for it."""

import numpy as np
import pytest
import torch
from torch import nn

from hwprof.search.network import derived_network
from hwprof.spaces import sampling
from hwprof.spaces.darts import Darts
from hwprof.torch_io import trainable

SPACE = Darts(channels=4, cells=3, resolution=8)


def weights_in_order(network):
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            yield module.weight
        elif isinstance(module, nn.BatchNorm2d):
            yield from (module.weight, module.bias, module.running_mean, module.running_var)
        elif isinstance(module, nn.Linear):
            yield from (module.weight, module.bias)


@pytest.mark.parametrize("seed", range(8))
def test_a_trainable_graph_computes_and_learns_what_the_module_by_hand_does(seed):
    (arch,) = sampling.random_archs(SPACE, 1, np.random.default_rng(seed))
    by_hand, graph = derived_network(SPACE, arch).double(), SPACE.graph(arch)
    arrays = [w.detach().float().numpy() for w in weights_in_order(by_hand)]
    network = trainable(graph, {t.name: a for t, a in zip(graph.weights, arrays, strict=True)}).double()
    images = torch.randn(5, 3, 8, 8, generator=torch.Generator().manual_seed(seed)).double()
    for module in (by_hand, network):
        optimizer = torch.optim.SGD(module.parameters(), lr=0.01)
        for _ in range(3):
            optimizer.zero_grad()
            module(images).square().mean().backward()
            optimizer.step()
    for expected, tensor in zip(weights_in_order(by_hand), graph.weights, strict=True):
        torch.testing.assert_close(network.tensor(tensor.name), expected, rtol=1e-8, atol=1e-10)
    torch.testing.assert_close(network.eval()(images), by_hand.eval()(images), rtol=1e-8, atol=1e-10)
