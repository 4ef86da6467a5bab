import numpy as np
import pytest
import torch

from hwprof import metrics
from hwprof.predictors import files
from hwprof.predictors.mlp import MlpPredictor


def latency_ms(arch):
    return 10 + 3 * arch[0] + 4 * arch[1] * (arch[2] > 0)


@pytest.fixture(scope="module")
def fitted(architectures):
    ms = [latency_ms(arch) for arch in architectures[:60]]
    return MlpPredictor(hidden=(32, 32), steps=1000).fit(architectures[:60], ms)


def test_a_device_that_is_not_additive_is_learned(fitted, architectures):
    truth = np.array([latency_ms(arch) for arch in architectures[60:]])
    assert metrics.mape(truth, fitted.predict(architectures[60:])) < 5


def test_the_output_at_probabilities_is_the_mean_over_architectures(fitted):
    rng = np.random.default_rng(0)
    probabilities = [torch.softmax(torch.as_tensor(rng.normal(size=3), dtype=torch.float32), 0) for _ in range(4)]
    drawn = np.stack([rng.choice(3, 4000, p=p.double().numpy() / p.double().sum().item()) for p in probabilities], 1)
    expected = float(fitted.expected_ms(torch.cat(probabilities)).detach())
    assert expected == pytest.approx(fitted.predict(drawn).mean(), rel=0.02)


def test_the_expected_latency_has_a_gradient(fitted):
    probabilities = torch.full((12,), 1 / 3, requires_grad=True)
    fitted.expected_ms(probabilities).backward()
    assert probabilities.grad[5] > probabilities.grad[3]  # choice 2 of position 1 is slower than choice 0


def test_the_same_seed_gives_the_same_network_and_leaves_the_callers_randomness(architectures):
    ms = [latency_ms(arch) for arch in architectures]
    state = torch.random.get_rng_state()
    first, second = (MlpPredictor(hidden=(8,), steps=20).fit(architectures, ms) for _ in range(2))
    assert np.array_equal(first.predict(architectures), second.predict(architectures))
    assert torch.equal(torch.random.get_rng_state(), state)


def test_a_file_brings_the_network_back(fitted, architectures, tmp_path):
    files.save(fitted, tmp_path / "x.hwp")
    assert files.load(tmp_path / "x.hwp").predict(architectures) == pytest.approx(fitted.predict(architectures))
