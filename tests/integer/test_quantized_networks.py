"""Whole networks, as near to the float ones as ONNX Runtime's own int8.

A transformer is the variant int8, a language model is quantized by hand, since that variant leaves recurrent layers in
float.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from hwprof import onnx_io
from hwprof.graph import Graph
from hwprof.integer.lowering import lowering
from hwprof.integer.program.program import Program
from hwprof.integer.run import reference
from hwprof.variants.apply import apply_variant
from hwprof.variants.weights import Weights, load_weights, model_with
from hwprof.workloads import build
from tests.integer.programs import Quantized, run_kernels
from tests.onnx_oracle import unoptimized

Arrays = dict[str, np.ndarray]
pytestmark = pytest.mark.processor(runtime="onnxruntime")


SEEDS = range(50, 58)  # of the inputs; calibration saw seeds 0 to 7


@dataclass(frozen=True)
class Compared:
    """A quantized network as a program, its inputs, and the outputs of float, ONNX Runtime's int8 and the reference.

    exact, theirs, ours: for each output [n_inputs, *shape]. One input alone says little: a single step of the last
    grid decides which of two exact computations of it is nearer to float.
    """

    program: Program
    inputs: list[Arrays]
    exact: list[np.ndarray]
    theirs: list[np.ndarray]
    ours: list[np.ndarray]


def compared(quantized: Graph, weights: Weights, exact: Graph, exact_weights: Weights) -> Compared:
    inputs = [onnx_io.random_inputs(exact, seed) for seed in SEEDS]
    program = lowering.lower(quantized, weights)

    def run(graph: Graph, arrays: Weights) -> list[np.ndarray]:
        model = model_with(graph, arrays)
        return stacked(unoptimized(model, given) for given in inputs)

    ours = stacked(list(reference.run(program, given).values()) for given in inputs)
    return Compared(program, inputs, run(exact, exact_weights), run(quantized, weights), ours)


def stacked(runs: Iterable[list[np.ndarray]]) -> list[np.ndarray]:
    return [np.stack(of_output) for of_output in zip(*runs, strict=True)]


def transformer(folder: Path) -> Compared:
    exact = build("bert_tiny")
    quantized, _ = apply_variant(exact, "int8", folder)
    return compared(quantized, load_weights(quantized), exact, load_weights(exact))


class Exact(Quantized):
    """The same network without the scales of its activations."""

    def q(self, x: str, scale: float = 0.0, zero: int = 0, dtype: str = "uint8") -> str:
        return x


def language_model(b: Quantized, layers: int = 2, units: int = 60, steps: int = 12, words: int = 300) -> Graph:
    x = b.node("Gather", [b.w((words, units), dtype="uint8"), b.input((steps, 1), "int64")], (steps, 1, units))
    for _ in range(layers):
        weights = [b.w((1, 4 * units, units), scale=0.003), b.w((1, 4 * units, units), scale=0.001)]
        (y,) = b.nodes(
            "LSTM", [x, *weights, b.weight((1, 8 * units))], [("float32", (steps, 1, 1, units))], hidden_size=units
        )  # fmt: skip
        x = b.reshape(b.q(y, scale=1 / 127), (steps, 1, units))
    return b.build(b.q(b.matmul(x, b.w((units, words), scale=0.005)), scale=0.018))


def recurrent_network() -> Compared:
    quantized, exact = language_model(Quantized("lm")), language_model(Exact("lm"))
    weights = load_weights(quantized)
    same = dict(zip((t.name for t in exact.weights), (weights[t.name] for t in quantized.weights), strict=True))
    return compared(quantized, weights, exact, load_weights(exact) | same)


@pytest.fixture(scope="module", params=["transformer", "language model"])
def network(request, tmp_path_factory) -> Compared:
    return transformer(tmp_path_factory.mktemp("int8")) if request.param == "transformer" else recurrent_network()


def error(y: np.ndarray, exact: np.ndarray) -> float:
    return float(np.sqrt(np.mean((y - exact) ** 2) / np.mean(exact**2)))


def test_its_error_is_that_of_onnx_runtime_s_int8(network):
    for y, theirs, exact in zip(network.ours, network.theirs, network.exact, strict=True):
        assert 0.001 < error(y, exact) < 0.05
        assert error(y, exact) < 1.15 * error(theirs, exact)


def test_every_instruction_set_gives_the_same(network, kernels, instruction_set):
    got = run_kernels(network.program, network.inputs[0], kernels, instruction_set, threads=2)
    for array, ours in zip(got.values(), network.ours, strict=True):
        np.testing.assert_array_equal(array, ours[0])
