import torch

from hwprof import cost
from hwprof.torch_io import trainable
from hwprof.workloads.super_resolution import super_resolution


def test_the_image_has_twice_the_side():
    graph = super_resolution(side=12)
    assert graph.shape(graph.outputs[0]) == (1, 1, 24, 24)


def test_all_convolutions_work_at_the_low_resolution():
    pixels = 32 * 32
    assert cost.of(super_resolution()).macs == pixels * (25 * 16 + 9 * 16 * 16 + 9 * 16 * 4)


def test_the_network_sees_only_what_differs_from_the_local_mean():
    network = trainable(super_resolution(side=8)).eval()
    images = torch.rand(2, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.allclose(network(images), network(images + 0.5), atol=1e-5)
