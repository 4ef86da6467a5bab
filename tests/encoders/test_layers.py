import numpy as np
import pytest

from hwprof.builder import GraphBuilder
from hwprof.encoders.layers import LayerEncoder
from hwprof.errors import InputError, UnknownOperatorError


def residual():
    b = GraphBuilder("residual")
    x = b.relu(b.input((1, 2, 4, 4)))
    return b.build(b.add(b.relu(b.conv(x, 2, 1)), x))


def test_edges_follow_the_tensors():
    layers = LayerEncoder.learned([residual()])(residual())
    assert sorted(map(tuple, layers.edges.T.tolist())) == [(0, 1), (0, 3), (1, 2), (2, 3)]


def test_a_node_is_its_kind_its_work_and_how_far_back_it_reads():
    encoder = LayerEncoder.learned([residual()])
    assert encoder.kinds == ("Add", "Conv 1x1", "Relu")
    features = encoder(residual()).features
    conv_bytes = 4 * (2 * 16 + 2 * 2 + 2 * 16)
    assert features[1] == pytest.approx([0, 1, 0, np.log1p(64) / 10, np.log1p(conv_bytes) / 10, np.log(2), np.log(2)])
    assert features[3, -2:] == pytest.approx([np.log(2), np.log(4)])  # one back, and three


def test_an_operator_that_no_training_graph_has_is_refused(tiny_graph):
    with pytest.raises(UnknownOperatorError, match="'residual' has 'Conv 1x1'"):
        LayerEncoder.learned([tiny_graph])(residual())


def test_something_that_is_no_graph_is_refused():
    with pytest.raises(InputError, match="a graph is needed; tuple"):
        LayerEncoder.learned([(0, 1)])
