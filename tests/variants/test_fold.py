from __future__ import annotations

import numpy as np
import onnxruntime
import pytest

from hwprof import onnx_io
from hwprof.builder import GraphBuilder
from hwprof.errors import InputError
from hwprof.graph import Graph
from hwprof.spaces.nasbench201 import NasBench201
from hwprof.variants.fold import cut, folded

SPACE = NasBench201(channels=4, cells=1, resolution=8)
CLEAN, DEAD = (3, 3, 1, 2, 3, 1), (0, 3, 0, 3, 2, 0)


def operators(graph: Graph) -> list[str]:
    return [node.op for node in graph.nodes]


def zero_term() -> Graph:
    """relu(x) + 0 * x"""
    b = GraphBuilder("zero-term")
    x = b.input((1, 4))
    return b.build(b.add(b.relu(x), b.mul(x, b.constant([0.0], "float32", scalar=True))))


def test_a_zero_term_leaves_the_sum():
    assert operators(folded(zero_term())) == ["Relu"]


def test_a_graph_without_zeros_is_itself():
    graph = SPACE.graph(CLEAN)
    assert folded(graph) is graph


def test_folding_twice_changes_nothing_more():
    once = folded(SPACE.graph(DEAD))
    assert folded(once) is once


def test_what_is_computed_from_zeros_alone_is_a_constant():
    # Of the cell, the convolutions on edges 0-2 (which leads nowhere) and 0-3 and that of zeros on edge 1-3; each
    # with its activation and normalization. What is left of edge 1-3 is a constant that is added.
    before, after = SPACE.graph(DEAD), folded(SPACE.graph(DEAD))
    assert operators(before).count("Conv") - operators(after).count("Conv") == 3 * 2
    assert "Mul" not in operators(after)


def test_the_result_still_runs():
    graph = folded(SPACE.graph(DEAD))
    session = onnxruntime.InferenceSession(
        onnx_io.materialize(graph).SerializeToString(), providers=["CPUExecutionProvider"]
    )
    (output,) = session.run(None, onnx_io.random_inputs(graph))
    assert output.shape == graph.shape(graph.outputs[0])
    assert np.isfinite(output).all()


def test_the_same_numbers_come_out():
    x = np.array([[-1.0, 0.0, 2.0, 3.0]], np.float32)
    results = []
    for graph in (zero_term(), folded(zero_term())):
        session = onnxruntime.InferenceSession(
            onnx_io.materialize(graph).SerializeToString(), providers=["CPUExecutionProvider"]
        )
        results.append(session.run(None, {graph.inputs[0].name: x})[0])
    np.testing.assert_array_equal(*results)


def test_an_output_that_depends_on_no_input_is_an_error():
    b = GraphBuilder("nothing")
    with pytest.raises(InputError, match="depends on no input once zeros are folded"):
        folded(b.build(b.relu(b.mul(b.input((1, 4)), b.constant([0.0], "float32", scalar=True)))))


def test_a_cut_graph_does_not_compute_what_is_multiplied_by_zero_but_computes_with_the_zeros():
    # Edge 0-2 (a convolution) leads nowhere and goes; edge 1-3 is a convolution of zeros and stays.
    before, after = SPACE.graph(DEAD), cut(SPACE.graph(DEAD))
    assert operators(before).count("Conv") - operators(after).count("Conv") == 3
    assert operators(after).count("Mul") > 0
    assert [t.shape for t in after.inputs[1:]] == [(1, 4, 8, 8), (1, 8, 4, 4), (1, 16, 2, 2)]


def test_a_cut_graph_still_runs():
    graph = cut(SPACE.graph(DEAD))
    session = onnxruntime.InferenceSession(
        onnx_io.materialize(graph).SerializeToString(), providers=["CPUExecutionProvider"]
    )
    (output,) = session.run(None, onnx_io.random_inputs(graph))
    assert output.shape == graph.shape(graph.outputs[0])


def test_without_zeros_there_is_nothing_to_cut():
    graph = SPACE.graph(CLEAN)
    assert cut(graph) is graph
