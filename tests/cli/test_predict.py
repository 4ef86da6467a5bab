import json
from pathlib import Path

import pytest

from hwprof import onnx_io
from hwprof.__main__ import run
from tests.tiny_space import SPACE

pytestmark = pytest.mark.usefixtures("tiny_spaces")


@pytest.fixture(scope="module")
def predictor(collected: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tests.conftest import install_tiny_spaces

    path = tmp_path_factory.mktemp("predictor") / "x.hwp"
    with pytest.MonkeyPatch.context() as monkeypatch:
        install_tiny_spaces(monkeypatch)
        run(["train", str(collected), "-o", str(path)])
    return path


def test_a_file_and_its_architecture_are_predicted_alike_and_marked(predictor, tmp_path, capsys):
    onnx_io.save(SPACE.graph((2, 1, 1, 0)), tmp_path / "net.onnx")
    assert run(["predict", str(predictor), str(tmp_path / "net.onnx"), "--arch", "2,1,1,0", "--format", "json"]) == 0
    told = capsys.readouterr()
    by_file, by_arch = json.loads(told.out)
    assert by_file["latency_ms"] == pytest.approx(by_arch["latency_ms"])
    assert by_arch["latency_ms"] == pytest.approx(7, rel=0.05)  # launches of 1 ms
    assert by_arch["low_ms"] < by_arch["latency_ms"] < by_arch["high_ms"]
    assert (by_arch["evidence"], by_arch["coverage"], by_arch["device"]) == ("predicted", 0.9, "noisy")
    assert told.err == "the interval holds for networks like those of space, which the predictor learned from\n"


def test_a_network_unlike_the_training_data_is_unknown(predictor, capsys):
    assert run(["predict", str(predictor), "mobilenet_v3_small", "--format", "json"]) == 4
    told = capsys.readouterr()
    (row,) = json.loads(told.out)
    assert (row["latency_ms"], row["status"], row["outside"]) == (None, "unknown", True)
    assert "which no network had that was learned from; --extrapolate predicts it nevertheless" in told.err


def test_a_network_unlike_the_training_data_is_predicted_when_asked_and_warned_of(predictor, capsys):
    assert run(["predict", str(predictor), "mobilenet_v3_small", "--extrapolate", "--format", "json"]) == 0
    told = capsys.readouterr()
    (row,) = json.loads(told.out)
    assert row["low_ms"] < row["latency_ms"] < row["high_ms"]
    assert (row["status"], row["outside"]) == ("predicted", True)
    assert "its interval may not hold" in told.err


def test_one_bad_model_does_not_hide_the_others(predictor, tmp_path, capsys):
    onnx_io.save(SPACE.graph((2, 1, 1, 0)), tmp_path / "net.onnx")
    (tmp_path / "broken.onnx").write_bytes(b"nothing")
    models = [str(tmp_path / name) for name in ("broken.onnx", "net.onnx")]
    assert run(["predict", str(predictor), *models, "mobilenet_v3_small", "--format", "json"]) == 2
    told = capsys.readouterr()
    assert [row["status"] for row in json.loads(told.out)] == ["predicted", "unknown"]
    assert "broken.onnx" in told.err


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ([], "nothing to predict; give models or --arch"),
        (["--arch", "2,9,1,0"], "space: position 1 is 9; choose an integer from 0 to 3"),
        (["--arch", "2,1"], "4 positions, 2 were given"),
        (["--arch", "fast"], "'fast' is not an architecture"),
        (["nope"], "'nope' is neither an .onnx file nor a workload"),
        (["--arch", "2,1,1,0", "--coverage", "100%"], "--coverage '100%' must be a share"),
        (["--arch", "2,1,1,0", "--space", "darts"], "the predictor has the space 'space', not 'darts'"),
        (["--arch", "2,1,1,0", "--device", "pixel"], "the predictor has the device 'noisy', not 'pixel'"),
    ],
)
def test_bad_input_is_one_line(predictor, capsys, arguments, reason):
    assert run(["predict", str(predictor), *arguments]) == 2
    told = capsys.readouterr()
    assert told.out == ""
    (line,) = told.err.splitlines()
    assert reason in line


def test_a_truncated_file_is_refused(predictor, tmp_path, capsys):
    (tmp_path / "part.hwp").write_bytes(predictor.read_bytes()[:1000])
    assert run(["predict", str(tmp_path / "part.hwp"), "--arch", "2,1,1,0"]) == 2
    assert "part.hwp is not a predictor file, or only a part of one" in capsys.readouterr().err


def test_a_table_says_what_the_predictor_learned_from_and_how_good_it_is(predictor, capsys):
    assert run(["predict", str(predictor), "--arch", "2,1,1,0"]) == 0
    told = capsys.readouterr().err
    assert "learned from 32 networks of tiny-noisy (analytic), noisy on " in told
    assert "; mean error on networks left out: " in told


def test_the_json_says_what_the_predictor_learned_from_and_how_good_it_is(predictor, capsys):
    assert run(["predict", str(predictor), "--arch", "2,1,1,0", "--format", "json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert (row["learned"]["data"], row["learned"]["n"]) == ("tiny-noisy", 32)
    assert row["learned"]["mape_low"] <= row["learned"]["mape"] <= row["learned"]["mape_high"]
