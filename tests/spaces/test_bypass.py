import pytest

from hwprof.errors import InputError
from hwprof.spaces.bypass import BypassSpace
from hwprof.testing import check_space

SMALL = BypassSpace(filters=(0, 2, 4), layers=3, halved_before=(2,), images=(1, 4, 4), classes=3)


def operators(arch):
    return [node.op for node in SMALL.graph(arch).nodes]


def test_it_keeps_the_contract_of_spaces():
    check_space(SMALL)


def test_a_layer_without_filters_is_left_out():
    assert operators((2, 0, 2)).count("Conv") == operators((2, 2, 2)).count("Conv") - 1


def test_layers_with_all_filters_bypass_nothing():
    assert not {"Concat", "Slice"} & set(operators((2, 2, 2)))


def test_channels_that_bypass_two_layers_are_read_where_they_were_computed():
    """The second layer is as narrow as the first: it needs the first convolution's last channels, once."""
    graph = SMALL.graph((1, 1, 2))
    first, *_ = (node.outputs[0] for node in graph.nodes if node.op == "Relu")
    assert [node.inputs[0] for node in graph.nodes if node.op == "Slice"] == [first, first]


def test_channels_under_a_wider_layer_are_dropped():
    graph = SMALL.graph((1, 2, 0))
    assert [node.op for node in graph.nodes].count("Slice") == 1  # only for the input of the second layer


def test_a_single_number_of_filters_is_refused():
    with pytest.raises(InputError, match="a layer needs at least two numbers of filters"):
        BypassSpace(filters=(4,))


def test_pooling_before_a_layer_that_does_not_exist_is_refused():
    with pytest.raises(InputError, match=r"there are 2 layers; the side cannot be halved before \(2,\)"):
        BypassSpace(layers=2, halved_before=(2,))
