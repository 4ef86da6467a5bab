"""Parts of a fleet as processes, killed at moments that are always the same."""

import asyncio
from pathlib import Path
from types import SimpleNamespace

import pytest

from hwprof.errors import EnvironmentUnfitError, InputError
from hwprof.files import lock
from hwprof.fleet import serving
from tests.fleet.chaos import Chaos
from tests.fleet.loopback import plan_of

LIMIT_S = 240  # on a machine that does much else


def test_nothing_is_lost_or_stored_twice_whatever_is_killed(tmp_path: Path):
    """tests/benchmarks/fleet.py kills at random, and more often."""
    kills = {1: "agent", 2: "child", 3: "scheduler", 5: "driver"}
    with Chaos(tmp_path, requests=8) as chaos:
        chaos.run(kills, LIMIT_S)
        assert chaos.kills.total() == len(kills)
        assert chaos.faults() == []


def test_a_second_agent_of_a_board_is_refused(tmp_path: Path):
    plan = plan_of(tmp_path, ["a"])
    folder = tmp_path / "agents"
    (folder / "a" / "outbox").mkdir(parents=True)
    held = lock(folder / "a")
    assert held is not None
    with pytest.raises(EnvironmentUnfitError, match="another agent serves board 'a'"):
        serving.run_agent(plan, "a", print, folder)


def test_an_agent_of_an_unknown_board_is_refused(tmp_path: Path):
    with pytest.raises(InputError, match="has no board 'z'"):
        serving.run_agent(plan_of(tmp_path, ["a"]), "z", print, tmp_path)


class LonelyAgent:
    """Tries three times to reach a scheduler, and is drained then."""

    board = SimpleNamespace(name="a")

    def __init__(self) -> None:
        self.tries = 0

    @property
    def is_draining(self) -> bool:
        self.tries += 1
        return self.tries > 3


@pytest.mark.parametrize(("patience_s", "lines"), [(1e9, 0), (0.0, 1)])
def test_that_the_scheduler_is_away_is_told_once_and_not_while_it_may_just_be_starting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, patience_s: float, lines: int
):
    def refuse(*_: object) -> None:
        raise ConnectionError("the fleet's scheduler does not answer")

    told: list[str] = []
    monkeypatch.setattr(serving, "require_access", refuse)
    monkeypatch.setattr(serving, "_AGAIN_S", (0.0, 0.0))
    monkeypatch.setattr(serving, "_PATIENCE_S", patience_s)
    asyncio.run(serving._serve(plan_of(tmp_path, ["a"]), LonelyAgent(), None, told.append, None))
    assert told == ["a: the fleet's scheduler does not answer; the agent goes on trying"] * lines
