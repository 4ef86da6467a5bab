"""MobileNets against the figures that the papers and torchvision publish."""

import pytest

from hwprof import cost
from hwprof.workloads import mobilenet

# torchvision's parameter counts and multiply-adds (its tables say 0.30, 0.22 and 0.06 G).
PUBLISHED = {
    mobilenet.mobilenet_v2: (3_504_872, 300_774_272),
    mobilenet.mobilenet_v3_large: (5_483_032, 216_589_760),
    mobilenet.mobilenet_v3_small: (2_542_856, 56_510_400),
}


@pytest.mark.parametrize("network", PUBLISHED)
def test_parameters_are_the_published_ones_less_one_per_folded_channel(network):
    graph = network()
    outputs = [graph.shape(node.outputs[0]) for node in graph.nodes if node.op == "Conv"]
    # The convolutions of squeeze-and-excite see one pixel; they alone have no batch normalization.
    folded = sum(shape[1] for shape in outputs if shape[2:] != (1, 1))
    assert cost.of(graph).parameters + folded == PUBLISHED[network][0]


@pytest.mark.parametrize("network", PUBLISHED)
def test_multiply_adds_are_the_published_ones(network):
    assert cost.of(network()).macs == PUBLISHED[network][1]


def test_the_resolution_changes_the_work_and_not_the_parameters():
    small, full = (cost.of(mobilenet.mobilenet_v2(resolution)) for resolution in (112, 224))
    assert small.parameters == full.parameters
    classifier = 1280 * 1000
    assert 4 * (small.macs - classifier) > full.macs - classifier > 3 * (small.macs - classifier)


def test_mobilenet_v2_has_ten_residual_connections():
    graph = mobilenet.mobilenet_v2()
    assert sum(node.op == "Add" for node in graph.nodes) == 10


@pytest.mark.parametrize(
    ("network", "squeezed"), [(mobilenet.mobilenet_v3_large, 8), (mobilenet.mobilenet_v3_small, 9)]
)
def test_mobilenet_v3_squeezes_as_many_blocks_as_the_paper(network, squeezed):
    assert sum(node.op == "HardSigmoid" for node in network().nodes) == squeezed
