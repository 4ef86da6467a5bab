import itertools

import numpy as np
import pytest

from hwprof.errors import InputError
from hwprof.metrics import kendall
from hwprof.search.score_fitting import FittedScores

CHOICES = (3,) * 5
ARCHS = list(itertools.product(*map(range, CHOICES)))


def test_errors_average_out():
    """The truth is a sum over positions; noise of the same size covers it in each score."""
    rng = np.random.default_rng(0)
    values = rng.normal(size=(5, 3))
    truth = np.array([sum(values[i, c] for i, c in enumerate(arch)) for arch in ARCHS])
    scores = truth + rng.normal(size=len(ARCHS)) * truth.std()
    known = rng.permutation(len(ARCHS))[:120]
    fitted = FittedScores(CHOICES, steps=100).fit([ARCHS[i] for i in known], scores[known])
    table = fitted(ARCHS)
    assert table.shape == (len(ARCHS),)
    assert kendall(truth[known], table[known]) > kendall(truth[known], scores[known]) + 0.1


def test_scores_are_in_the_units_that_were_fitted():
    scores = np.array([70.0 + arch[0] for arch in ARCHS])
    assert FittedScores(CHOICES, steps=150).fit(ARCHS, scores)(ARCHS).mean() == pytest.approx(71, abs=0.2)


@pytest.mark.parametrize("scores", [[1.0] * 7, [1.0] * 9, [float("nan")] * 8])
def test_too_few_or_missing_scores_are_refused(scores):
    with pytest.raises(InputError, match="at least 8 architectures with finite scores"):
        FittedScores(CHOICES).fit(ARCHS[:8] if len(scores) != 7 else ARCHS[:7], scores)
