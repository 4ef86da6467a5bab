import json

import pytest

from hwprof.__main__ import run
from hwprof.device import Device

pytestmark = pytest.mark.usefixtures("tiny_spaces")


@pytest.fixture
def arguments(tmp_path):
    lines = [f"{d}-{c}-{k}-{u},{d + c / 10}" for d in range(4) for c in range(4) for k in range(2) for u in range(2)]
    (tmp_path / "scores.csv").write_text("arch,score\n" + "\n".join(lines) + "\n")
    return [
        "search", "--space", "space", "--score", f"table:{tmp_path / 'scores.csv'}", "--device", "roofline-edge-gpu",
        "--store", str(tmp_path / "s.db"), "--budget", "16", "--fast",
    ]  # fmt: skip


def test_the_winner_and_all_trials_are_told_as_json(arguments, capsys):
    assert run([*arguments, "--target-ms", "100", "--format", "json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["winner"]["met"] == "yes"
    assert told["winner"]["device"] if "device" in told["winner"] else told["winner"]["target"]["device"]
    assert len(told["trials"]) == 16


def test_a_second_search_is_answered_from_the_store(arguments, capsys):
    run([*arguments, "--target-ms", "100"])
    first = capsys.readouterr().out
    assert run([*arguments, "--target-ms", "100"]) == 0
    told = capsys.readouterr()
    assert told.err == "from the store; --fresh searches again\n"
    assert told.out.splitlines()[2] in first.splitlines()


def test_a_target_that_nothing_meets_is_told_with_the_least_latency(arguments, capsys):
    assert run([*arguments, "--target-ms", "0.000001"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "the least latency found is" in line


def test_a_target_that_no_finalist_meets_for_certain_is_status_1(arguments, capsys, tmp_path, monkeypatch):
    """The table of latencies is far too low."""
    from hwprof.latency_table import LatencyTable, Metadata, Row  # noqa: F401

    assert Device.load("roofline-edge-gpu").name == "roofline-edge-gpu"
