import numpy as np

from hwprof.interfaces import Trial
from hwprof.search.nsga2 import crowding, first_front, survivors


def test_the_first_front_is_what_nothing_dominates():
    costs = np.array([[0, 3], [1, 1], [3, 0], [2, 2], [1, 3]])
    assert first_front(costs).tolist() == [True, True, True, False, False]


def test_equal_points_do_not_dominate_each_other():
    assert first_front(np.array([[1, 1], [1, 1]])).tolist() == [True, True]


def test_the_ends_are_never_crowded_and_the_middle_by_its_gap():
    assert crowding(np.array([[0.0, 4.0], [1.0, 1.0], [4.0, 0.0]])).tolist() == [np.inf, 2.0, np.inf]


def test_the_first_front_survives_before_the_second_and_refused_ones_come_last():
    accurate, fast = Trial((0,), 9.0, 5.0), Trial((1,), 5.0, 1.0)
    dominated, refused = Trial((2,), 4.0, 2.0), Trial((3,), None, 9.0)
    assert set(survivors([refused, dominated, fast, accurate], 2)) == {accurate, fast}
    assert survivors([refused, dominated, fast, accurate], 4)[2:] == [dominated, refused]
