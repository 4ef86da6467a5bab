"""Raising a network to a newer opset."""

import pytest

from hwprof import onnx_io
from hwprof.builder import GraphBuilder
from hwprof.errors import InputError
from hwprof.onnx_io.opset import with_opset


def dropped(opset: int):
    """Dropout had a ratio before opset 12, Squeeze had axes before 13."""
    b = GraphBuilder("old", opset)
    x = b.conv(b.input((1, 3, 4, 4), name="x"), 8, 4, pad=0)
    x = b.node("Dropout", [x], (1, 8, 1, 1), ratio=0.5)
    return b.build(b.node("Squeeze", [x], (1, 8), axes=(2, 3)))


def test_attributes_become_inputs_and_weights_keep_their_names():
    graph = with_opset(dropped(11), 13)
    assert dict(graph.opsets)[""] == 13
    assert graph.nodes[-1].attributes == ()
    assert graph.constant_values[graph.nodes[-1].inputs[1]] == (2, 3)
    assert graph.weights == dropped(11).weights
    assert onnx_io.to_model(graph).graph.node


def test_a_newer_network_stays_as_it_is():
    graph = GraphBuilder("new", 17)
    built = graph.build(graph.relu(graph.input((1, 4))))
    assert with_opset(built, 13) is built


def test_a_network_that_cannot_be_converted_is_refused():
    b = GraphBuilder("odd", 9)
    graph = b.build(b.node("Upsample", [b.input((1, 1, 2, 2))], (1, 1, 4, 4), mode="nearest"))
    with pytest.raises(InputError, match="graph 'odd' cannot be raised from opset 9 to 13"):
        with_opset(graph, 13)
