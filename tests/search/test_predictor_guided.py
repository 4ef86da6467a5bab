import numpy as np
import pytest

from hwprof.errors import InputError
from hwprof.interfaces import Trial
from hwprof.search.feasibility import Feasibility
from hwprof.search.predictor_guided import PredictorSearch, sample_efficiency_gain
from hwprof.spaces import sampling
from tests.tiny_space import SPACE


class Large:
    choices = (10,) * 8


def told(search, asked):
    search.tell([Trial(arch, float(sum(arch)), 1.0) for arch in asked])


def test_the_full_pool_proposes_the_networks_with_the_highest_predictions():
    search = PredictorSearch(SPACE, pool="full", initial=16)
    seen = search.ask(16)
    told(search, seen)
    unseen = sorted((sum(arch) for arch in sampling.enumerate_archs(SPACE) if arch not in seen), reverse=True)
    assert np.mean([sum(arch) for arch in search.ask(8)]) > np.mean(unseen[:24])


def test_neighbours_are_few_edits_away_from_a_good_network():
    search = PredictorSearch(Large(), pool="neighbours", initial=16)
    seen = search.ask(16)
    told(search, seen)
    best = sorted(seen, key=sum)[-5:]
    asked = search.ask(8)
    assert all(min(sum(a != b for a, b in zip(arch, known, strict=True)) for known in best) <= 2 for arch in asked)


@pytest.mark.parametrize("pool", ["full", "random", "neighbours"])
def test_nothing_is_proposed_twice_until_the_space_is_spent(pool):
    search = PredictorSearch(SPACE, pool=pool, subset=20, initial=8)
    asked = []
    while batch := search.ask(8):
        told(search, batch)
        asked += batch
    assert len(asked) == len(set(asked)) == sampling.size(SPACE)


def test_a_space_that_cannot_be_listed_is_refused_for_the_full_pool():
    with pytest.raises(InputError, match=r"the pool 'full' lists the space, which has 1e\+08 architectures"):
        PredictorSearch(Large(), pool="full")


def test_an_unknown_pool_is_refused():
    with pytest.raises(InputError, match="no pool is named 'big'; known: full, random, neighbours"):
        PredictorSearch(SPACE, pool="big")


def test_the_gain_of_random_search_is_one():
    assert sample_efficiency_gain([5, 5], space_size=9, targets=1) == 1
    assert sample_efficiency_gain([1, 4], space_size=9, targets=1) == 2


def test_a_gain_without_evaluations_is_refused():
    with pytest.raises(InputError, match="1 to 9 targets; 10 were given"):
        sample_efficiency_gain([1], space_size=9, targets=10)


def test_slow_networks_are_unlikely_after_some_were_refused():
    feasibility = Feasibility(Large.choices)
    archs = [tuple(int(c) for c in row) for row in np.random.default_rng(0).integers(10, size=(60, 8))]
    limit_ms = 40.0
    ms = [1.0 + sum(arch) for arch in archs]
    assert feasibility.likely(archs).all()
    feasibility.tell([Trial(a, 0.0 if m <= limit_ms else None, m) for a, m in zip(archs, ms, strict=True)])
    assert feasibility.likely([(0,) * 8, (9,) * 8]).tolist() == [True, False]
