from hwprof.interfaces import Trial
from hwprof.search.reinforce import Reinforce


class Two:
    choices = (2, 2)


def test_the_policy_moves_to_the_choice_with_the_larger_reward():
    search = Reinforce(Two())
    for _ in range(60):
        search.tell([Trial(arch, float(arch[0]), 1.0) for arch in search.ask(4)])
    first, second = search.probabilities()
    assert first[1] > 0.9
    assert 0.1 < second[1] < 0.9


def test_refused_networks_teach_nothing():
    scored = [Trial((0, 0), 1.0, 1.0), Trial((1, 1), 3.0, 1.0)]
    alone, among_refused = Reinforce(Two()), Reinforce(Two())
    alone.tell(scored)
    among_refused.tell([scored[0], Trial((0, 1), None, 9.0), scored[1], Trial((1, 0), None, 9.0)])
    for expected, found in zip(alone.probabilities(), among_refused.probabilities(), strict=True):
        assert found.tolist() == expected.tolist() != [0.5, 0.5]


def test_equal_rewards_change_nothing():
    search = Reinforce(Two())
    search.tell([Trial((0, 0), 1.0, 1.0), Trial((1, 1), 1.0, 1.0)])
    assert all(p.tolist() == [0.5, 0.5] for p in search.probabilities())


class Large:
    choices = (4,) * 5


def test_only_new_networks_are_drawn_until_the_space_is_spent():
    """The policy hardens on the first choice of each position."""
    search, asked = Reinforce(Large()), []
    for _ in range(60):
        batch = search.ask(8)
        search.tell([Trial(arch, -float(sum(arch)), 1.0) for arch in batch])
        asked += batch
    assert len(set(asked)) == len(asked) == 480
    assert all(p[0] > 0.5 for p in search.probabilities())
