import pytest

from hwprof.search.random import RandomSearch
from tests.tiny_space import SPACE


def test_it_draws_each_architecture_once_until_the_space_ends():
    search = RandomSearch(SPACE, seed=0)
    drawn = [arch for _ in range(40) for arch in search.ask(3)]
    assert len(drawn) == len(set(drawn)) > 10
    assert search.ask(3) == []


@pytest.mark.parametrize("seed", [0, 1])
def test_the_seed_decides_what_it_draws(seed):
    assert RandomSearch(SPACE, seed).ask(5) == RandomSearch(SPACE, seed).ask(5)
    assert RandomSearch(SPACE, seed).ask(5) != RandomSearch(SPACE, seed + 1).ask(5)
