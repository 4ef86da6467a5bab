import pytest

from hwprof.errors import InputError
from hwprof.interfaces import Trial
from hwprof.search.evolution import Evolution, rank
from tests.tiny_space import SPACE


def edits(a, b) -> int:
    return sum(x != y for x, y in zip(a, b, strict=True))


def test_a_full_population_has_children_one_edit_away():
    search = Evolution(SPACE, population=4, tournament=2)
    parents = search.ask(4)
    search.tell([Trial(arch, 1.0, 1.0) for arch in parents])
    assert all(min(edits(child, parent) for parent in parents) == 1 for child in search.ask(4))


def test_the_oldest_dies_even_if_it_is_the_best():
    search = Evolution(SPACE, population=1, tournament=1)
    old, young = (0, 0, 0, 0), (3, 3, 1, 1)
    search.tell([Trial(old, 9.0, 1.0), Trial(young, 1.0, 1.0)])
    assert all(edits(child, young) == 1 for child in search.ask(3))


def test_where_all_were_refused_half_of_the_next_are_children_of_the_fastest():
    search = Evolution(SPACE, population=4, tournament=4)
    archs = [(0, 0, 0, 0), (3, 3, 1, 1), (2, 3, 1, 0), (3, 2, 0, 1)]
    search.tell([Trial(arch, None, 1.0 + sum(arch)) for arch in archs])
    assert [edits(child, archs[0]) for child in search.ask(8)[:4]] == [1, 1, 1, 1]


def test_a_refused_network_ranks_after_any_other_and_by_its_latency():
    good, bad = Trial((0,), 2.0, 9.0), Trial((1,), 1.0, 1.0)
    slow, slower = Trial((2,), None, 10.0), Trial((3,), None, 11.0)
    assert sorted([slower, bad, slow, good], key=rank) == [good, bad, slow, slower]


@pytest.mark.parametrize(("population", "tournament"), [(3, 4), (3, 0)])
def test_a_tournament_that_the_population_cannot_hold_is_refused(population, tournament):
    with pytest.raises(InputError, match="needs a population of at least as many"):
        Evolution(SPACE, population=population, tournament=tournament)
