import numpy as np

from hwprof.search.unseen import Unseen
from hwprof.spaces import sampling
from tests.tiny_space import SPACE


class Large:
    choices = (10,) * 8


def test_a_small_space_is_given_out_whole_and_once():
    unseen = Unseen(SPACE, np.random.default_rng(0))
    given = [arch for _ in range(10) for arch in unseen.random(7)]
    assert sorted(given) == sorted(sampling.enumerate_archs(SPACE))


def test_what_is_given_back_comes_again():
    unseen = Unseen(SPACE, np.random.default_rng(0))
    (*others, last) = unseen.random(sampling.size(SPACE))
    unseen.give_back([last])
    assert unseen.random(2) == [last]
    assert len(others) == sampling.size(SPACE) - 1


def test_a_draw_that_returns_the_same_again_and_again_ends():
    assert Unseen(SPACE, np.random.default_rng(0)).drawn(3, lambda: (0, 0, 0, 0)) == [(0, 0, 0, 0)]


def test_a_large_space_is_drawn_from_without_listing_it():
    given = Unseen(Large(), np.random.default_rng(0)).random(50)
    assert len(set(given)) == 50
