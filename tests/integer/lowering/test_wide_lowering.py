"""Networks with integers of 16 bits between operators: which become programs, and that they compute what ONNX Runtime
computes."""

from __future__ import annotations

import numpy as np
import pytest

from hwprof import onnx_io
from hwprof.graph import Graph
from hwprof.integer.run import reference
from tests.integer.lowering.test_lowering import both, kinds, lowered, refusal, steps_apart
from tests.integer.programs import Quantized, run_kernels

FINE = 1 / 2**13  # [-4, 4]


class Wide(Quantized):
    """`wide` is a Q/DQ pair of 16 bits, `q` one of 8."""

    def __init__(self) -> None:
        super().__init__("wide", opset=21)

    def wide(self, x: str, scale: float = FINE) -> str:
        return self.q(x, scale, 0, "int16")


@pytest.mark.parametrize("op", ["Add", "Mul"])
@pytest.mark.parametrize("widths", ["888", "16 8 8", "8 16 8", "8 8 16", "16 16 8", "16 8 16", "8 16 16", "16 16 16"])
@pytest.mark.parametrize("shape", [(2, 4, 5), (4, 1), (5,)])
def test_two_operands_of_any_widths(op, widths, shape):
    b = Wide()
    pairs = [b.wide if width == "16" else b.q for width in (widths.split() if " " in widths else widths)]
    left, right = pairs[0](b.input((2, 4, 5)), 0.5 * FINE if pairs[0] == b.wide else 0.03), pairs[1](b.input(shape))
    graph = b.build(pairs[2](b.binary(op, left, right)))
    assert kinds(lowered(graph))[-1] == {"Add": "Add", "Mul": "Multiply"}[op]
    assert steps_apart(graph) <= 1


def test_a_function_of_a_byte_is_a_table_of_16_bits():
    b = Wide()
    graph = b.build(b.wide(b.unary("Tanh", b.q(b.input((3, 50)), 0.03))))
    assert kinds(lowered(graph)) == ["Table"]
    assert lowered(graph).operations[0].table.dtype == np.int16
    assert steps_apart(graph) == 0


@pytest.mark.parametrize("op", ["Sigmoid", "Tanh", "Exp", "Gelu", "HardSwish", "Softplus"])
def test_a_function_of_16_bits_is_lines(op):
    b = Wide()
    graph = b.build(b.q(b.unary(op, b.wide(b.input((40, 50)))), 0.03, 10))
    assert kinds(lowered(graph)) == ["Lines"]
    assert steps_apart(graph) <= 1


@pytest.mark.parametrize("op", ["Sigmoid", "Tanh", "Exp", "Gelu", "HardSwish", "Softplus"])
def test_lines_from_16_bits_to_16_are_near_to_the_function(op):
    b = Wide()
    graph = b.build(b.wide(b.unary(op, b.wide(b.input((40, 50)))), 8 * FINE))
    ours, theirs, _ = both(graph)
    (a,), (exact,) = ours.values(), theirs.values()
    assert np.abs(a - exact).max() < 3e-4 * np.abs(exact).max() + 8 * FINE


def test_a_function_of_several_operators_is_one_operation():
    b = Wide()
    graph = b.build(b.wide(b.gelu(b.wide(b.input((3, 50))))))
    assert kinds(lowered(graph)) == ["Lines"]


@pytest.mark.parametrize(("before", "behind"), [("8", "16"), ("16", "8"), ("16", "16")])
def test_another_width_behind_a_width(before, behind):
    b = Wide()
    pairs = {"8": lambda x, scale: b.q(x, 100 * scale, 120), "16": b.wide}
    graph = b.build(pairs[behind](pairs[before](b.input((30, 40)), FINE), 3 * FINE))
    assert kinds(lowered(graph)) == ["Table" if before == "8" else "Lines"]
    assert steps_apart(graph) <= 1


@pytest.mark.parametrize("op", ["LayerNormalization", "RMSNormalization"])
@pytest.mark.parametrize("widths", ["8 16", "16 8", "16 16"])
def test_a_normalization(op, widths):
    b = Wide() if op == "LayerNormalization" else RmsWide()
    before, behind = ((b.wide if width == "16" else b.q) for width in widths.split())
    x = before(b.input((6, 96)))
    y = b.node(op, [x, b.weight((96,))], (6, 96), axis=-1)
    graph = b.build(behind(y))
    assert "Normalization" in kinds(lowered(graph))
    if op == "LayerNormalization":
        assert steps_apart(graph) <= (2 if behind == b.wide else 1)


class RmsWide(Wide):
    """An RMSNormalization is of opset 23."""

    def __init__(self) -> None:
        Quantized.__init__(self, "wide", opset=23)


def test_a_row_of_one_value_is_normalized_to_its_bias():
    b = Wide()
    x = b.wide(b.input((2, 64)))
    graph = b.build(b.wide(b.node("LayerNormalization", [x, b.weight((64,)), b.weight((64,))], (2, 64), axis=-1)))
    program = lowered(graph)
    outputs = [
        reference.run(program, {graph.inputs[0].name: np.full((2, 64), v, np.float32)}) for v in (-9.0, 1.0, 9.0)
    ]
    first, *others = (next(iter(o.values())) for o in outputs)
    assert all(np.array_equal(first, other) for other in others)
    assert first.any()


def moving() -> Graph:
    b = Wide()
    x = b.wide(b.input((2, 6, 4)))
    y = b.transpose(b.slice(x, 1, 1, 5), (1, 0, 2))
    step = b.node("Gather", [y, b.constant([2], scalar=True)], (2, 4), axis=0)
    left, right = b.split(b.reshape(y, (4, 8)), (3, 5), axis=1)
    return b.build(left, right, b.concat([step, step], 1), b.unary("Sigmoid", step))


def test_values_are_moved_and_leave_as_they_are():
    assert steps_apart(moving()) == 0


def test_inputs_and_outputs_of_16_bits():
    b = Wide()
    grid = [b.constant([FINE], "float32", scalar=True), b.constant([0], "int16", scalar=True)]
    (x,) = b.nodes("DequantizeLinear", [b.input((2, 7), "int16"), *grid], [("float32", (2, 7))])
    (y,) = b.nodes("QuantizeLinear", [b.binary("Add", x, x), *grid], [("int16", (2, 7))])
    ours, theirs, _ = both(b.build(y))
    assert ours[y].dtype == np.int16
    assert np.abs(ours[y].astype(int) - theirs[y]).max() <= 1


def test_an_image_of_16_bits_enters_and_leaves():
    b = Wide()
    left, right = (b.wide(b.input((2, 3, 5, 4))) for _ in range(2))
    assert steps_apart(b.build(b.wide(b.add(left, right)))) <= 1


@pytest.mark.parametrize("network", [moving, lambda: residual(Wide())])
def test_kernels_and_reference_agree(network, kernels, instruction_set):
    graph = network()
    program, inputs = lowered(graph), onnx_io.random_inputs(graph, seed=3)
    got = run_kernels(program, inputs, kernels, instruction_set, threads=2)
    for name, array in reference.run(program, inputs).items():
        np.testing.assert_array_equal(got[name], array)


def residual(b: Wide) -> Graph:
    """A residual stream of 16 bits beside products of 8."""
    x = b.wide(b.input((3, 24)))
    for _ in range(3):
        narrow = b.q(b.node("LayerNormalization", [x, b.weight((24,))], (3, 24), axis=-1))
        inner = b.q(b.unary("Gelu", b.q(b.matmul(narrow, b.w((24, 40))))))
        x = b.wide(b.add(x, b.q(b.matmul(inner, b.w((40, 24))), 0.02)))
    return b.build(x)


def test_a_residual_stream_is_as_near_as_its_products():
    ours, theirs, _ = both(residual(Wide()))
    (a,), (exact,) = ours.values(), theirs.values()
    assert np.sqrt(np.mean((a - exact) ** 2) / np.mean(exact**2)) < 0.01


REFUSED = {
    "Softmax": lambda b, x: b.softmax(x),
    "MaxPool": lambda b, x: b.pool("MaxPool", b.reshape(x, (1, 1, 6, 4)), 2, 2),
}


@pytest.mark.parametrize("op", REFUSED)
def test_what_takes_bytes_alone_says_so(op):
    b = Wide()
    y = REFUSED[op](b, b.wide(b.input((6, 4))))
    text = refusal(b.build(b.q(y)))
    assert text.startswith(f"operator {op}")
    assert "has 16 bits, but 8 are supported" in text


def test_what_makes_bytes_alone_says_so():
    b = Wide()
    assert "its result has 16 bits" in refusal(b.build(b.wide(b.softmax(b.q(b.input((6, 4)))))))


@pytest.mark.parametrize("is_wide", [False, True])
@pytest.mark.parametrize("adds", [False, True])
def test_a_product_of_16_bits(is_wide, adds):
    """To 16 bits from either type; to 8 bits from 16."""
    b = Wide()
    x = b.wide(b.input((6, 4))) if is_wide else b.q(b.input((6, 4)))
    made = b.matmul(x, b.w((4, 5)))
    y = b.add(made, b.weight((5,))) if adds else made
    assert steps_apart(b.build(b.wide(y))) <= 1
    if is_wide:
        assert steps_apart(b.build(b.q(y))) <= 1


@pytest.mark.parametrize(
    ("dtype", "zero", "reason"), [("int16", 5, "must have the zero point 0, not 5"), ("uint16", 0, "uint16")]
)
def test_other_integers_of_16_bits_are_refused(dtype, zero, reason):
    b = Wide()
    assert reason in refusal(b.build(b.q(b.input((2, 3)), FINE, zero, dtype)))


def test_a_function_that_jumps_is_refused():
    b = Wide()
    assert "jumps" in refusal(b.build(b.q(b.unary("Floor", b.wide(b.input((2, 3)))))))
