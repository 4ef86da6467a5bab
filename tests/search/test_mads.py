import math

import numpy as np
import pytest

from hwprof.errors import InputError
from hwprof.search.mads import Evaluated, Mads, MadsSearch, Variable, minimize
from hwprof.search.run import Limit, Plan, run

SQUARE = (Variable(-1.5, 1.5), Variable(-1.5, 1.5))


def rosenbrock(point):
    x, y = point
    return (1 - x) ** 2 + 100 * (y - x**2) ** 2


def outside_of_the_disk(point):
    """The minimum, (1, 1), is on its edge."""
    return point[0] ** 2 + point[1] ** 2 - 2


@pytest.mark.parametrize("start", [(-1.2, 1.0), (0.0, 0.0), (-1.0, -1.0), (1.4, 1.4)])
def test_rosenbrock_in_a_disk_is_solved_in_200_evaluations(start):
    """Two of the starts break the constraint."""
    for seed in range(3):
        found = minimize(rosenbrock, SQUARE, 200, outside_of_the_disk, start, seed)
        assert found.excess <= 0
        assert found.objective < 1e-2


def test_no_more_points_are_evaluated_than_allowed():
    points = []
    minimize(lambda point: points.append(point) or rosenbrock(point), SQUARE, 50)
    assert len(points) == len(set(points)) == 50


def test_nomad_needs_no_fewer_evaluations():
    nomad = pytest.importorskip("PyNomad", reason="PyNomadBBO is not installed")

    def evaluate(point):
        x = [point.get_coord(i) for i in range(2)]
        point.setBBO(f"{rosenbrock(x)} {outside_of_the_disk(x)}".encode())
        return 1

    settings = ["BB_OUTPUT_TYPE OBJ PB", "MAX_BB_EVAL 80", "DISPLAY_DEGREE 0"]
    theirs = nomad.optimize(evaluate, [-1.2, 1.0], [-1.5] * 2, [1.5] * 2, settings)
    least = min((float(text.split()[0]) for (text,) in theirs["x_best_feas_bbo"]), default=math.inf)
    ours = [minimize(rosenbrock, SQUARE, 80, outside_of_the_disk, (-1.2, 1.0), seed).objective for seed in range(5)]
    assert theirs["nb_evals"] == 80
    assert np.median(ours) <= least


def test_integers_stay_integers_and_reach_the_minimum():
    asked = []

    def objective(point):
        asked.append(point)
        return (point[0] - 13) ** 2 + (point[1] - 0.3) ** 2

    found = minimize(objective, (Variable(0, 40, is_integer=True), Variable(0, 1)), 100)
    assert all(width == int(width) for width, _ in asked)
    assert found.point[0] == 13
    assert found.point[1] == pytest.approx(0.3, abs=0.01)


def test_the_constraint_alone_leads_where_no_objective_is_known():
    found = minimize(lambda _point: math.inf, SQUARE, 60, lambda point: abs(point[0] - 1.1) - 0.05)
    assert found.excess <= 0


def test_a_point_that_breaks_the_constraint_is_never_returned_while_another_meets_it():
    found = minimize(lambda point: -point[0], (Variable(0, 1),), 60, lambda point: point[0] - 0.25, (0.1,))
    assert found.point[0] == pytest.approx(0.25, abs=1e-3)
    assert found.excess <= 0


def test_a_success_makes_the_mesh_coarser_and_a_failed_poll_finer():
    search = Mads(SQUARE)
    (start,) = search.ask(1)
    search.tell([Evaluated(start, 0.0)])
    first = search.ask(9)
    search.tell([Evaluated(point, 1.0) for point in first])
    second = search.ask(9)
    distance = [np.abs(np.subtract(points, start)).max() for points in (first, second)]
    assert distance[1] < distance[0]
    search.tell([Evaluated(second[0], -1.0)])
    along = np.subtract(second[0], start)
    further = np.subtract(search.ask(1)[0], second[0])
    assert further @ along > 0.5 * along @ along


@pytest.mark.parametrize(("low", "high"), [(1, 0), (0, math.inf), (math.nan, 1)])
def test_a_range_that_is_not_one_is_refused(low, high):
    with pytest.raises(InputError, match="a variable needs a finite range"):
        Variable(low, high)


def test_a_start_outside_of_the_ranges_is_refused():
    with pytest.raises(InputError, match=r"the start \(2.0, 0.0\) is outside of the 2 variables' ranges"):
        Mads(SQUARE, start=(2.0, 0.0))


def test_a_value_that_is_no_number_is_refused():
    with pytest.raises(InputError, match="the objective and excess of"):
        minimize(lambda _point: math.nan, SQUARE, 5)


def test_nothing_evaluated_has_no_best():
    with pytest.raises(InputError, match="nothing was evaluated"):
        Mads(SQUARE).best()


class Widths:
    choices = (16,) * 4


def test_architectures_with_ordered_choices_are_climbed_to_the_best_that_fits():
    searched = run(
        MadsSearch(Widths()), lambda arch: float(-((arch[0] - 11) ** 2) - sum(arch[1:])),
        Limit(lambda archs: 1.0 + archs.sum(axis=1), 30.0), Plan(120),
    )  # fmt: skip
    assert searched.best()[0].arch == (11, 0, 0, 0)


def test_choices_without_an_order_are_climbed_through_all_networks_that_differ_in_one():
    """The best choice of each position is far from the second best one."""
    worth = {4: 3.0, 0: 2.0}
    searched = run(
        MadsSearch(Operations()), lambda arch: sum(worth.get(choice, 0.0) for choice in arch),
        Limit(lambda archs: np.ones(len(archs))), Plan(150),
    )  # fmt: skip
    assert searched.best()[0].arch == (4,) * 5


class Operations:
    choices = (7,) * 5
