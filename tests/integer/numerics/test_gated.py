import numpy as np
import pytest

from hwprof import onnx_io
from hwprof.integer.lowering import lowering
from hwprof.integer.run import reference
from hwprof.variants.weights import load_weights, model_with
from tests.integer.programs import Quantized, run_kernels
from tests.onnx_oracle import unoptimized


def gru(resets_behind: int, units: int = 24, depth: int = 10, steps: int = 9, batch: int = 2):
    """A GRU between Q/DQ pairs, its weights of the size that keeps gates in sight."""
    b = Quantized("gru")
    x = b.q(b.input((steps, batch, depth)), scale=0.03)
    weights = [b.w((1, 3 * units, depth), scale=0.004), b.w((1, 3 * units, units), scale=0.002)]
    bias = b.weight((1, 6 * units))
    (y,) = b.nodes(
        "GRU", [x, *weights, bias], [("float32", (steps, 1, batch, units))], hidden_size=units,
        linear_before_reset=resets_behind,
    )  # fmt: skip
    return b.build(b.q(y, scale=1 / 127))


@pytest.mark.parametrize("resets_behind", [0, 1])
def test_the_reference_is_near_onnx_runtime_s_float_gru(resets_behind):
    graph = gru(resets_behind)
    weights = load_weights(graph)
    name = next(t.name for t in graph.weights if t.shape == (1, 6 * 24))
    weights[name] = np.random.default_rng(0).normal(0, 0.7, (1, 6 * 24)).astype(np.float32)  # which half counts
    inputs = onnx_io.random_inputs(graph, seed=1)
    (real,) = unoptimized(model_with(graph, weights), inputs)
    (ours,) = reference.run(lowering.lower(graph, weights), inputs).values()
    assert np.abs(real).max() > 0.5
    assert np.abs(ours - real).max() < 0.04


@pytest.mark.parametrize("resets_behind", [0, 1])
def test_kernels_give_what_the_reference_gives(kernels, instruction_set, resets_behind):
    graph = gru(resets_behind, units=37)
    inputs = {name: 4 * array for name, array in onnx_io.random_inputs(graph, seed=1).items()}
    program = lowering.lower(graph, load_weights(graph))
    (wanted,) = reference.run(program, inputs).values()
    (got,) = run_kernels(program, inputs, kernels, instruction_set).values()
    np.testing.assert_array_equal(got, wanted)
    assert len(np.unique(got)) > 50
