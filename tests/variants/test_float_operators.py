"""Operators of int8 networks that stay float are named with the reason; float64 is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from hwprof import onnx_io
from hwprof.builder import GraphBuilder
from hwprof.errors import InputError
from hwprof.graph import Graph, Node, Tensor
from hwprof.variants import float_operators
from hwprof.variants.apply import apply_variant
from hwprof.variants.quantize import quantize


def test_operators_without_an_int8_form_are_counted_and_the_first_three_are_named():
    b = GraphBuilder("gates")
    x = b.matmul(b.input((4, 8)), b.weight((8, 8)))
    for op in ("Erf", "Tanh", "Sqrt", "Exp"):
        x = b.unary(op, x)
    (warning,) = float_operators.warnings(quantize(b.build(b.matmul(x, b.weight((8, 8))))))
    assert warning.startswith("4 operators stay float: Erf ")
    assert warning.endswith(" and 1 more")
    assert warning.count("(int8 has no ") == 3
    assert "(int8 has no Sqrt)" in warning
    assert "_QuantizeLinear_Input" not in warning


def test_a_network_whose_operators_are_all_quantized_has_no_warning(mobile_block: Graph):
    b = GraphBuilder("dense")
    plain = b.build(b.relu(b.gemm(b.input((4, 8)), 8)))
    assert float_operators.warnings(quantize(plain)) == ()
    (warning,) = float_operators.warnings(quantize(mobile_block))
    assert warning.startswith("1 operator stays float: HardSigmoid ")


@pytest.mark.parametrize(
    ("node", "dtype", "reason"),
    [
        (Node("MatMul", ("x", "x"), ("y",)), "float16", "'x' is float16"),
        (Node("Relu", ("x",), ("y",)), "float32", "'x' is not quantized"),
        (Node("Gelu", ("x",), ("y",), domain="com.microsoft"), "float32", "int8 has no operators of com.microsoft"),
    ],
)
def test_the_reason_names_the_tensor_or_the_operator(node: Node, dtype: str, reason: str):
    x = Tensor("x", dtype, (8, 8))
    graph = Graph((x,), ("y",), (node,), values=(Tensor("y", dtype, (8, 8)),))
    assert float_operators.warnings(quantize(graph)) == (f"1 operator stays float: {node.op} 'y' ({reason})",)


def test_a_tensor_of_unknown_type_is_named():
    graph = Graph((), ("y",), (Node("Relu", ("unknown",), ("y",)),))
    ((_, reason),) = float_operators.in_float(graph)
    assert reason == "the type of 'unknown' is unknown"


@pytest.mark.parametrize("variant", ["int8", "integer"])
def test_a_network_in_float64_is_refused_by_the_name_of_its_tensor(variant: str, tmp_path: Path):
    x, y = Tensor("x", "float64", (8, 8)), Tensor("y", "float64", (8, 8))
    graph = Graph((x,), ("y",), (Node("MatMul", ("x", "x"), ("y",)),), values=(y,), name="double")
    with pytest.raises(InputError, match="'double' cannot be quantized: MatMul 'y' reads 'x', which is float64"):
        apply_variant(graph, variant, tmp_path)


def test_a_float64_input_that_is_cast_first_is_quantized(tmp_path: Path):
    x, f, y = Tensor("x", "float64", (4, 8)), Tensor("f", "float32", (4, 8)), Tensor("y", "float32", (4, 8))
    nodes = (Node("Cast", ("x",), ("f",), (("to", 1),)), Node("MatMul", ("f", "w"), ("y",)))
    graph = Graph((x,), ("y",), nodes, weights=(Tensor("w", "float32", (8, 8)),), values=(f, y), name="cast")
    made, _ = apply_variant(graph, "int8", tmp_path)
    assert any(node.op == "QuantizeLinear" for node in made.nodes)
    assert made.warnings == ()


def test_the_variant_keeps_what_is_known_about_the_network(tmp_path: Path):
    b = GraphBuilder("erf")
    onnx_io.save(b.build(b.unary("Erf", b.matmul(b.input((4, 8)), b.weight((8, 8))))), tmp_path / "erf.onnx")
    made, _ = apply_variant(onnx_io.load(tmp_path / "erf.onnx"), "int8", tmp_path)
    assert [warning.split(":")[0] for warning in made.warnings] == ["1 operator stays float"]
