import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from hwprof.__main__ import run
from hwprof.data import dataset
from hwprof.jobs import fleets
from hwprof.report.boards import BoardState
from tests.fleet.loopback import Loopback, plan_of
from tests.measure.scripted import ScriptedTransport


@pytest.fixture
def loopback(tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "devices").mkdir()
    for n, name in enumerate(("any", "other")):
        (tmp_path / "devices" / f"{name}.toml").write_text(
            'schema = "hwprof.device/1"\nbackend = "roofline"\n'
            f"[options]\npeak_macs_per_s = 1e12\npeak_bytes_per_s = 1e12\nseed = {n}\n"
        )
    plan = plan_of(tmp_path, ["a", "b"])
    plan.path.write_text(plan.path.read_text() + '[[board]]\nname = "c"\ndevices = ["other"]\n')
    plan = type(plan).load(plan.path)
    with Loopback(plan, {name: ScriptedTransport() for name in "abc"}) as opened:
        yield opened


@pytest.mark.usefixtures("tiny_spaces")
def test_a_collection_on_a_fleet_is_a_data_set_of_every_device(loopback, capsys):
    assert run(["collect", "--space", "space", "--n", "6", "--fleet", "fleet.toml", "--format", "json"]) == 0
    assert [row["device"] for row in json.loads(capsys.readouterr().out)] == ["any", "other"]
    for name in ("any", "other"):
        assert len(dataset.read(Path("latency_data", f"space-{name}")).entries) == 6


@pytest.mark.usefixtures("tiny_spaces")
def test_one_folder_is_not_for_several_data_sets(loopback, capsys):
    assert run(["collect", "--space", "space", "--n", "6", "--fleet", "fleet.toml", "--out", "x"]) == 2
    assert "2 devices make as many; give --device" in capsys.readouterr().err


def test_the_state_is_told_and_a_board_is_drained(loopback, capsys):
    assert run(["fleet", "drain", "fleet.toml", "c"]) == 0
    loopback.serving[2].result(30)
    assert run(["fleet", "status", "fleet.toml", "--format", "json"]) == 0
    states = {row["board"]: row["state"] for row in json.loads(capsys.readouterr().out)}
    assert states == {"a": "idle", "b": "idle", "c": "no agent"}


def is_told(boards: Sequence[BoardState]) -> bool:
    """Whether heartbeats have told that all boards are idle, and the hardware of the one that measured."""
    return all(board.doing == "idle" for board in boards) and any(board.hardware for board in boards)


def test_the_state_is_a_page_with_what_the_store_has(loopback, capsys):
    assert run(["profile", "mobilenet_v2", "--device", "any", "--no-operators", "--fleet", "fleet.toml"]) == 0
    capsys.readouterr()
    while not is_told(fleets.state(loopback.plan.path, print).boards):
        pass
    assert run(["fleet", "status", "--html", "fleet.html", "--store", "hwprof.db"]) == 0
    assert "wrote fleet.html" in capsys.readouterr().err
    page = Path("fleet.html").read_text()
    assert "<!doctype html><!-- hwprof " in page
    assert "3 boards: 3 idle" in page
    assert "cortex-a72" in page


def test_keys_are_made_once(tmp_path: Path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert run(["fleet", "init"]) == 0
    assert "wrote fleet-keys/ca.pem" in capsys.readouterr().err
    assert run(["fleet", "init"]) == 2
    assert "--renew" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["up", "agent", "status", "drain"])
def test_a_missing_plan_is_one_line(tmp_path: Path, monkeypatch, capsys, command: str):
    monkeypatch.chdir(tmp_path)
    board = ["a"] if command in ("agent", "drain") else []
    assert run(["fleet", command, "none.toml", *board]) == 2
    assert capsys.readouterr().err.count("\n") == 1
