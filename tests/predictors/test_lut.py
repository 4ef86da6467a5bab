import numpy as np
import pytest

from hwprof.errors import InputError
from hwprof.predictors.lut import LutPredictor

COSTS = np.array([[0.0, 1.0, 2.0], [0.0, 0.0, 4.0], [0.0, 0.5, 0.5], [0.0, 3.0, 1.0]])


def latency_ms(arch):
    return 10 + sum(COSTS[position, choice] for position, choice in enumerate(arch))


def test_an_additive_device_is_learned_exactly(architectures):
    ms = [latency_ms(arch) for arch in architectures]
    predictor = LutPredictor().fit(architectures[:40], ms[:40])
    assert predictor.predict(architectures[40:]) == pytest.approx(ms[40:], rel=1e-3)


def test_the_table_holds_the_differences_between_choices(architectures):
    predictor = LutPredictor().fit(architectures, [latency_ms(arch) for arch in architectures])
    for learned, true in zip(predictor.costs_ms_, COSTS, strict=True):
        assert learned - learned[0] == pytest.approx(true, abs=0.01)


def test_fewer_networks_than_free_entries_are_refused(architectures):
    with pytest.raises(InputError, match="8 samples are too few for this predictor; it needs at least 9"):
        LutPredictor().fit(architectures[:8], [latency_ms(arch) for arch in architectures[:8]])


def test_an_architecture_of_another_space_is_refused(architectures):
    predictor = LutPredictor().fit(architectures, [latency_ms(arch) for arch in architectures])
    with pytest.raises(InputError, match="row 0 has 3 positions; this space has 4"):
        predictor.predict([(0, 1, 2)])
