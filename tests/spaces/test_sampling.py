import itertools
from collections import Counter
from dataclasses import dataclass

import numpy as np
import pytest

from hwprof.builder import GraphBuilder
from hwprof.errors import InputError
from hwprof.spaces import sampling
from hwprof.spaces.darts import SPACE as DARTS
from hwprof.spaces.ofa_mbv3 import SPACE as OFA


@dataclass
class Plain:
    choices: tuple[int, ...]

    def graph(self, arch):
        b = GraphBuilder("toy")
        x = b.input((1, 1 + sum(arch)))
        return b.build(b.relu(x))


class Ascending(Plain):
    """Only architectures whose choices ascend are to be measured."""

    def repair(self, arch, rng=None):
        return tuple(sorted(arch))


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def test_all_architectures_of_a_small_space_are_listed_in_order():
    assert list(sampling.enumerate_archs(Plain((2, 1, 2)))) == [(0, 0, 0), (0, 0, 1), (1, 0, 0), (1, 0, 1)]
    assert list(sampling.enumerate_archs(Ascending((2, 2)))) == [(0, 0), (0, 1), (1, 1)]


@pytest.mark.parametrize("space", [Plain((3, 4)), Plain((7,) * 30), DARTS, OFA])
def test_random_architectures_are_different_and_repaired(space, rng):
    archs = sampling.random_archs(space, 10, rng)
    assert len(set(archs)) == 10
    assert all(sampling.repaired(space, arch, rng) == arch for arch in archs)
    assert all(type(choice) is int for arch in archs for choice in arch)


def test_the_seed_decides_what_is_drawn():
    space = Plain((7,) * 30)
    first, second, other = (sampling.random_archs(space, 3, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert first == second != other


def test_a_small_space_can_be_drawn_whole_but_not_more(rng):
    assert set(sampling.random_archs(Plain((2, 3)), 6, rng)) == set(itertools.product(range(2), range(3)))
    with pytest.raises(InputError, match="the space has 6 architectures, 7 were asked for"):
        sampling.random_archs(Plain((2, 3)), 7, rng)


def test_a_large_space_with_few_architectures_is_given_up(rng):
    class Single(Plain):
        def repair(self, arch, rng=None):
            return (0,) * len(arch)

    with pytest.raises(InputError, match="only 1 different architectures were found, 2 were asked for"):
        sampling.random_archs(Single((10,) * 6), 2, rng)


def test_a_stratified_sample_has_every_choice_equally_often(rng):
    space = Plain((3, 4, 2))
    archs = sampling.stratified(space, 12, rng)
    assert len(set(archs)) == 12
    large = sampling.stratified(Plain((3, 4, 6, 2) * 3), 12, rng)
    for position, options in enumerate((3, 4, 6, 2) * 3):
        assert Counter(arch[position] for arch in large) == dict.fromkeys(range(options), 12 // options)


def test_a_mutation_changes_as_many_positions_as_asked(rng):
    space = Plain((3, 1, 2, 5))
    for edits in (1, 2, 3):
        mutant = sampling.mutate(space, (0, 0, 1, 4), rng, edits)
        assert sum(a != b for a, b in zip(mutant, (0, 0, 1, 4), strict=True)) == edits


def test_mutations_reach_every_neighbour(rng):
    space = Plain((3, 1, 2))
    mutants = {sampling.mutate(space, (1, 0, 1), rng) for _ in range(100)}
    assert mutants == set(sampling.neighbours(space, (1, 0, 1))) == {(0, 0, 1), (2, 0, 1), (1, 0, 0)}


def test_a_mutation_is_repaired_and_different(rng):
    arch = sampling.random_archs(DARTS, 1, rng)[0]
    for _ in range(20):
        mutant = sampling.mutate(DARTS, arch, rng)
        assert mutant != arch
        assert sampling.repaired(DARTS, mutant, rng) == mutant


@pytest.mark.parametrize("edits", [0, 3])
def test_more_edits_than_positions_are_refused(edits, rng):
    with pytest.raises(InputError, match=f"{edits} edits were asked for; the space has 2 positions"):
        sampling.mutate(Plain((2, 1, 2)), (0, 0, 0), rng, edits)


def test_an_architecture_that_repair_always_restores_cannot_be_mutated(rng):
    class Single(Plain):
        def repair(self, arch, rng=None):
            return (0,) * len(arch)

    with pytest.raises(InputError, match="no architecture differs"):
        sampling.mutate(Single((2, 2)), (0, 0), rng)


def test_a_child_has_each_choice_from_a_parent(rng):
    children = {sampling.crossover(Plain((2, 2)), (0, 0), (1, 1), rng) for _ in range(50)}
    assert children == {(0, 0), (0, 1), (1, 0), (1, 1)}


def test_neighbours_need_no_repair():
    assert sampling.neighbours(Ascending((3, 3)), (1, 1)) == [(0, 1), (1, 2)]


def test_d_optimal_rows_are_the_corners_of_the_design():
    # the best two rows for a slope and an intercept are the two ends; the third is an end again, not the middle
    features = np.array([[1.0, x] for x in (0.0, 0.4, 0.5, 0.6, 1.0)])
    chosen = sampling.d_optimal(features, 2, np.random.default_rng(0))
    assert set(chosen) == {0, 4}


def test_d_optimal_beats_random_rows(rng):
    features = rng.normal(size=(200, 6))

    def determinant(rows):
        return np.linalg.slogdet(features[rows].T @ features[rows])[1]

    best_random = max(determinant(rng.choice(200, 12, replace=False)) for _ in range(50))
    assert determinant(sampling.d_optimal(features, 12, rng)) > best_random


def test_what_is_measured_already_is_not_chosen_again():
    features = np.eye(3)
    given = features[[0, 1]]
    assert sampling.d_optimal(features, 1, np.random.default_rng(0), given).tolist() == [2]


def test_chosen_rows_differ_even_where_features_repeat(rng):
    assert sorted(sampling.d_optimal(np.ones((5, 2)), 5, rng)) == [0, 1, 2, 3, 4]


def test_the_unit_of_a_feature_does_not_matter():
    features = np.random.default_rng(0).normal(size=(50, 3))
    plain, scaled = (
        sampling.d_optimal(features * unit, 6, np.random.default_rng(1)).tolist() for unit in (1, [1e-6, 1.0, 1e9])
    )
    assert plain == scaled


def test_too_few_candidates_and_undefined_features_are_refused(rng):
    with pytest.raises(InputError, match="4 networks cannot be chosen from 3 candidates"):
        sampling.d_optimal(np.eye(3), 4, rng)
    with pytest.raises(InputError, match="not finite"):
        sampling.d_optimal(np.array([[np.nan]]), 1, rng)


def test_the_most_disputed_candidate_is_the_one_with_the_largest_relative_spread():
    predictions_ms = np.array([[10.0, 1.0, 5.0], [11.0, 2.0, 5.0]])
    assert sampling.most_disputed(predictions_ms, 2).tolist() == [1, 0]
