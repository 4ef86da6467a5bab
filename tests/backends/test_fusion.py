from __future__ import annotations

import pytest

from hwprof.backends import fusion
from hwprof.builder import GraphBuilder


@pytest.fixture
def chain():
    """0 Conv, 1 Relu, 2 Conv, 3 Add of 1 and 2."""
    b = GraphBuilder("chain")
    x = b.relu(b.conv(b.input((1, 4, 8, 8)), 4))
    return b.build(b.add(x, b.conv(x, 4)))


def test_an_unclaimed_node_goes_into_the_kernel_that_reads_it(chain):
    assert fusion.absorb(chain, {"a": {1}, "b": {3}}) == {"a": {0, 1}, "b": {2, 3}}


def test_a_claimed_node_is_absorbed_by_no_other_kernel(chain):
    assert fusion.absorb(chain, {"a": {1}, "b": {2}, "c": {3}})["c"] == {3}


def test_what_is_computed_when_the_network_is_loaded_is_in_no_kernel():
    """0 Exp of a weight, 1 Shape of the input; 2 Mul, 3 Expand use them."""
    b = GraphBuilder("ahead")
    x = b.input((4,))
    y = b.mul(x, b.unary("Exp", b.weight((4,))))
    graph = b.build(b.node("Expand", [y, b.node("Shape", [x], (1,), "int64")], (4,)))
    by_operator = {node.op: i for i, node in enumerate(graph.nodes)}
    found = fusion.absorb(graph, {"kernel": {by_operator["Expand"]}})["kernel"]
    assert found == {by_operator["Mul"], by_operator["Expand"]}


def test_a_kernel_is_called_after_its_first_node_that_computes(quantized):
    assert fusion.title(quantized, {2, 3, 4}) == "Conv_3"
    assert fusion.title(quantized, {2}) == "DequantizeLinear_2"
