import pytest

from hwprof.data.result import Met, Target
from hwprof.errors import InputError
from hwprof.interfaces import Trial
from hwprof.search.finalists import measured, winner
from hwprof.search.run import Searched
from tests.results import compared, make_result
from tests.tiny_space import SPACE

TRIALS = tuple(Trial((0, channels, 0, unused), float(channels), 1.0) for unused in (0, 1) for channels in range(4))
SEARCHED = Searched(TRIALS, refused=0)


class Device:
    """Measures the given latencies, ms, in the order in which the networks are given to it."""

    def __init__(self, *ms: float):
        self._ms = list(ms)
        self.groups = []

    def __call__(self, graphs):
        self.groups.append([graph.digest for graph in graphs])
        return [compared(self._ms.pop(0)) for _ in graphs[1:]]


def describe(trial, graph, comparison):
    return make_result(
        metric=trial.score, digest=graph.digest, measured={"d": comparison}, target=Target("d", 6.0),
        choices={"arch": list(trial.arch)},
    )  # fmt: skip


def test_the_winner_is_the_best_score_whose_measured_latency_fits():
    results = measured(SEARCHED, SPACE, Device(9.0, 5.0, 4.0), describe, at_once=3)
    assert [result.met for result in results] == [Met.NO, Met.YES, Met.YES]
    assert winner(results) is results[1]


def test_finalists_are_measured_with_the_first_network_that_was_scored():
    device = Device(5.0, 5.0)
    measured(SEARCHED, SPACE, device, describe, at_once=2)
    (group,) = device.groups
    assert group[0] == SPACE.graph(TRIALS[0].arch).digest
    assert group[1] == SPACE.graph((0, 3, 0, 0)).digest


def test_where_none_fits_the_next_ones_are_measured():
    device = Device(9.0, 9.0, 9.0, 5.0)
    results = measured(SEARCHED, SPACE, device, describe, at_once=2)
    assert len(device.groups) == 2
    assert winner(results) is results[3]


def test_there_is_no_winner_where_no_measured_network_fits_for_certain():
    results = measured(SEARCHED, SPACE, Device(*[9.0, 6.0] * 4), describe, at_once=2, most_rounds=4)
    assert {result.met for result in results} == {Met.NO, Met.CANNOT_TELL}
    assert len(results) == len(TRIALS)
    assert winner(results) is None


def test_a_final_without_finalists_is_refused():
    with pytest.raises(InputError, match="at least one finalist is measured, not 0"):
        measured(SEARCHED, SPACE, Device(), describe, at_once=0)
