"""ResNets against the figures that torchvision publishes and a layer worked out by hand."""

import pytest

from hwprof import cost
from hwprof.workloads import resnet

# torchvision's parameter counts and multiply-adds (its tables say 1.81 and 4.09 G).
PUBLISHED = {
    resnet.resnet18: (11_689_512, 1_814_073_344),
    resnet.resnet50: (25_557_032, 4_089_184_256),
}


@pytest.mark.parametrize("network", PUBLISHED)
def test_parameters_are_the_published_ones_less_one_per_folded_channel(network):
    graph = network()
    folded = sum(graph.shape(node.outputs[0])[1] for node in graph.nodes if node.op == "Conv")
    assert cost.of(graph).parameters + folded == PUBLISHED[network][0]


@pytest.mark.parametrize("network", PUBLISHED)
def test_multiply_adds_are_the_published_ones(network):
    assert cost.of(network()).macs == PUBLISHED[network][1]


def test_the_stem_is_a_seven_by_seven_convolution_of_stride_two():
    graph = resnet.resnet18()
    assert cost.of_node(graph, graph.nodes[0]).macs == 64 * 112 * 112 * 3 * 7 * 7


def test_resnet50_has_its_stride_in_the_three_by_three_convolution():
    graph = resnet.resnet50()
    strided = [n for n in graph.nodes if n.op == "Conv" and n.attribute("strides") == (2, 2)]
    kernels = [n.attribute("kernel_shape") for n in strided]
    assert kernels == [(7, 7)] + [(3, 3), (1, 1)] * 3  # the stem, then a bottleneck and its shortcut per stage
