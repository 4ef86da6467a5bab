import numpy as np
import pytest

from hwprof.builder import GraphBuilder
from hwprof.errors import InputError
from hwprof.latency_table import Correction
from hwprof.objective.budget import Budget
from tests.latency_table.tables import choices

TABLE = choices([[1.0, 2.0, 4.0]]).with_correction(
    Correction(0.0, 1.0, quantiles=((0.5, 0.0), (0.95, 0.25)), networks=100)
)


class Predictor:
    """10 ms, and 2 ms more on either side of the interval that covers 90 %."""

    def fit(self, X, y):
        return self

    def predict(self, X):
        return np.full(len(X), 10.0)

    def predict_interval(self, X, coverage=0.9):
        assert coverage == pytest.approx(0.9)
        return np.full(len(X), 8.0), np.full(len(X), 12.0)


def graph():
    b = GraphBuilder("g")
    return b.build(b.relu(b.input((1, 3, 4, 4))))


def test_a_budget_takes_what_its_source_does():
    assert Budget(TABLE, ms=1.0).takes == "arch"
    assert Budget(Predictor(), ms=1.0).takes == "graph"  # it does not say


def test_a_network_fits_when_its_quantile_fits_and_not_only_its_median():
    assert Budget(TABLE, ms=2.4, confidence=0.5)((1,)) is True
    assert Budget(TABLE, ms=2.4, confidence=0.95)((1,)) is False  # 2 ms * 1.25


def test_a_sequence_of_architectures_gives_one_answer_for_each():
    assert Budget(TABLE, ms=2.5)([(0,), (1,), (2,)]).tolist() == [True, True, False]


def test_the_upper_end_of_the_predictors_interval_counts():
    assert Budget(Predictor(), ms=12.0)(graph()) is True
    assert Budget(Predictor(), ms=11.9)([graph(), graph()]).tolist() == [False, False]


def test_at_even_odds_the_prediction_itself_counts():
    assert Budget(Predictor(), ms=10.0, confidence=0.5)(graph()) is True


def test_a_confidence_beyond_what_the_table_knows_is_refused():
    with pytest.raises(InputError, match="fit the correction to more networks"):
        Budget(TABLE, ms=2.0, confidence=0.99)((0,))


@pytest.mark.parametrize(("ms", "confidence"), [(0.0, 0.9), (-1.0, 0.9), (float("nan"), 0.9), (1.0, 0.4), (1.0, 1.0)])
def test_a_budget_that_means_nothing_is_refused(ms, confidence):
    with pytest.raises(InputError, match=r"budget|confidence"):
        Budget(TABLE, ms, confidence)
