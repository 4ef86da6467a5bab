import threading
from pathlib import Path

import pytest

from hwprof.errors import EnvironmentUnfitError, InputError
from hwprof.fleet.plan import Plan
from hwprof.jobs import fleets
from tests.fleet.loopback import Loopback, plan_of
from tests.measure.scripted import ScriptedTransport


@pytest.fixture(scope="module")
def loopback(tmp_path_factory):
    plan = plan_of(tmp_path_factory.mktemp("fleet"), ["a", "absent"])
    with Loopback(plan, {"a": ScriptedTransport()}) as opened:
        while not opened.scheduler.workers:
            threading.Event().wait(0.05)
        yield opened


def test_a_new_fleet_has_a_file_to_fill_in_and_its_keys(tmp_path: Path):
    files = fleets.init(tmp_path / "fleet.toml")
    assert [path.name for path in files[:3]] == ["fleet.toml", "ca.pem", "ca-key.pem"]
    assert Plan.load(tmp_path / "fleet.toml").keys == tmp_path / "fleet-keys"


def test_a_fleet_that_has_keys_is_not_made_again(tmp_path: Path):
    fleets.init(tmp_path / "fleet.toml")
    with pytest.raises(InputError, match="--renew"):
        fleets.init(tmp_path / "fleet.toml")
    assert len(fleets.init(tmp_path / "fleet.toml", renew=True)) == 8


def test_the_state_has_a_row_for_each_board_of_the_plan(loopback):
    rows = fleets.status(loopback.plan.path, print)
    assert [(row["board"], row["devices"], row["state"]) for row in rows] == [
        ("a", "any", "idle"), ("absent", "any", "no agent"),
    ]  # fmt: skip
    assert len({tuple(row) for row in rows}) == 1


def test_a_board_without_an_agent_cannot_be_drained(loopback):
    with pytest.raises(EnvironmentUnfitError, match="board 'absent' has no agent"):
        fleets.drain(loopback.plan.path, "absent", print)


def test_a_drained_board_leaves(loopback):
    fleets.drain(loopback.plan.path, "a", print)
    loopback.serving[0].result(30)
    assert loopback.agents["a"].is_draining
