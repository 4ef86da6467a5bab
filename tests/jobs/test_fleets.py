import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from hwprof.data.store import Store
from hwprof.device import Device
from hwprof.errors import EnvironmentUnfitError, InputError
from hwprof.fleet.measuring import open_fleet
from hwprof.fleet.plan import Plan
from hwprof.jobs import fleets
from hwprof.measure.recording import Options, recording
from hwprof.measurement import FAST
from hwprof.report.boards import FleetState
from tests.fleet.loopback import Loopback, plan_of
from tests.fleet.test_rounds import dense
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


def told(plan: Plan, is_told: Callable[[FleetState], bool], store: Path | None = None) -> FleetState:
    """The state when the heartbeats have told it."""
    while not is_told(state := fleets.state(plan.path, print, store)):
        threading.Event().wait(0.1)
    return state


def test_the_state_tells_what_drivers_say_of_boards_and_what_went_wrong_there(loopback):
    loopback.agents["a"].state.note(InputError("no kernel"), "dense")
    with open_fleet(loopback.plan) as opened:
        opened.fleet.refuse("absent", "it is too hot")
        state = told(loopback.plan, lambda state: len(state.troubles) == 2)
    assert [(board.name, board.doing, board.notes) for board in state.boards] == [
        ("a", "idle", ()), ("absent", "no agent", ("is refused: it is too hot",)),
    ]  # fmt: skip
    assert {(trouble.board, trouble.text) for trouble in state.troubles} == {
        ("a", "dense: no kernel"), ("absent", "is refused: it is too hot"),
    }  # fmt: skip


def test_the_measurements_of_each_board_in_a_store_are_counted(loopback, tmp_path: Path):
    device = Device("any", "roofline")
    with (
        open_fleet(loopback.plan) as opened,
        Store(tmp_path / "store.db") as store,
        recording(device, store, opened.options(Options(FAST, with_operators=False))) as recorder,
    ):
        recorder.measure([dense(1), dense(2)])
        store.begin("key", "begun", "digest", "any", "hardware")
    state = told(loopback.plan, lambda state: state.boards[0].delivered == 2, tmp_path / "store.db")
    assert ([board.stored for board in state.boards], state.unfinished) == ([2, None], 1)
    assert state.boards[0].hardware == {"any": "cortex-a72"}


def test_a_board_without_an_agent_cannot_be_drained(loopback):
    with pytest.raises(EnvironmentUnfitError, match="board 'absent' has no agent"):
        fleets.drain(loopback.plan.path, "absent", print)


def test_a_drained_board_leaves(loopback):
    fleets.drain(loopback.plan.path, "a", print)
    loopback.serving[0].result(30)
    assert loopback.agents["a"].is_draining
