import json
from pathlib import Path

import pytest

from hwprof.__main__ import run

pytestmark = pytest.mark.usefixtures("tiny_spaces")


def test_the_json_holds_a_record_for_each_size(collected: Path, capsys: pytest.CaptureFixture[str]):
    assert run(["evaluate", str(collected), "--train-sizes", "10,20", "--seeds", "2", "--format", "json"]) == 0
    few, many = json.loads(capsys.readouterr().out)
    assert (few["n"], many["n"]) == (10, 20)
    assert set(many) == {
        "predictor", "data", "device", "evidence", "n", "tested", "mape", "within_5", "within_10", "kendall",
        "spearman", "coverage_90", "fit_s", "predict_us", "noise_floor", "mape_by_seed",
    }  # fmt: skip
    assert many["mape"] == pytest.approx(sum(many["mape_by_seed"]) / 2)
    assert many["noise_floor"] is None


def test_a_gate_that_fails_exits_with_1(collected: Path, capsys: pytest.CaptureFixture[str]):
    arguments = ["evaluate", str(collected), "--train-sizes", "20", "--seeds", "1"]
    assert run([*arguments, "--max-mape", "50%"]) == 0
    assert run([*arguments, "--max-mape", "0.01%"]) == 1
    assert "with 20 networks is above 0.01 %" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["curve.svg", "curve.png"])
def test_the_learning_curve_is_drawn(collected: Path, tmp_path: Path, name: str):
    figure = tmp_path / name
    assert run(["evaluate", str(collected), "--train-sizes", "8,16", "--seeds", "2", "--plot", str(figure)]) == 0
    assert figure.stat().st_size > 1000


def test_a_predictor_file_is_not_tested_on_what_it_learned_from(
    collected: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    run(["train", str(collected), "-o", str(tmp_path / "x.hwp")])
    assert run(["evaluate", str(collected), "--predictor", str(tmp_path / "x.hwp")]) == 2
    assert "learned from data set tiny-noisy itself" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--train-sizes", "ten"], "--train-sizes 'ten' is not of the form 10,20,50"),
        (["--train-sizes", "30"], "training on 30 leaves fewer than 10 to test on"),
        (["--predictor", "magic"], "no predictor is named 'magic'"),
        (["--predictor", "gone.hwp"], "no predictor file 'gone.hwp'"),
        (["--max-mape", "much"], "--max-mape 'much' must be a share"),
        (["--plot", "curve.jpg"], "--plot writes a .png, .svg or .pdf file, not 'curve.jpg'"),
        (["--space", "darts"], "has the space 'space', not 'darts'"),
    ],
)
def test_bad_input_is_one_line(collected: Path, capsys: pytest.CaptureFixture[str], arguments, reason):
    assert run(["evaluate", str(collected), *arguments]) == 2
    told = capsys.readouterr()
    assert told.out == ""
    (line,) = told.err.splitlines()
    assert reason in line


def test_the_sizes_that_nobody_gave_fit_the_data_set(collected: Path, capsys: pytest.CaptureFixture[str]):
    assert run(["evaluate", str(collected), "--seeds", "1", "--format", "json"]) == 0
    assert [row["n"] for row in json.loads(capsys.readouterr().out)] == [10, 20]
