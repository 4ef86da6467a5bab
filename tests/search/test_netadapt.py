import numpy as np
import pytest

from hwprof.errors import InputError
from hwprof.search.netadapt import MultiLayerDescent
from hwprof.search.run import Limit, Plan, run
from tests.tiny_space import SPACE


class Layers:
    """Eight layers with five widths each."""

    choices = (5,) * 8


def latency_ms(archs):
    """Early layers cost most; two neighbours of the same width are faster together, which no table tells."""
    widths = archs + 1.0
    alone = widths @ np.linspace(2.0, 0.5, 8)
    return 1.0 + alone - 0.3 * (archs[:, 1:] == archs[:, :-1]).sum(axis=1)


def score(seed):
    """As a supernet's: every layer has an importance, and a layer that is narrow between wide ones hurts."""
    rng = np.random.default_rng(seed)
    importance, harm = rng.uniform(0.2, 2.0, 8), rng.uniform(0.0, 0.5, 7)

    def value(arch):
        widths = (np.array(arch) + 1) / 5
        return float(importance @ np.sqrt(widths) - harm @ np.abs(np.diff(widths)))

    return value


def test_every_step_meets_its_budget_by_the_latency_that_was_told():
    search = MultiLayerDescent(Layers(), seed=1, target_ms=14.0)
    searched = run(search, score(0), Limit(latency_ms), Plan(120))
    descents = [ms for ms, _ in search.steps if ms > 14.0]
    assert len(descents) >= 4
    assert descents == sorted(descents, reverse=True)
    for budget_ms, trial in search.steps:
        assert latency_ms(np.array([trial.arch]))[0] == pytest.approx(trial.latency_ms)
        assert trial.latency_ms <= budget_ms
    assert {trial.arch for _, trial in search.steps} <= {trial.arch for trial in searched.trials}


def test_the_descent_starts_at_the_slowest_network():
    search = MultiLayerDescent(Layers(), step=0.2)
    run(search, score(0), Limit(latency_ms), Plan(40))
    first_ms = search.steps[0][0] / 0.8
    assert first_ms == latency_ms(np.array([(4,) * 8]))[0]


def test_several_layers_at_once_are_at_least_as_good_as_one_at_equal_evaluations():
    """In most seeds; on supernets see tests/benchmarks/search_real.py."""

    def best(layers, seed):
        search = MultiLayerDescent(Layers(), seed, layers=layers, target_ms=14.0)
        trials = run(search, score(0), Limit(latency_ms), Plan(80)).trials
        return max(trial.score for trial in trials if trial.latency_ms <= 14.0)

    assert sum(best(3, seed) >= best(1, seed) for seed in range(5)) >= 3


def test_where_networks_above_the_limit_are_refused_it_arrives_within_the_limit():
    searched = run(MultiLayerDescent(Layers()), score(0), Limit(latency_ms, 18.0), Plan(60))
    random = np.random.default_rng(0).integers(0, 5, (500, 8))
    value = score(0)
    fitting = [value(arch) for arch in random[latency_ms(random) <= 18.0]]
    assert searched.best()[0].score > np.quantile(fitting, 0.95)


@pytest.mark.parametrize("numbers", [{"layers": 0}, {"candidates": 0}, {"step": 0.0}, {"step": 1.0}])
def test_numbers_that_make_no_step_are_refused(numbers):
    with pytest.raises(InputError, match="a descent needs at least one layer"):
        MultiLayerDescent(SPACE, **numbers)
