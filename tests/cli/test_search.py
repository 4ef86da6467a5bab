"""The command on the tiny space, with scores from a table and an analytic device, whose launches take a millisecond."""

import json

import pytest

from hwprof.__main__ import run
from hwprof.search.random import RandomSearch

pytestmark = pytest.mark.usefixtures("tiny_spaces")
DEVICE = """schema = "hwprof.device/1"
backend = "roofline"
description = "a formula: 1 ms for each operator; not a measurement"
kind = "analytic"
[options]
peak_macs_per_s = 1e15
peak_bytes_per_s = 1e15
launch_ns = 1e6
"""


@pytest.fixture
def arguments(tmp_path, monkeypatch):
    """A network of n convolutions has 2 n + 1 operators, and a higher score than those of fewer."""
    monkeypatch.chdir(tmp_path)
    lines = [f"{d}-{c}-{k}-{u},{d + c / 10}" for d in range(4) for c in range(4) for k in range(2) for u in range(2)]
    (tmp_path / "scores.csv").write_text("arch,score\n" + "\n".join(lines) + "\n")
    (tmp_path / "launches.toml").write_text(DEVICE)
    return [
        "search", "--space", "space", "--score", "table:scores.csv", "--device", "launches.toml", "--store", "s.db",
        "--budget", "8", "--fast", "--finalists", "1",
    ]  # fmt: skip


def test_the_strategies_are_listed_with_their_needs_and_papers(capsys):
    assert run(["search", "--list", "--format", "json"]) == 0
    rows = {row["strategy"]: row for row in json.loads(capsys.readouterr().out)}
    assert rows.keys() >= {"evolution", "nsga2", "predictor", "random"}
    assert all(row["needs"] and row["paper"] for row in rows.values())


@pytest.mark.parametrize("missing", [[], ["--space", "space"], ["--target-ms", "3"]])
def test_what_is_missing_is_asked_for(missing, capsys):
    assert run(["search", *missing]) == 2
    assert "give --space and --target-ms (or --list)" in capsys.readouterr().err


def test_the_winner_the_finalists_and_all_trials_are_told_as_json(arguments, capsys):
    assert run([*arguments, "--target-ms", "6", "--format", "json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["winner"] == told["finalists"][0]
    assert told["winner"]["met"] == "yes"
    assert told["winner"]["choices"]["arch"][0] == 1
    assert len(told["trials"]) == 8
    assert max(trial["latency_ms"] for trial in told["trials"]) <= 6
    assert told["refused"] > 0


def test_a_second_search_is_answered_from_the_store_with_the_same_row(arguments, capsys):
    assert run([*arguments, "--target-ms", "6"]) == 0
    first = capsys.readouterr()
    assert "8 architectures scored" in first.err
    assert run([*arguments, "--target-ms", "6"]) == 0
    second = capsys.readouterr()
    assert second.err == "from the store; --fresh searches again\n"
    assert second.out == first.out


def test_a_result_of_another_version_of_the_strategy_is_not_returned(arguments, capsys, monkeypatch):
    searched = [*arguments, "--target-ms", "6", "--strategy", "random"]
    assert run(searched) == 0
    monkeypatch.setattr(RandomSearch, "version", 2, raising=False)
    assert run(searched) == 0
    assert "from the store" not in capsys.readouterr().err
    assert run(searched) == 0
    assert "from the store" in capsys.readouterr().err


def test_a_target_that_nothing_meets_is_told_with_the_least_latency(arguments, capsys):
    assert run([*arguments, "--target-ms", "0.5"]) == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert "within 0.5 ms; the least latency found is 3 ms" in line
