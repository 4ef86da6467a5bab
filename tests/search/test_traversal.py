import numpy as np
import pytest

from hwprof.errors import InputError
from hwprof.interfaces import Trial
from hwprof.search.run import Limit, Plan, run
from hwprof.search.traversal import GroupTraversal


class Precisions:
    """Six layers in three groups; choices: as before, int8, binary."""

    choices = (3,) * 6
    groups = ((0, 1), (2, 3), (4, 5))


FASTER = np.array([[0.0, -2.0, -3.0], [0.0, 1.0, 2.0], [0.0, -1.0, -4.0]])  # binary layers in the middle are slower
LOSS = np.array([[0.0, 0.1, 0.2], [0.0, 0.0, 0.0], [0.0, 0.3, 40.0]])


def latency_ms(archs):
    return 20.0 + sum(FASTER[place // 2][archs[:, place]] for place in range(6))


def accuracy(arch):
    return 90.0 - sum(LOSS[place // 2][choice] for place, choice in enumerate(arch))


def traversed(evaluations=9, limit_ms=np.inf, initial=0, **settings):
    search = GroupTraversal(Precisions(), initial=initial, **settings)
    return search, run(search, accuracy, Limit(latency_ms, limit_ms), Plan(evaluations))


def test_layers_of_a_group_change_together_and_the_fastest_that_loses_little_is_kept():
    search, searched = traversed()
    assert [trial.arch for trial in search.kept] == [(2, 2, 0, 0, 0, 0), (2, 2, 0, 0, 1, 1)]
    assert all(arch[0::2] == arch[1::2] for arch in (trial.arch for trial in searched.trials))


def test_a_change_that_is_measured_as_slower_is_never_kept():
    """With latencies at random, so that many changes are slower."""
    rng = np.random.default_rng(0)
    measured = {}

    def noisy_ms(archs):
        return np.array([measured.setdefault(tuple(arch), rng.uniform(1, 2)) for arch in archs.tolist()])

    for seed in range(5):
        search = GroupTraversal(Precisions(), seed, groups=[[i] for i in range(6)])
        run(search, lambda arch: 1.0, Limit(noisy_ms), Plan(200))
        assert len(search.kept) > 3
        assert all(measured[after.arch] <= measured[before.arch] for before, after in search.changes)


def test_the_first_traversal_starts_at_a_random_network_that_is_more_accurate_than_the_corner():
    search = GroupTraversal(Precisions(), initial=6)
    opening = search.ask(99)
    best = opening[4]
    search.tell([Trial(arch, 90.0 if arch == best else 10.0, 20.0 - sum(arch)) for arch in opening])
    assert len(opening) == 8
    assert {arch[2:] for arch in search.ask(99)} == {best[2:]}  # the first group is tried with each choice


def test_later_traversals_start_at_the_most_accurate_network_that_none_has_passed():
    search, searched = traversed(evaluations=40)
    starts = [before for before, _ in search.changes if before not in search.kept][1:]
    assert starts
    passed = {trial.arch for change in search.changes for trial in change}
    left = [trial.score for trial in searched.trials if trial.arch not in passed]
    assert starts[0].score >= max(left)


def test_a_larger_tolerance_trades_more_accuracy_for_speed():
    search, _ = traversed(tolerance=1.0)
    assert search.kept[-1].arch == (2, 2, 0, 0, 2, 2)


def test_a_network_that_is_refused_becomes_faster_until_it_fits():
    search, searched = traversed(evaluations=3, limit_ms=15.0)
    assert search.kept[0].latency_ms == 14.0
    assert searched.best()[0].latency_ms <= 15.0


def test_groups_that_miss_a_layer_are_refused():
    with pytest.raises(InputError, match="each of the 6 positions must be in one group"):
        GroupTraversal(Precisions(), groups=[(0, 1), (2, 3), (4,)])


def test_groups_of_different_choices_are_refused():
    class Uneven:
        choices = (2, 3)

    with pytest.raises(InputError, match=r"the positions \(0, 1\) have different numbers of choices"):
        GroupTraversal(Uneven(), groups=[(0, 1)])
