"""The verb of Python, with the words of the command line; the rest is tested in tests/predictors/test_evaluation.py."""

import json

import pytest

from hwprof.__main__ import run
from hwprof.data import dataset
from hwprof.errors import InputError
from hwprof.jobs import evaluating, predicting

pytestmark = pytest.mark.usefixtures("tiny_spaces")


def test_python_and_the_command_line_find_the_same_error(collected, capsys):
    assert run(["evaluate", str(collected), "--train-sizes", "10", "--seeds", "2", "--format", "json"]) == 0
    (told,) = json.loads(capsys.readouterr().out)
    (figures,) = evaluating.evaluate(dataset.read(collected), train_sizes=[10], seeds=2).figures
    assert (list(figures.mape_by_seed), figures.kendall) == (told["mape_by_seed"], told["kendall"])


def test_each_fit_is_told(collected):
    fits = []
    evaluating.evaluate(collected, "lut", [12, 14], 2, on_fit=lambda: fits.append(1))
    assert len(fits) == 4


def test_a_trained_predictor_and_its_file_are_tested_as_they_are(collected, tmp_path):
    trained = predicting.train(collected)
    trained.save(tmp_path / "x.hwp")
    for predictor in (trained, tmp_path / "x.hwp", str(tmp_path / "x.hwp")):
        with pytest.raises(InputError, match="learned from data set tiny-noisy itself"):
            evaluating.evaluate(collected, predictor)
