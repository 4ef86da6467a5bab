import os
import signal
import time
from pathlib import Path

import pytest

from hwprof.fleet.plan import Plan
from hwprof.fleet.supervisor import Supervisor
from tests.fleet.loopback import plan_of


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    """A board that is started here, one that is reached through SSH, and one that starts its own agent."""
    path = plan_of(tmp_path, ["here", "there", "own"]).path
    text = path.read_text().replace('name = "here"', 'name = "here"\nlaunch = "here"')
    path.write_text(text.replace('name = "there"', 'name = "there"\nlaunch = "ssh"\nhost = "pi"'))
    return Plan.load(path)


@pytest.fixture
def commands(monkeypatch):
    """Stands in for the parts: each sleeps, or ends at once with the status that is given for it."""
    ends: dict[str, int] = {}
    monkeypatch.setattr("hwprof.fleet.supervisor._AGAIN_S", 0.1)
    monkeypatch.setattr(
        "hwprof.fleet.supervisor._command",
        lambda part, *words: ["sh", "-c", next((f"exit {ends[w]}" for w in words if w in ends), "exec sleep 60")],
    )
    return ends


def until(supervisor: Supervisor, is_so) -> None:
    end = time.monotonic() + 30
    while not is_so():
        assert time.monotonic() < end
        supervisor.look()
        time.sleep(0.02)


def test_the_scheduler_and_the_agents_that_are_started_here_run_and_end_with_it(plan: Plan, tmp_path: Path, commands):
    with Supervisor(plan, tmp_path, print) as supervisor:
        assert [part.name for part in supervisor.parts] == ["scheduler", "here", "there"]
        processes = [part.process for part in supervisor.parts]
        assert [process.poll() for process in processes] == [None] * 3
    assert all(process.poll() is not None for process in processes)


def test_a_part_that_was_killed_is_started_again(plan: Plan, tmp_path: Path, commands):
    told: list[str] = []
    with Supervisor(plan, tmp_path, told.append) as supervisor:
        part = supervisor.parts[1]
        first = part.process
        os.kill(first.pid, signal.SIGKILL)
        until(supervisor, lambda: part.process is not None and part.process is not first)
    assert told == ["here: ended with status -9; is started again"]


def test_a_board_that_was_drained_stays_away(plan: Plan, tmp_path: Path, commands):
    commands["here"] = 0
    with Supervisor(plan, tmp_path, print) as supervisor:
        part = supervisor.parts[1]
        until(supervisor, lambda: part.is_done)
        time.sleep(0.2)
        supervisor.look()
        assert part.process is None


def test_a_part_ends_when_the_one_that_started_it_is_gone(tmp_path: Path):
    """`hwprof fleet up` may be killed, too: its children notice that nobody holds their input any more."""
    import subprocess
    import sys

    program = "from hwprof.fleet.serving import end_with_input; end_with_input(); import time; time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE) as child:
        child.stdin.close()
        assert child.wait(50) == 0
