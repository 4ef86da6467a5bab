"""iRNN's claim on scikit-learn's digits, read row by row, and what training refuses."""

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from torch.utils.data import DataLoader, TensorDataset

from hwprof.compress.integer.recurrent import SequenceClassifier
from hwprof.compress.integer.simulation import Simulation, observe
from hwprof.compress.integer.training import FINE_TUNING, TrainSettings, accuracy, train
from hwprof.errors import InputError
from hwprof.integer.lowering import lowering
from hwprof.variants.weights import load_weights
from tests.integer.programs import run_kernels


@pytest.fixture(scope="module")
def digits():
    """Loaders of 1400 digits to train and 397 to test."""
    data = load_digits()
    order = np.random.default_rng(0).permutation(len(data.target))
    images, labels = (
        torch.from_numpy((data.images[order] / 16).astype(np.float32)),
        torch.from_numpy(data.target[order]),
    )
    training, test = TensorDataset(images[:1400], labels[:1400]), TensorDataset(images[1400:], labels[1400:])
    shuffled = torch.Generator().manual_seed(0)
    return DataLoader(training, 50, shuffle=True, generator=shuffled), DataLoader(test, len(test))


def test_digits_in_integers_are_within_a_point_of_float_and_the_kernels_say_the_same(digits, kernels, tmp_path):
    training, test = digits
    torch.manual_seed(0)
    network = SequenceClassifier(steps=8, depth=8, units=32, classes=10)
    train(network, training, TrainSettings(epochs=8, rate=2e-2))
    in_float = accuracy(network, test)
    assert in_float > 0.93
    simulated = Simulation(network, observe(network, [x for x, _ in training]))
    train(simulated, training, FINE_TUNING)
    assert accuracy(simulated, test) >= in_float - 0.01
    (x, _), *_ = test
    graph = simulated.export(tmp_path / "int8.onnx", batch=len(x))
    program = lowering.lower(graph, load_weights(graph))
    (scores,) = run_kernels(program, {"x": x.numpy()}, kernels, kernels.available()[0]).values()
    leaving = program.exits[0]
    held = np.rint(scores / np.float32(leaving.scale)).astype(int) + leaving.zero
    np.testing.assert_array_equal(held, simulated.integers(x).numpy())


def test_a_simulation_learns_as_a_network_does(digits):
    training, test = digits
    torch.manual_seed(0)
    network = SequenceClassifier(steps=8, depth=8, units=16, classes=10)
    train(network, training, TrainSettings(epochs=1, rate=2e-2))
    simulated = Simulation(network, observe(network, [x for x, _ in training]))
    before = accuracy(simulated, test)
    train(simulated, training, TrainSettings(epochs=2, rate=1e-2))
    assert before < 0.8
    assert accuracy(simulated, test) > before + 0.1


def test_nothing_to_train_or_to_judge_on_is_refused():
    network = SequenceClassifier(steps=2, depth=2, units=2, classes=2)
    with pytest.raises(InputError, match="no batch"):
        train(network, [])
    with pytest.raises(InputError, match="no example"):
        accuracy(network, [])


def test_a_loss_that_is_not_finite_is_refused():
    network = SequenceClassifier(steps=2, depth=2, units=2, classes=2)
    broken = torch.full((1, 2, 2), torch.nan)
    with pytest.raises(InputError, match="not finite"):
        train(network, [(broken, torch.zeros(1, dtype=torch.int64))])
