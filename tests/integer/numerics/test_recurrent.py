import numpy as np
import pytest

from hwprof import onnx_io
from hwprof.integer.lowering import lowering
from hwprof.integer.numerics import recurrent
from hwprof.integer.run import reference
from hwprof.variants.weights import load_weights
from tests.integer.programs import Quantized, run_kernels
from tests.onnx_oracle import unoptimized


@pytest.mark.parametrize(
    ("function", "real", "error"),
    [(recurrent.tanh, np.tanh, 7e-4), (recurrent.sigmoid, lambda x: 1 / (1 + np.exp(-x)), 2e-4)],
)
def test_a_function_is_near_the_real_one(function, real, error):
    x = np.arange(-(2**15), 2**15)
    values = function(x, recurrent.GATE_BITS, recurrent.knots()) / 2**recurrent.VALUE_BITS
    assert np.abs(values - real(x / 2**recurrent.GATE_BITS)).max() < error


def lstm(units: int, depth: int, steps: int, batch: int):
    """An LSTM between Q/DQ pairs, its weights of the size that keeps gates in sight."""
    b = Quantized("lstm")
    x = b.q(b.input((steps, batch, depth)), scale=0.03)
    weights = [b.w((1, 4 * units, depth), scale=0.004), b.w((1, 4 * units, units), scale=0.002)]
    bias = b.weight((1, 8 * units))
    (y,) = b.nodes("LSTM", [x, *weights, bias], [("float32", (steps, 1, batch, units))], hidden_size=units)
    return b.build(b.q(y, scale=1 / 127))


def test_the_reference_is_near_onnx_runtime_s_float_lstm():
    graph = lstm(units=24, depth=10, steps=9, batch=2)
    inputs = onnx_io.random_inputs(graph, seed=1)
    (real,) = unoptimized(onnx_io.materialize(graph), inputs)
    (ours,) = reference.run(lowering.lower(graph, load_weights(graph)), inputs).values()
    assert np.abs(real).max() > 0.5
    assert np.abs(ours - real).max() < 0.04


@pytest.mark.parametrize(("units", "depth", "batch"), [(32, 16, 1), (37, 9, 3), (8, 5, 14), (130, 64, 1), (40, 24, 19)])
def test_kernels_give_what_the_reference_gives(kernels, instruction_set, units, depth, batch):
    graph = lstm(units, depth, 6, batch)
    inputs = {name: 4 * array for name, array in onnx_io.random_inputs(graph, seed=1).items()}
    program = lowering.lower(graph, load_weights(graph))
    (wanted,) = reference.run(program, inputs).values()
    (got,) = run_kernels(program, inputs, kernels, instruction_set, threads=2).values()
    np.testing.assert_array_equal(got, wanted)
    assert len(np.unique(got)) > 50
