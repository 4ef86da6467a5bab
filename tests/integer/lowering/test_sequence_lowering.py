"""Attention, normalization, embeddings and recurrence become integer operations, and compute what ONNX Runtime does."""

from __future__ import annotations

import numpy as np
import pytest

from hwprof.builder import GraphBuilder
from hwprof.variants.quantize import quantize
from hwprof.workloads.bert import bert
from tests.integer.lowering.test_lowering import both, kinds, lowered, refusal, steps_apart
from tests.integer.programs import Quantized, sequence_network


@pytest.mark.parametrize(("a", "b"), [((2, 5, 8), (2, 8, 6)), ((2, 3, 5, 8), (8, 6)), ((5, 9), (4, 9, 3))])
def test_a_product_of_two_activations(a, b):
    builder = Quantized("product")
    left, right = builder.q(builder.input(a), zero=100), builder.q(builder.input(b), scale=0.03, zero=37)
    graph = builder.build(builder.q(builder.matmul(left, right)))
    assert kinds(lowered(graph))[-1] == "Product"
    assert steps_apart(graph) <= 1


def test_a_relu_in_front_of_a_scale_is_part_of_a_product():
    b = Quantized("product")
    y = b.relu(b.matmul(b.q(b.input((3, 4))), b.q(b.input((4, 5)))))
    graph = b.build(b.q(y))
    assert lowered(graph).operations[-1].rescale.low == 128
    assert steps_apart(graph) <= 1


@pytest.mark.parametrize(("scale", "zero", "dtype"), [(1 / 255, 0, "uint8"), (1 / 300, -128, "int8")])
def test_a_softmax(scale, zero, dtype):
    b = Quantized("softmax")
    graph = b.build(b.q(b.softmax(b.q(b.input((2, 3, 20)))), scale=scale, zero=zero, dtype=dtype))
    assert kinds(lowered(graph)) == ["Softmax"]
    assert steps_apart(graph) <= 1


def test_a_layer_normalization():
    b = Quantized("norm")
    graph = b.build(b.q(b.layer_norm(b.q(b.input((4, 32))))))
    assert kinds(lowered(graph)) == ["Normalization"]
    assert steps_apart(graph) <= 1


def test_a_layer_normalization_of_nothing_but_its_epsilon():
    b = Quantized("norm")
    x = b.q(b.input((2, 16)), scale=1e-4)
    y = b.node("LayerNormalization", [x, b.weight((16,)), b.weight((16,))], (2, 16), axis=-1, epsilon=0.01)
    assert steps_apart(b.build(b.q(y))) <= 1


def test_a_root_mean_square_normalization():
    b = Quantized("rms", opset=23)
    x = b.q(b.input((4, 32)), zero=90)
    graph = b.build(b.q(b.node("RMSNormalization", [x, b.weight((32,))], (4, 32), axis=-1)))
    assert [operation.is_centred for operation in lowered(graph).operations] == [False]
    assert steps_apart(graph) <= 1


@pytest.mark.parametrize("dtype", ["uint8", "int8"])
def test_rows_of_a_table_are_copied(dtype):
    b = Quantized("embedding")
    x = b.node("Gather", [b.w((30, 8), dtype=dtype), b.input((5, 2), "int64")], (5, 2, 8))
    graph = b.build(b.q(x, scale=0.01, zero=0, dtype=dtype))
    program = lowered(graph)
    assert kinds(program) == ["Embedding"]
    assert program.values[program.entries[0].value].dtype == "int32"
    assert steps_apart(graph) == 0


def test_one_input_of_indices_serves_two_tables_and_the_shorter_one_bounds_it():
    b = Quantized("embedding")
    ids = b.input((5,), "int64")
    rows = [b.node("Gather", [b.w((n, 8), dtype="uint8"), ids], (5, 8)) for n in (30, 20)]
    program = lowered(b.build(b.q(b.add(*(b.q(r, scale=0.01, zero=0) for r in rows)))))
    assert [entry.rows for entry in program.entries] == [20]


def test_an_operator_on_weights_is_worked_out_when_the_network_is_loaded():
    b = Quantized("folded")
    positions = b.q(b.slice(b.weight((9, 4)), axis=0, start=2, stop=5))
    graph = b.build(b.q(b.add(b.q(b.input((3, 4))), positions)))
    assert kinds(lowered(graph)) == ["Add"]
    assert steps_apart(graph) <= 1


def test_a_function_behind_the_last_scale_is_what_the_output_s_integers_stand_for():
    b = Quantized("exit")
    ours, theirs, program = both(b.build(b.unary("Tanh", b.q(b.input((2, 3, 4, 4))))))
    assert program.operations == ()
    for name, array in ours.items():
        np.testing.assert_allclose(array, theirs[name], atol=1e-6)


def test_functions_of_one_tensor_are_one_table_through_scales_in_between():
    """A GELU as quantizers write it."""
    b = Quantized("gelu")
    x = b.q(b.input((3, 50)), scale=0.03)
    half, erf = b.q(b.unary("Sigmoid", x), scale=0.01, zero=0), b.q(b.unary("Erf", x), scale=0.01)
    graph = b.build(b.q(b.mul(half, b.q(b.add(erf, b.constant([1.0], "float32")), scale=0.01, zero=0)), scale=0.02))
    assert kinds(lowered(graph)) == ["Table"]
    assert steps_apart(graph) <= 1


def test_a_transformer_has_no_float_edge():
    program = lowered(quantize(bert("small", layers=1, width=16, heads=2, tokens=8, vocabulary=50)))
    found = set(kinds(program))
    assert {"Embedding", "Normalization", "Product", "Softmax", "Table", "Convolution"} <= found
    assert {value.dtype for value in program.values.values()} == {"uint8", "int32"}


def test_every_kind_of_layer_in_a_row():
    assert {"Lstm", "Gru", "Normalization", "Product", "Softmax"} <= set(kinds(lowered(sequence_network())))


# -- what is refused -----------------------------------------------------------------------------------


def test_a_softmax_over_another_axis():
    b = Quantized("softmax")
    y = b.q(b.softmax(b.q(b.input((2, 3, 4))), axis=1), scale=1 / 255, zero=0)
    assert steps_apart(b.build(y)) <= 1


def test_a_normalization_over_two_axes():
    b = Quantized("norm")
    x = b.q(b.input((2, 3, 4)))
    y = b.node("LayerNormalization", [x, b.weight((3, 4)), b.weight((3, 4))], (2, 3, 4), axis=1)
    assert steps_apart(b.build(b.q(y))) <= 1


def test_a_normalization_whose_gain_is_computed_is_refused():
    b = Quantized("norm")
    x = b.q(b.input((2, 4)))
    y = b.node("LayerNormalization", [x, b.input((4,)), b.weight((4,))], (2, 4), axis=-1)
    assert "is not stored" in refusal(b.build(b.q(y)))


def test_a_product_that_sums_up_too_much_is_refused():
    b = Quantized("sums")
    y = b.matmul(b.q(b.input((1, 20_000))), b.q(b.input((20_000, 1))))
    assert "it sums up 20000 products, but at most 16384 fit" in refusal(b.build(b.q(y, scale=10.0)))


def test_indices_that_are_computed_are_refused():
    b = Quantized("embedding")
    ids = b.reshape(b.input((4,), "int64"), (2, 2))
    x = b.node("Gather", [b.w((30, 8), dtype="uint8"), ids], (2, 2, 8))
    assert "are not an input of the network" in refusal(b.build(b.q(x)))


def test_a_float_table_is_refused():
    b = GraphBuilder("float")
    assert "Gather" in refusal(b.build(b.embedding(b.input((4,), "int64"), 10, 8)))


@pytest.mark.parametrize("attribute", [{"clip": 1.0}, {"activations": ["Relu", "Tanh"]}])
def test_a_gru_that_is_not_plain_is_refused(attribute):
    b = Quantized("gru")
    x = b.q(b.input((3, 1, 8)))
    (y,) = b.nodes(
        "GRU", [x, b.w((1, 24, 8)), b.w((1, 24, 8))], [("float32", (3, 1, 1, 8))], hidden_size=8, **attribute
    )  # fmt: skip
    assert "GRU" in refusal(b.build(b.q(y)))
