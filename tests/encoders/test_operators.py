import pytest

from hwprof.builder import GraphBuilder
from hwprof.encoders.operators import OperatorCounts
from hwprof.errors import InputError, UnknownOperatorError


def test_operators_are_counted_by_kind_and_kernel(tiny_graph):
    encoder = OperatorCounts().fit([tiny_graph])
    assert encoder.kinds_ == ["Conv 3x3", "Relu"]
    assert encoder.transform([tiny_graph]).tolist() == [[2, 2]]


def test_grouped_and_strided_convolutions_are_kinds_of_their_own():
    b = GraphBuilder("kinds")
    x = b.conv(b.input((1, 4, 8, 8)), 4, 3, stride=2, groups=4)
    assert OperatorCounts().fit([b.build(b.conv(x, 8, 1))]).kinds_ == ["Conv 1x1", "Conv 3x3 grouped, stride 2"]


def test_dead_operators_count_unless_only_live_ones_are_wanted():
    b = GraphBuilder("dead")
    x = b.input((1, 4))
    b.unary("Tanh", x)
    graph = b.build(b.relu(x))
    assert OperatorCounts().fit([graph]).kinds_ == ["Relu", "Tanh"]
    assert OperatorCounts(live_only=True).fit([graph]).kinds_ == ["Relu"]


def test_an_operator_that_no_training_graph_has_is_refused(tiny_graph):
    b = GraphBuilder("other")
    other = b.build(b.unary("Tanh", b.input((1, 4))))
    with pytest.raises(UnknownOperatorError, match="'other' has 'Tanh'"):
        OperatorCounts().fit([tiny_graph]).transform([other])


def test_no_graph_at_all_is_refused():
    with pytest.raises(InputError, match="at least one graph"):
        OperatorCounts().fit([])
