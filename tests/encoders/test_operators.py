import pytest

from hwprof.builder import GraphBuilder
from hwprof.encoders.operators import OperatorCounts, Signatures
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


def test_operators_of_the_same_kind_and_cost_have_one_number_in_all_graphs():
    def numbers(size, name):
        b = GraphBuilder(name)
        x = b.input((1, 4, size, size))
        return known.of(b.build(b.relu(b.conv(b.relu(b.conv(x, 4, 3)), 4, 3))))

    known = Signatures()
    first, again, larger = numbers(8, "a"), numbers(8, "b"), numbers(16, "c")
    assert first == again == [0, 1, 0, 1]
    assert set(larger).isdisjoint(first)


def test_a_product_with_a_weight_and_one_of_activations_have_two_numbers():
    b = GraphBuilder("products")
    x = b.input((4, 4))
    assert Signatures().of(b.build(b.matmul(b.linear(x, 4, bias=False), x))) == [0, 1]
