import numpy as np
import pytest

from hwprof.search.feasibility import one_hot
from hwprof.search.rank_process import RankProcess, normal_quantiles

CHOICES = (4, 4, 4)
ARCHS = [(a, b, c) for a in range(4) for b in range(4) for c in range(4)]


def test_quantiles_are_those_of_the_ranks_and_equal_scores_share_one():
    assert normal_quantiles(np.array([5.0, 1.0, 100.0])) == pytest.approx([0.0, -0.967, 0.967], abs=1e-3)
    assert normal_quantiles(np.array([2.0, 1.0, 2.0])).tolist()[0] == normal_quantiles(np.array([2.0, 1.0, 2.0]))[2]


def test_the_process_ranks_networks_that_it_has_not_seen():
    scores = np.array([float(a * b + c) for a, b, c in ARCHS])
    known = np.random.default_rng(0).permutation(len(ARCHS))[:40]
    others = np.setdiff1d(np.arange(len(ARCHS)), known)
    codes = one_hot(CHOICES, ARCHS)
    predicted = RankProcess().fit(codes[known], scores[known]).predict(codes[others])
    assert np.corrcoef(predicted, scores[others])[0, 1] > 0.8


def test_equal_scores_are_no_error():
    codes = one_hot(CHOICES, ARCHS[:5])
    assert np.isfinite(RankProcess().fit(codes, np.ones(5)).predict(codes)).all()
