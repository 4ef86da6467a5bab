import numpy as np
import pytest

from hwprof.errors import InputError
from hwprof.search.random import RandomSearch
from hwprof.testing import check_search


class TooMany(RandomSearch):
    def ask(self, n):
        return super().ask(n + 1)


class OutsideOfTheSpace(RandomSearch):
    def ask(self, n):
        return [(9, *arch[1:]) for arch in super().ask(n)]


class Unseeded(RandomSearch):
    def __init__(self, space, seed=0):
        super().__init__(space, int(np.random.default_rng().integers(2**32)))


class OneSeed(RandomSearch):
    def __init__(self, space, seed=0):
        super().__init__(space)


class Silent(RandomSearch):
    def ask(self, n):
        return []


class Picky(RandomSearch):
    def __init__(self, space, seed=0):
        if max(space.choices) == 1:
            raise InputError("there is nothing to choose")
        super().__init__(space, seed)


@pytest.mark.parametrize("make", [RandomSearch, Picky])
def test_a_sound_search_passes(make):
    check_search(make)


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (TooMany, "asked for 4 architectures, it gave 5"),
        (Unseeded, "with the same seed it asks for others"),
        (OneSeed, "its seed changes nothing"),
        (Silent, "it asks for nothing"),
    ],
)
def test_a_broken_rule_is_named(make, reason):
    with pytest.raises(AssertionError, match=reason):
        check_search(make)


def test_an_architecture_outside_of_the_space_is_found():
    with pytest.raises(InputError, match="position 0 is 9"):
        check_search(OutsideOfTheSpace)
