import json
from pathlib import Path

import pytest

from hwprof.__main__ import run

pytestmark = pytest.mark.usefixtures("tiny_spaces")


def test_training_tells_what_was_learned_and_how_well(
    collected: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    assert run(["train", str(collected), "-o", str(tmp_path / "x.hwp"), "--format", "json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert (record["predictor"], record["device"], record["space"], record["n"]) == ("physical", "noisy", "space", 32)
    assert 0 < record["mape_low"] < record["mape"] < record["mape_high"] < 5
    assert (tmp_path / "x.hwp").exists()


def test_a_predictor_of_another_device_is_a_source_for_transfer(
    collected: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    run(["train", str(collected), "-o", str(tmp_path / "a.hwp")])
    arguments = ["--predictor", "transfer", "--source", str(tmp_path / "a.hwp"), "-n", "5"]
    assert run(["train", str(collected), *arguments, "-o", str(tmp_path / "b.hwp"), "--format", "csv"]) == 0
    assert "transfer,noisy,space,5," in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "code", "reason"),
    [
        (["--space", "darts"], 2, "data set tiny-noisy has the space 'space', not 'darts'"),
        (["--device", "cpu-1t"], 2, "data set tiny-noisy has the device 'noisy', not 'cpu-1t'"),
        (["--predictor", "magic"], 2, "no predictor is named 'magic'; known: "),
        (["-n", "4"], 2, "4 samples are too few"),
        (["--source", "gone.hwp"], 2, "no predictor file 'gone.hwp'"),
        (["--out", "missing/x.hwp"], 3, "cannot write 'missing/x.hwp'"),
    ],
)
def test_bad_input_is_one_line(collected: Path, tmp_path: Path, monkeypatch, capsys, arguments, code, reason):
    monkeypatch.chdir(tmp_path)
    assert run(["train", str(collected), "--out", "x.hwp", *arguments]) == code
    (line,) = capsys.readouterr().err.splitlines()
    assert reason in line
    assert not (tmp_path / "x.hwp").exists()


def test_a_folder_that_is_no_data_set(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert run(["train", str(tmp_path), "-o", str(tmp_path / "x.hwp")]) == 2
    assert str(tmp_path) in capsys.readouterr().err
