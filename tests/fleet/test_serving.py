"""Parts of a fleet as processes, killed at moments that are always the same."""

from pathlib import Path

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
