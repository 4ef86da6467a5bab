"""iRNN's claim (arXiv 2109.09828) on scikit-learn's digits, read row by row."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from hwprof.compress.integer.recurrent import SequenceClassifier
from hwprof.compress.integer.simulation import Simulation, observe
from hwprof.compress.integer.training import FINE_TUNING, FLOAT
from hwprof.integer.lowering import lowering
from hwprof.tasks import Classification
from hwprof.tasks.digits import digits
from hwprof.training import evaluate, fit
from hwprof.variants.weights import load_weights
from tests.integer.programs import run_kernels


@pytest.fixture(scope="module")
def rows():
    """The digits row by row: inputs [n, 8, 8]."""
    parts = [digits().examples(part) for part in ("train", "search", "test")]
    return Classification("rows of digits", *((part.inputs[:, 0], part.targets) for part in parts))


def trained(task, units, epochs):
    torch.manual_seed(0)
    network = SequenceClassifier(steps=8, depth=8, units=units, classes=10)
    fit(network, task, replace(FLOAT, epochs=epochs, rate=2e-2))
    return network


def simulation(network, task):
    return Simulation(network, observe(network, [batch.inputs for batch in task.examples("train").batches(49)]))


def test_digits_in_integers_are_within_a_point_of_float_and_the_kernels_say_the_same(rows, kernels, tmp_path):
    network = trained(rows, units=32, epochs=8)
    in_float = evaluate(network, rows)
    assert in_float > 93
    simulated = simulation(network, rows)
    fit(simulated, rows, FINE_TUNING)
    assert evaluate(simulated, rows) >= in_float - 1
    x = rows.examples("test").inputs
    graph = simulated.export(tmp_path / "int8.onnx", batch=len(x))
    program = lowering.lower(graph, load_weights(graph))
    (scores,) = run_kernels(program, {"x": x.numpy()}, kernels, kernels.available()[0]).values()
    leaving = program.exits[0]
    held = np.rint(scores / np.float32(leaving.scale)).astype(int) + leaving.zero
    np.testing.assert_array_equal(held, simulated.integers(x).numpy())


def test_a_simulation_learns_as_a_network_does(rows):
    simulated = simulation(trained(rows, units=16, epochs=1), rows)
    before = evaluate(simulated, rows)
    fit(simulated, rows, replace(FINE_TUNING, epochs=2, rate=1e-2))
    assert before < 80
    assert evaluate(simulated, rows) > before + 10
