"""Networks as ONNX Runtime's quantizer writes them: as near to the float ones as ONNX Runtime's own int8."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnxruntime
import pytest

from hwprof import onnx_io
from hwprof.backends.integer import lowering, reference
from hwprof.backends.integer.program import Program
from hwprof.graph import Graph
from hwprof.variants.apply import apply_variant
from hwprof.variants.weights import load_weights, model_with
from hwprof.workloads import build
from hwprof.workloads.lstm import lstm_language_model
from tests.backends.integer.programs import run_kernels

Arrays = dict[str, np.ndarray]


@dataclass(frozen=True)
class Compared:
    """A quantized network as a program, its inputs, and the outputs of float, ONNX Runtime's int8 and the reference."""

    program: Program
    inputs: Arrays
    exact: list[np.ndarray]
    theirs: list[np.ndarray]
    ours: Arrays


def compared(graph: Graph, variant: str, folder) -> Compared:
    small, _ = apply_variant(graph, variant, folder)
    inputs = onnx_io.random_inputs(graph, seed=50)  # the quantizer saw seeds 0 to 7
    program = lowering.lower(small, load_weights(small))

    def run(model: bytes) -> list[np.ndarray]:
        return onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"]).run(None, inputs)

    exact = run(model_with(graph, load_weights(graph)).SerializeToString())
    return Compared(
        program, inputs, exact, run((folder / f"{small.name}.onnx").read_bytes()), reference.run(program, inputs)
    )


@pytest.fixture(scope="module", params=["bert_tiny", "lstm"])
def network(request, tmp_path_factory) -> Compared:
    folder = tmp_path_factory.mktemp("quantized")
    if request.param == "bert_tiny":
        return compared(build("bert_tiny"), "int8", folder)
    return compared(lstm_language_model("lstm", layers=2, hidden=100, steps=12, vocabulary=500), "int8:whole", folder)


def error(y: np.ndarray, exact: np.ndarray) -> float:
    return float(np.sqrt(np.mean((y - exact) ** 2) / np.mean(exact**2)))


def test_its_error_is_that_of_onnx_runtime_s_int8(network):
    for y, theirs, exact in zip(network.ours.values(), network.theirs, network.exact, strict=True):
        assert 0.001 < error(y, exact) < 0.05
        assert error(y, exact) < 1.15 * error(theirs, exact)


def test_every_instruction_set_gives_the_same(network, kernels, instruction_set):
    got = run_kernels(network.program, network.inputs, kernels, instruction_set, threads=2)
    for name, array in network.ours.items():
        np.testing.assert_array_equal(got[name], array)
