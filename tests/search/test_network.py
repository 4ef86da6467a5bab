import numpy as np
import pytest
import torch

from hwprof.errors import InputError
from hwprof.search.network import derived_network
from hwprof.spaces import sampling
from hwprof.spaces.darts import EDGES, OPERATIONS, Darts

TINY = Darts(channels=4, cells=3, resolution=8)
SKIPS = tuple(OPERATIONS.index("skip_connect") if source < 2 else 0 for source, _ in EDGES) * 2


def learned_parameters(graph):
    statistics = {name for node in graph.nodes if node.op == "BatchNormalization" for name in node.inputs[3:]}
    return sum(weight.numel for weight in graph.weights if weight.name not in statistics)


@pytest.mark.parametrize("seed", range(3))
def test_a_derived_network_has_the_parameters_of_its_graph(seed):
    (arch,) = sampling.random_archs(TINY, 1, np.random.default_rng(seed))
    network = derived_network(TINY, arch)
    assert sum(p.numel() for p in network.parameters()) == learned_parameters(TINY.graph(arch))


@pytest.mark.parametrize("operation", OPERATIONS[1:])
def test_a_cell_runs_each_operation_at_both_strides(operation):
    first_two = [OPERATIONS.index(operation) if source < 2 else 0 for source, _ in EDGES]
    network = derived_network(TINY, (*first_two, *first_two))
    shapes = []
    for cell in network.cells:
        cell.register_forward_hook(lambda _module, _inputs, output: shapes.append(tuple(output.shape)))
    assert network(torch.zeros(2, 3, 8, 8)).shape == (2, 10)
    assert shapes == [(2, 16, 8, 8), (2, 32, 4, 4), (2, 64, 2, 2)]


def test_a_network_of_skips_adds_its_inputs():
    network = derived_network(TINY, SKIPS).eval()
    cell, stem = network.cells[0], torch.rand(1, 12, 8, 8)
    both = cell.first(stem) + cell.second(stem)
    torch.testing.assert_close(cell(stem, stem), torch.cat([both] * 4, dim=1))


def test_the_seed_decides_the_weights():
    (arch,) = sampling.random_archs(TINY, 1, np.random.default_rng(0))
    a, again, other = (derived_network(TINY, arch, seed).stem[0].weight for seed in (1, 1, 2))
    assert torch.equal(a, again)
    assert not torch.equal(a, other)


def test_a_relaxed_architecture_has_no_network_of_its_own():
    with pytest.raises(InputError, match="two inputs per node"):
        derived_network(TINY, (4,) * 28)


def test_a_resolution_that_cannot_be_halved_twice_is_refused():
    space = Darts(channels=4, cells=3, resolution=10)
    with pytest.raises(InputError, match="resolution that 4 divides, not 10"):
        derived_network(space, SKIPS)
