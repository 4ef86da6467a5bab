import numpy as np
import pytest

from hwprof.builder import GraphBuilder
from hwprof.encoders.execution import HYPOTHESES
from hwprof.encoders.physical import OPERATOR_COLUMNS, QUANTITIES, PhysicalEncoder, by_hypothesis
from hwprof.errors import InputError, UnknownOperatorError
from hwprof.graph import Graph
from hwprof.spaces.nasbench201 import SPACE


def quantities(graph, hypothesis="every"):
    (row,) = by_hypothesis(PhysicalEncoder().fit_transform([graph]))
    return dict(zip(QUANTITIES, row[HYPOTHESES.index(hypothesis)], strict=True))


def test_a_convolution_counts_its_launch_multiply_adds_and_bytes():
    b = GraphBuilder("conv")
    found = quantities(b.build(b.conv(b.input((1, 2, 4, 4)), 3, 3)))
    assert found["convolution launches"] == 1
    assert found["convolution macs"] == 3 * 4 * 4 * 2 * 9
    assert found["convolution bytes"] == 4 * (2 * 16 + 3 * 2 * 9 + 3 * 16)
    assert found["total macs"] == found["path macs"] == found["convolution macs"]


@pytest.mark.parametrize(
    ("kernel", "groups", "kind"), [(3, 1, "convolution"), (1, 1, "pointwise"), (3, 4, "depthwise"), (1, 2, "depthwise")]
)
def test_convolutions_differ_by_kernel_and_groups(kernel, groups, kind):
    b = GraphBuilder("conv")
    found = quantities(b.build(b.conv(b.input((1, 4, 4, 4)), 4, kernel, groups=groups)))
    launched = [name for name in QUANTITIES if name.endswith("launches") and found[name]]
    assert launched == [f"{kind} launches", "total launches", "path launches"]


def test_a_product_with_a_weight_is_linear_and_one_of_activations_is_not():
    b = GraphBuilder("products")
    x = b.input((4, 4))
    found = quantities(b.build(b.matmul(b.linear(x, 4, bias=False), x)))
    assert (found["linear launches"], found["product launches"]) == (1, 1)


def test_a_sum_of_two_tensors_is_an_addition_and_a_scaling_an_activation():
    b = GraphBuilder("sums")
    x = b.input((1, 4, 4, 4))
    found = quantities(b.build(b.add(b.mul(x, b.constant([2.0], "float32", scalar=True)), x)))
    assert (found["addition launches"], found["activation launches"]) == (1, 1)


def test_a_view_launches_nothing():
    b = GraphBuilder("view")
    assert not any(quantities(b.build(b.flatten(b.input((1, 4, 2, 2))))).values())


def test_what_does_not_wait_for_the_last_input_is_early():
    b = GraphBuilder("encoder and decoder")
    source, target = b.input((2, 4)), b.input((2, 4))
    found = quantities(b.build(b.add(b.linear(source, 4, bias=False), target)))
    assert (found["early launches"], found["early macs"]) == (1, 2 * 4 * 4)


def test_graphs_are_encoded_one_row_each_in_their_order(tiny_graph):
    encoder = PhysicalEncoder()
    both = encoder.transform([tiny_graph, tiny_graph])
    assert both.shape == (2, len(encoder.get_feature_names_out()))
    assert np.array_equal(both[0], both[1])
    assert encoder.transform([]).shape == (0, both.shape[1])


def test_an_operator_without_a_rule_of_cost_is_refused():
    b = GraphBuilder("custom")
    graph = b.build(b.node("Mystery", [b.input((1, 4))], (1, 4), domain="my.domain"))
    with pytest.raises(UnknownOperatorError, match=r"my\.domain\.Mystery"):
        PhysicalEncoder().transform([graph])


def test_something_that_is_no_graph_is_refused():
    with pytest.raises(InputError, match="a graph is needed; tuple"):
        PhysicalEncoder().transform([(0, 1, 2)])


def operator_counts(graph):
    (row,) = PhysicalEncoder(with_operators=True).fit_transform([graph])
    return row[-OPERATOR_COLUMNS:]


def convolved(side, kernels):
    b = GraphBuilder("convolutions")
    x = b.input((1, 4, side, side))
    for kernel in kernels:
        x = b.conv(x, 4, kernel)
    return b.build(x)


def test_different_operators_are_counted_in_columns_of_their_own_after_the_quantities():
    found = operator_counts(convolved(8, [3, 5, 3]))
    assert sorted(found[found > 0]) == [1, 2]
    without = PhysicalEncoder().fit_transform([convolved(8, [3, 5, 3])])
    assert without.shape == (1, len(HYPOTHESES) * len(QUANTITIES))


def test_the_size_of_an_image_makes_no_other_operator():
    np.testing.assert_array_equal(operator_counts(convolved(8, [3])), operator_counts(convolved(16, [3])))


def test_an_operator_has_the_same_column_in_every_process_and_version():
    """Files keep the costs of columns."""
    assert operator_counts(convolved(8, [3])).nonzero()[0].tolist() == [44]


def test_each_column_has_a_name():
    encoder = PhysicalEncoder(with_operators=True)
    assert len(encoder.get_feature_names_out()) == encoder.transform([convolved(8, [3])]).shape[1]


def unknown_after_known():
    """A network whose second operator has no rule of cost, and whose third is new, too."""
    b = GraphBuilder("unknown")
    x = b.node("NoSuchOperator", [b.relu(b.input((1, 4, 8, 8)))], (1, 4, 8, 8))
    return b.build(b.unary("Tanh", x))


def test_an_encoder_that_has_seen_other_networks_gives_the_same_bits():
    archs = [(3, 1, 2, 4, 0, 3), (0, 0, 0, 0, 0, 0), (2, 2, 3, 3, 4, 1)]
    encoder = PhysicalEncoder()
    with pytest.raises(UnknownOperatorError):
        encoder.transform([unknown_after_known()])
    for arch in archs:
        graph = SPACE.graph(arch)
        as_read = Graph.from_json(graph.to_json())  # whose equal layers share no objects
        fresh = PhysicalEncoder().transform([as_read])
        assert encoder.transform([graph]).tobytes() == encoder.transform([as_read]).tobytes() == fresh.tobytes()
