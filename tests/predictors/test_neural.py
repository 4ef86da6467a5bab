import numpy as np
import pytest
import torch

from hwprof.predictors.base import LATENCY, SCORE
from hwprof.predictors.neural import Units


@pytest.mark.parametrize("target", [LATENCY, SCORE], ids=lambda target: target.name)
def test_values_survive_the_units_and_the_units_a_file(target):
    values = np.array([1.0, 3.0, 8.0])
    units = Units.of(values, target)
    assert Units.from_settings(units.settings()) == units
    assert units.from_units(units.to_units(values)) == pytest.approx(values, rel=1e-6)


def test_a_latency_stays_positive_and_a_score_need_not():
    values = np.array([1.0, 3.0])
    assert Units.of(values, LATENCY).from_units(torch.tensor([-5.0])) > 0
    assert Units.of(values, SCORE).from_units(torch.tensor([-5.0])) == -3  # the mean is 2 and the spread is 1


def test_the_loss_of_a_latency_is_relative_and_that_of_a_score_is_not():
    latency, score = (Units.of(np.array([1.0, 3.0]), target) for target in (LATENCY, SCORE))
    once, twice = (torch.tensor([1.0]), torch.tensor([1.2])), (torch.tensor([2.0]), torch.tensor([2.4]))
    assert float(latency.loss(*once)) == pytest.approx(float(latency.loss(*twice)))
    assert float(score.loss(*twice)) == pytest.approx(4 * float(score.loss(*once)))
