import numpy as np
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, cross_val_score

from hwprof import metrics
from hwprof.builder import GraphBuilder
from hwprof.encoders.physical import QUANTITIES, PhysicalEncoder, by_hypothesis
from hwprof.errors import InputError
from hwprof.predictors.physical import PhysicalPredictor
from hwprof.spaces.nasbench201 import NasBench201


def latencies(graphs, hypothesis, noise=0.0):
    """2 ms, 0.1 ms per launch and 1 ms per million multiply-adds of what runs; relative noise."""
    rows = by_hypothesis(PhysicalEncoder().transform(graphs))[:, hypothesis]
    launches, macs = (rows[:, QUANTITIES.index(name)] for name in ("total launches", "total macs"))
    errors = 1 + noise * np.random.default_rng(3).standard_normal(len(graphs))
    return (2 + 0.1 * launches + macs / 1e6) * errors


@pytest.mark.parametrize(("hypothesis", "number"), [("every", 0), ("live", 1)])
def test_what_the_runtime_executes_is_found_from_twenty_measurements(graphs, hypothesis, number):
    ms = latencies(graphs, number, noise=0.02)
    predictor = PhysicalPredictor(hypotheses=("every", "live")).fit(graphs[:20], ms[:20])
    assert predictor.hypothesis_ == hypothesis
    assert metrics.mape(latencies(graphs, number)[20:], predictor.predict(graphs[20:])) < 2


def test_without_noise_ten_measurements_are_enough(graphs):
    ms = latencies(graphs, 0)
    assert metrics.mape(ms[10:], PhysicalPredictor().fit(graphs[:10], ms[:10]).predict(graphs[10:])) < 1


def test_intervals_hold_what_they_promise_and_widen_with_coverage(graphs):
    ms = latencies(graphs, 0, noise=0.05)
    predictor = PhysicalPredictor().fit(graphs[:30], ms[:30])
    low, high = predictor.predict_interval(graphs[30:], 0.9)
    assert 75 <= metrics.coverage(ms[30:], low, high) <= 100
    narrow_low, narrow_high = predictor.predict_interval(graphs[30:], 0.5)
    assert (low < narrow_low).all()
    assert (narrow_high < high).all()


def test_rows_of_the_encoder_are_as_good_as_graphs(graphs):
    ms = latencies(graphs, 0)
    rows = PhysicalEncoder().transform(graphs)
    predictor = PhysicalPredictor().fit(rows[:20], ms[:20])
    assert predictor.predict(rows[20:]) == pytest.approx(predictor.predict(graphs[20:]))


def test_architectures_are_built_by_their_space():
    space = NasBench201(channels=4, cells=1)
    archs = [tuple(map(int, arch)) for arch in np.random.default_rng(0).integers(0, 5, (24, 6))]
    built = [space.graph(arch) for arch in archs]
    ms = latencies(built, 0)
    predictor = PhysicalPredictor(space=space).fit(archs[:16], ms[:16])
    assert predictor.predict(archs[16:]) == pytest.approx(predictor.predict(built[16:]))


def test_a_prediction_does_not_depend_on_its_neighbours_in_the_batch(graphs):
    predictor = PhysicalPredictor().fit(graphs[:20], latencies(graphs, 0)[:20])
    assert predictor.predict(graphs[20:])[:1] == pytest.approx(predictor.predict(graphs[20:21]))


def test_scikit_learn_can_clone_validate_and_search(graphs):
    ms = latencies(graphs, 0)
    predictor = clone(PhysicalPredictor(process="never", seed=3))
    assert predictor.get_params()["seed"] == 3
    assert cross_val_score(predictor, graphs, ms, cv=3).min() > 0.9
    search = GridSearchCV(predictor, {"hypotheses": [("every",), ("live",)]}, cv=3).fit(graphs, ms)
    assert search.best_params_ == {"hypotheses": ("every",)}


def test_predicting_before_fitting_is_refused(graphs):
    with pytest.raises(NotFittedError, match="call fit first"):
        PhysicalPredictor().predict(graphs)


@pytest.mark.parametrize(
    ("parameters", "reason"),
    [
        ({"hypotheses": ("every", "some")}, "hypotheses must be some of every, live"),
        ({"hypotheses": ()}, "hypotheses must be some of every, live"),
        ({"process": "always"}, "process must be 'auto' or 'never'"),
    ],
)
def test_a_parameter_out_of_range_is_refused(graphs, parameters, reason):
    with pytest.raises(InputError, match=reason):
        PhysicalPredictor(**parameters).fit(graphs, latencies(graphs, 0))


def test_architectures_without_a_space_are_refused():
    with pytest.raises(InputError, match="give the predictor their space"):
        PhysicalPredictor().fit([(0, 1)] * 6, [1.0, 2, 3, 4, 5, 6])


def test_rows_of_another_encoder_are_refused(graphs):
    predictor = PhysicalPredictor().fit(graphs, latencies(graphs, 0))
    with pytest.raises(InputError, match="of 312 columns; 3 were given"):
        predictor.predict(np.ones((2, 3)))


class Widths:
    """Four pairs of convolutions, each with one of six inner widths."""

    choices = (6,) * 4

    def graph(self, arch):
        b = GraphBuilder("widths")
        x = b.input((1, 8, 8, 8))
        for choice in arch:
            x = b.conv(b.conv(x, 4 * (1 + choice), 3), 8, 3)
        return b.build(x)


@pytest.fixture(scope="module")
def widths():
    """A space, architectures, and latencies: some widths are slow, in no proportion to what they compute."""
    archs = [tuple(map(int, arch)) for arch in np.random.default_rng(0).integers(0, 6, (80, 4))]
    return Widths(), archs, 1 + np.array([0.1, 0.5, 0.1, 0.4, 0.1, 0.3])[np.array(archs)].sum(axis=1)


def test_what_an_operator_costs_beyond_its_quantities_is_learned(widths):
    space, archs, ms = widths
    graphs = [space.graph(arch) for arch in archs]
    rows = PhysicalEncoder().transform(graphs)
    known = metrics.mape(ms[50:], PhysicalPredictor().fit(graphs[:50], ms[:50]).predict(graphs[50:]))
    assert known < 0.3 * metrics.mape(ms[50:], PhysicalPredictor().fit(rows[:50], ms[:50]).predict(rows[50:]))


def test_an_architecture_and_its_graph_are_predicted_the_same(widths, tmp_path):
    space, archs, ms = widths
    predictor = PhysicalPredictor(space=space).fit(archs[:50], ms[:50])
    assert predictor.operator_costs_ is not None
    built = [space.graph(arch) for arch in archs[50:]]
    assert predictor.predict(archs[50:]) == pytest.approx(predictor.predict(built))
    again = PhysicalPredictor(space=space).restore(predictor.state())
    assert again.predict(built) == pytest.approx(predictor.predict(built))


def test_rows_without_operators_are_predicted_without_their_costs(widths):
    space, archs, ms = widths
    graphs = [space.graph(arch) for arch in archs]
    predictor = PhysicalPredictor().fit(graphs, ms)
    with_costs, without = predictor.predict(graphs), predictor.predict(PhysicalEncoder().transform(graphs))
    assert metrics.mape(ms, with_costs) < metrics.mape(ms, without)
