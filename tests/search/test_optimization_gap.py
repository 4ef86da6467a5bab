import pytest

from hwprof.errors import InputError
from hwprof.search.optimization_gap import optimization_gap


def test_the_upper_half_is_ranked_apart():
    """The lower half is ranked well, the upper half the wrong way round."""
    gap = optimization_gap([1, 2, 3, 7, 6, 5], [1, 2, 3, 4, 5, 6])
    assert gap.kendall == pytest.approx(9 / 15)
    assert gap.kendall_upper == -1
    assert gap.mean == pytest.approx(0.5)


def test_the_better_half_of_costs_are_the_small_ones():
    assert optimization_gap([2, 1, 3, 4], [1, 2, 3, 4], is_cost=True).kendall_upper == -1
    assert optimization_gap([2, 1, 3, 4], [1, 2, 3, 4]).kendall_upper == 1


@pytest.mark.parametrize(
    ("shared", "alone"), [([1, 2, 3], [1, 2, 3]), ([1] * 5, [1] * 4), ([1, 2, 3, float("nan")], [1] * 4)]
)
def test_missing_figures_are_refused(shared, alone):
    with pytest.raises(InputError, match="finite figures of at least 4 networks, by the supernet and alone"):
        optimization_gap(shared, alone)
