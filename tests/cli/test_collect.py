import json
import sys
from pathlib import Path

import pytest

from hwprof.__main__ import run

pytestmark = pytest.mark.usefixtures("tiny_spaces")
NOISY = """schema = "hwprof.device/1"
backend = "roofline"
kind = "analytic"
[options]
peak_macs_per_s = 1e12
peak_bytes_per_s = 1e11
launch_ns = 1000000
noise = 0.01
"""


@pytest.fixture
def collect(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    """Runs the command in an empty folder. Returns its status, its output and what it told."""
    (tmp_path / "noisy.toml").write_text(NOISY)
    monkeypatch.chdir(tmp_path)

    def run_it(*arguments: str) -> tuple[int, str, list[str]]:
        code = run(["collect", "--device", "noisy.toml", *arguments])
        told = capsys.readouterr()
        return code, told.out, told.err.splitlines()

    return run_it


def test_a_collected_data_set_is_told_in_one_record(collect):
    code, out, told = collect("--space", "space", "-n", "4", "--target", "10%", "--format", "json")
    (record,) = json.loads(out)
    assert (code, told) == (0, [])
    assert record["data"] == "latency_data/space-noisy"
    assert (record["networks"], record["converged"], record["failed"]) == (4, 4, 0)
    assert (record["space"], record["device"], record["evidence"]) == ("space", "noisy", "analytic")
    assert 3 * 0.9 < record["least_ms"] < record["median_ms"] < record["most_ms"] < 9 * 1.1  # 3 to 9 launches of 1 ms
    assert record["mape"] is None


def test_an_error_that_is_not_reached_is_told_and_the_data_stay(collect, tmp_path: Path):
    code, _, told = collect("--space", "space", "-n", "10", "--until", "mape=5%", "--out", "x")
    assert code == 4
    assert told == ["hwprof: the error must be below 5 %, it is not known yet; raise --n above 10"]
    assert (tmp_path / "x" / "dataset.toml").exists()


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--space", "space"], "give --n, the number of networks, --minutes, or --until mape=5%"),
        (["--space", "space", "--until", "5%"], "--until '5%' is not of the form mape=5%"),
        (["--space", "space", "--until", "mape=much"], "--until mape 'much' must be a share such as 5% or 0.05"),
        (["--space", "space", "-n", "0"], "--n must be at least 1, not 0"),
        (["--space", "space", "-n", "2", "--budget", "0"], "--budget must be a positive number of seconds, not 0"),
        (["--space", "space", "-n", "2", "--variant", "int7"], "no variant is named 'int7'"),
        (["--space", "nope", "-n", "2"], "no space is named 'nope'; known: blockqnn"),
    ],
)
def test_bad_input_is_one_line(collect, arguments, reason):
    code, out, told = collect(*arguments)
    assert (code, out, len(told)) == (2, "", 1)
    assert reason in told[0]


def test_a_space_of_the_user_s_is_named_by_its_file(collect, tmp_path: Path, monkeypatch):
    monkeypatch.setattr(sys, "path", [*sys.path])
    (tmp_path / "cells_of_mine.py").write_text("from tests.tiny_space import SPACE as CELLS\n")
    code, _, _ = collect("--space", "cells_of_mine.py:CELLS", "-n", "2")
    assert code == 0
    (card,) = tmp_path.glob("latency_data/cells_of_mine-CELLS-*/dataset.toml")
    assert 'space = "cells_of_mine.py:CELLS"' in card.read_text()


def test_a_device_without_its_library_is_an_unfit_environment(collect, tmp_path: Path):
    (tmp_path / "gone.toml").write_text(NOISY.replace('"roofline"', '"roofline"\nthreads = 512'))
    code, _, told = collect("--space", "space", "-n", "2", "--device", "gone.toml")
    assert code == 3
    assert "512 threads" in told[-1]


def test_networks_that_did_not_converge_are_counted_and_the_status_says_so(collect, tmp_path: Path):
    hard = ("--target", "0.001%", "--budget", "0.01", "--format", "json")
    code, out, told = collect("--space", "space", "-n", "4", *hard)
    assert code == 4
    assert json.loads(out)[0]["converged"] == 0
    assert told == [
        "hwprof: 4 of 4 networks did not converge to 0.001% (4 budget); the data set holds them; raise --budget or "
        "--target, or stop other programs, and repeat with --fresh"
    ]
    assert (tmp_path / "latency_data" / "space-noisy" / "dataset.toml").exists()
    assert run(["train", "latency_data/space-noisy", "-o", "p.hwp"]) in (0, 2)


def test_in_a_given_time_the_precision_of_each_network_is_told_and_no_failure(collect):
    """So that `collect --minutes 15 && train` goes on."""
    hard = ("--target", "0.001%", "--budget", "0.01")
    code, _, told = collect("--space", "space", "-n", "4", "--minutes", "1", *hard)
    assert code == 0
    assert "4 of 4 networks did not converge" in told[-1]
