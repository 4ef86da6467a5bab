import pytest

from hwprof.builder import GraphBuilder
from hwprof.errors import InputError
from hwprof.graph import Graph
from hwprof.latency_table.operators import distinct
from hwprof.latency_table.sweep import at_channels
from hwprof.onnx_io import infer_types


def single(make, op: str = "Conv") -> Graph:
    """The network of one operator of what `make` builds on an input of 3 x 8 x 8."""
    b = GraphBuilder("net")
    graph = b.build(make(b, b.input((1, 3, 8, 8))))
    return next(network for o, network in distinct([graph]) if o.op == op)


def sizes(found):
    return [(o.attributes["cin"], o.attributes["cout"]) for o, _ in found]


def test_a_convolution_is_swept_over_every_combination():
    found = at_channels(single(lambda b, x: b.conv(x, 4, 3)), {"cin": (2, 3), "cout": (8, 16)})
    assert sizes(found) == [(2, 8), (2, 16), (3, 8), (3, 16)]
    assert {o.attributes["kernel"] for o, _ in found} == {3}


def test_the_channels_that_are_not_swept_stay():
    assert sizes(at_channels(single(lambda b, x: b.conv(x, 4, 3)), {"cout": (8,)})) == [(3, 8)]


def test_a_product_of_matrices_is_swept_with_its_bias():
    ((operator, network),) = at_channels(single(lambda b, x: b.gemm(b.flatten(x), 10), "Gemm"), {"cout": (7,)})
    assert (operator.attributes["cin"], operator.attributes["cout"]) == (192, 7)
    assert sorted(w.shape[0] for w in network.weights if len(w.shape) == 1) == [7]


@pytest.mark.parametrize(
    ("make", "op"),
    [(lambda b, x: b.conv(x, 4, 3), "Conv"), (lambda b, x: b.gemm(b.flatten(x), 10), "Gemm")],
    ids=["convolution", "product"],
)
def test_the_shapes_of_a_swept_network_are_those_that_onnx_infers(make, op):
    ((_, network),) = at_channels(single(make, op), {"cin": (6,), "cout": (5,)})
    inferred = infer_types(network)
    assert network.shape(network.outputs[0]) == inferred.shape(network.outputs[0])
    assert network.shape(network.outputs[0])[1] == 5


@pytest.mark.parametrize(
    ("make", "op"),
    [(lambda b, x: b.relu(x), "Relu"), (lambda b, x: b.conv(x, 3, 3, groups=3), "Conv")],
    ids=["without weights", "grouped"],
)
def test_an_operator_whose_channels_are_not_free_is_not_swept(make, op):
    assert at_channels(single(make, op), {"cout": (8,)}) == []


def test_an_attribute_that_is_no_number_of_channels_is_refused():
    with pytest.raises(InputError, match="'kernel' cannot be swept; known: cin, cout"):
        at_channels(single(lambda b, x: b.conv(x, 4, 3)), {"kernel": (3,)})


def test_no_channels_at_all_are_refused():
    with pytest.raises(InputError, match="at least 1"):
        at_channels(single(lambda b, x: b.conv(x, 4, 3)), {"cout": (0,)})
