import numpy as np
import pytest

from hwprof.builder import GraphBuilder
from hwprof.errors import InputError
from hwprof.latency_table import Correction, NumericAttribute
from hwprof.latency_table.build import (
    build_from_choices,
    build_from_measurements,
    build_from_predictions,
    check,
    fit_choices,
)
from hwprof.latency_table.operators import distinct
from hwprof.measurement import TimedBlock
from tests.latency_table.tables import METADATA, choices
from tests.samples import make_measurement, make_process


def measurement(ms, **changes):
    return make_measurement([make_process(i, [ms * 1e6] * 3) for i in range(2)], **changes)


def test_a_table_of_measurements_knows_where_they_are_from():
    table = build_from_measurements(
        [("Conv", {"cout": 8}, measurement(2.0)), ("Conv", {"cout": 16}, measurement(3.0))],
        [NumericAttribute("cout", 8)],
    )
    assert table(op="Conv", cout=9) == 3.0
    assert table.rows[0].n == 6
    assert (table.metadata.device, table.metadata.threads, table.metadata.runtime_version) == (
        "d", 1, "runtime 1",
    )  # fmt: skip
    assert table.metadata.date == "2026-01-01T00:00:00+00:00"


def test_a_table_holds_latencies_at_the_undisturbed_speed_of_the_machine():
    slow = tuple(TimedBlock(0, (3_000_000,), anchors_ns={"compute": 150.0}) for _ in range(3))
    m = make_measurement([make_process(0, [], blocks=slow)], anchor_baseline_ns={"compute": 100.0})
    assert build_from_measurements([("Conv", {}, m)]).lookup("Conv") == pytest.approx(2.0)


def test_measurements_of_two_machines_do_not_make_one_table():
    with pytest.raises(InputError, match="do not belong in one table"):
        build_from_measurements([("A", {}, measurement(1.0)), ("B", {}, measurement(1.0, hardware="other"))])


def test_operators_are_predicted_as_networks_of_their_own():
    b = GraphBuilder("net")
    graph = b.build(b.relu(b.conv(b.input((1, 3, 8, 8)), 4, 3)))
    table = build_from_predictions(
        distinct([graph]), lambda graphs: np.array([float(len(g.weights) + 1) for g in graphs]), METADATA
    )
    assert table([graph]).tolist() == [sum(row.ms for row in table.rows)]
    assert {row.op for row in table.rows} == {"Conv", "Relu"}


def test_choices_with_zero_and_negative_times_keep_the_sums_of_networks():
    table = build_from_choices([np.array([0.0, 2.0]), np.array([-1.0, 0.5])], 5.0, METADATA)
    np.testing.assert_allclose(table([(0, 0), (1, 0), (1, 1)]), [4.0, 6.0, 7.5])


def test_choices_of_a_network_without_latency_are_refused():
    with pytest.raises(InputError, match="fastest network"):
        build_from_choices([np.array([0.0, 1.0])], 0.0, METADATA)


def test_a_check_reports_raw_and_corrected_error_and_stores_the_correction():
    table = choices([[1.0, 2.0, 4.0], [1.0, 3.0, 9.0]])
    networks = [(i, j) for i in range(3) for j in range(3)]
    measured = [1.0 + 0.5 * table.sum_ms(n) for n in networks]
    found = check(table, networks, measured)
    assert found.networks == 9
    assert found.corrected_mape == pytest.approx(0.0, abs=1e-6)
    assert found.within_10 == 1.0
    assert found.raw_mape > 10
    np.testing.assert_allclose(found.table(networks), measured)


def branching(dead):
    """A convolution and a ReLU, and `dead` ReLUs that nobody reads."""
    b = GraphBuilder("net")
    x = b.conv(b.input((1, 3, 8, 8)), 4, 3)
    for _ in range(dead):
        b.relu(x)
    return b.build(b.relu(x))


@pytest.mark.parametrize("drops_dead", [True, False])
def test_a_check_finds_out_whether_the_runtime_drops_dead_operators(drops_dead):
    graphs = [branching(dead) for dead in (0, 3, 1, 5, 2)]
    table = build_from_predictions(distinct(graphs), lambda singles: np.array([5.0, 1.0])[: len(singles)], METADATA)
    measured = [(table.sum_ms(g.live() if drops_dead else g)) * (1 + 0.001 * i) for i, g in enumerate(graphs)]
    found = check(table, graphs, measured)
    assert found.table.correction.live == drops_dead
    assert found.corrected_mape < 1


def test_a_check_reports_the_error_of_the_correction_that_the_table_came_with():
    table = choices([[1.0, 2.0, 4.0], [1.0, 3.0, 9.0]]).with_correction(Correction(a_ms=0.0, b=1.1))
    networks = [(i, j) for i in range(3) for j in range(3)]
    found = check(table, networks, [table.sum_ms(n) for n in networks])
    assert found.stored_mape == pytest.approx(10.0)
    assert found.raw_mape == pytest.approx(0.0)


class Regression:
    """Stands for a fitted predictor of choices."""

    base_ms_ = 5.0
    costs_ms_ = (np.array([-1.0, 1.0]), np.array([0.0, 2.0]))
    errors_ = np.log([1.0, 1.1, 0.9, 1.0])

    def fit(self, X, y):
        return self


def test_fitted_choices_bring_the_errors_on_networks_left_out():
    table = fit_choices(Regression(), [(0, 0)], [1.0], METADATA)
    np.testing.assert_allclose(table([(0, 0), (1, 1)]), [4.0, 8.0])
    assert table.correction.mape == pytest.approx(np.mean([0, 1 / 11, 1 / 9, 0]))
    assert table.correction.residual(0.75) == pytest.approx(0.1)


def test_fitted_choices_whose_fastest_network_falls_below_zero_keep_the_others():
    class Steep(Regression):
        costs_ms_ = (np.array([-3.0, 3.0]), np.array([-4.0, 4.0]))

    table = fit_choices(Steep(), [(0, 0)], [1.0], METADATA)
    assert all(row.ms > 0 for row in table.rows)
    np.testing.assert_allclose(table([(0, 1), (1, 0), (1, 1)]), [6.0, 4.0, 12.0])
    with pytest.raises(InputError, match="fit it to networks like this one"):
        table([(0, 0)])
