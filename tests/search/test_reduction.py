import numpy as np
import pytest

from hwprof.errors import InputError
from hwprof.search.reduction import Subspace, reduced
from hwprof.search.run import Limit
from hwprof.spaces import sampling
from tests.tiny_space import SPACE

ARCHS = list(sampling.enumerate_archs(SPACE))
DEPTH = np.array([[float(arch[0])] for arch in ARCHS])  # of 4 kinds: four clusters


def by_depth(**changes):
    return reduced(SPACE, ARCHS, DEPTH, lambda arch: float(arch[0]), clusters=4, **changes)


def depth_ms(archs):
    return archs[:, 0] + 1.0


def test_the_cluster_with_the_best_mean_score_is_kept():
    found = by_depth()
    assert {arch[0] for arch in found.kept.archs} == {3}
    assert found.kept.score == 3
    assert sorted(len(cluster.archs) for cluster in found.clusters) == [16] * 4


def test_a_cluster_above_the_latency_is_dropped_before_it_is_scored():
    scored = []

    def score(arch):
        scored.append(arch)
        return float(arch[0])

    found = reduced(SPACE, ARCHS, DEPTH, score, clusters=4, members=2, limit=Limit(depth_ms, 2.0))
    assert {arch[0] for arch in scored} == {0, 1}
    assert len(scored) == 4
    assert {arch[0] for arch in found.kept.archs} == {1}
    told = sorted((cluster.feasible, cluster.score is None) for cluster in found.clusters)
    assert told == [(0, True), (0, True), (1, False), (1, False)]


def test_a_latency_that_nothing_meets_says_the_least():
    with pytest.raises(InputError, match=r"within 0.5 ms; the least latency found is 1 ms"):
        by_depth(limit=Limit(depth_ms, 0.5))


def test_more_clusters_than_architectures_are_refused():
    with pytest.raises(InputError, match="9 clusters"):
        reduced(SPACE, ARCHS[:8], DEPTH[:8], lambda _arch: 0.0, clusters=9)


def test_a_smaller_space_is_searched_as_any_other():
    """Its members alone are listed, drawn and proposed."""
    members = [(0, 0, 0, 0), (3, 3, 1, 1), (3, 3, 1, 0)]
    space = Subspace(SPACE, members)
    assert list(sampling.enumerate_archs(space)) == sorted(members)
    assert space.repair((3, 2, 1, 1)) == (3, 3, 1, 1)
    assert set(sampling.random_archs(space, 3, np.random.default_rng(0))) == set(members)
    assert space.graph((0, 0, 0, 0)) == SPACE.graph((0, 0, 0, 0))


def test_an_empty_list_is_no_space():
    with pytest.raises(InputError, match="the list is empty"):
        Subspace(SPACE, [])
