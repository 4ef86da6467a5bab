"""A job on a fleet, through everything from the recorder to the agents; only the workers are played."""

import threading
import time
from dataclasses import replace

import pytest

from hwprof.builder import GraphBuilder
from hwprof.data.store import Store
from hwprof.device import Device
from hwprof.errors import DeviceLostError, InputError
from hwprof.fleet.measuring import open_fleet
from hwprof.fleet.plan import Plan
from hwprof.fleet.pool import Pool
from hwprof.fleet.rounds import FleetRounds
from hwprof.graph import Graph
from hwprof.measure.recording import Options, recording
from hwprof.measurement import FAST, ProtocolSettings
from tests.fleet.loopback import DEVICE, Loopback, plan_of
from tests.measure.scripted import ScriptedTransport

ANY = Device(DEVICE, "roofline")
ENDLESS = ProtocolSettings(min_processes=10**6, max_processes=10**6, budget_s=1e9)


def dense(width: int) -> Graph:
    b = GraphBuilder(f"dense-{width}")
    return b.build(b.gemm(b.input((1, width)), 1))


@pytest.fixture(scope="module")
def fleet(tmp_path_factory):
    """Two boards, and a third one whose agent a test may start."""
    plan = plan_of(tmp_path_factory.mktemp("fleet"), ["a", "b", "late"], patience_s=60, group_s=0.001)
    with Loopback(plan, {"a": ScriptedTransport(), "b": ScriptedTransport()}) as loopback:
        yield loopback


@pytest.fixture(autouse=True)
def quiet(fleet):
    """Workers that were spoiled by a test are not any more."""
    yield
    for agent in fleet.agents.values():
        agent.transport.spoil = lambda _request: None


def measured(fleet: Loopback, graphs: list[Graph], plan: Plan | None = None):
    """The outcomes of a job, what the driver told, and what the store then holds."""
    told: list[str] = []
    options = Options(FAST, with_operators=False)
    with open_fleet(plan or fleet.plan, told.append) as opened, Store() as store:
        with recording(ANY, store, opened.options(options)) as recorder:
            outcomes = list(recorder.profile_many(graphs))
        return outcomes, told, store.measurements()


def visits(fleet: Loopback, name: str) -> int:
    return len(fleet.agents[name].transport.asked("measure"))


def test_networks_are_measured_on_all_boards_and_stored_once(fleet):
    before = visits(fleet, "a"), visits(fleet, "b")
    outcomes, _, stored = measured(fleet, [dense(n) for n in range(1, 9)])
    assert [o.error for o in outcomes] == [None] * 8
    assert sorted(m.model for m in stored) == sorted(f"dense-{n}" for n in range(1, 9))
    assert {m.environment["board"] for m in stored} <= {"a", "b"}
    assert visits(fleet, "a") - before[0] + visits(fleet, "b") - before[1] == sum(len(m.processes) for m in stored)


def test_a_comparison_is_one_request_on_one_board(fleet):
    before = {name: visits(fleet, name) for name in fleet.agents}
    with open_fleet(fleet.plan) as opened, Store() as store:
        options = opened.options(Options(FAST, with_operators=False))
        with recording(ANY, store, options) as recorder:
            (row,) = recorder.compare([dense(3), dense(4)])
    assert row.verdict == "same"
    assert row.a.environment["board"] == row.b.environment["board"]
    assert sum(visits(fleet, name) > n for name, n in before.items()) == 1


def test_what_the_runtime_refuses_is_the_outcome_of_that_network_alone(fleet):
    def refuse(request):
        if request["do"] == "measure" and "dense-2" in request["graphs"][0]:
            raise InputError("no kernel for it")

    for agent in fleet.agents.values():
        agent.transport.spoil = refuse
    outcomes, _, _ = measured(fleet, [dense(1), dense(2), dense(3)])
    assert {o.graph.name: str(o.error) for o in outcomes if o.error} == {"dense-2": "no kernel for it"}


def test_a_network_that_crashes_every_worker_is_tried_on_another_board_and_the_others_go_on(fleet):
    crashes: list[str] = []

    def crash(name):
        def spoil(request):
            if request["do"] == "measure" and "dense-2" in request["graphs"][0]:
                crashes.append(name)
                raise DeviceLostError("the worker process was killed by SIGSEGV")

        return spoil

    for name, agent in fleet.agents.items():
        agent.transport.spoil = crash(name)
    outcomes, told, _ = measured(fleet, [dense(1), dense(2), dense(3)])
    assert {o.graph.name for o in outcomes if o.error} == {"dense-2"}
    assert sorted(crashes) == ["a", "a", "b", "b"]  # each board starts a lost worker once again
    assert told == []  # no board is to blame


def test_a_board_that_is_not_well_is_set_aside_and_the_others_do_its_work(fleet):
    def lose(request):
        if request["do"] in ("measure", "opening"):
            raise DeviceLostError("the accelerator has fallen off the bus")

    fleet.agents["a"].transport.spoil = lose
    outcomes, told, _ = measured(fleet, [dense(n) for n in range(1, 9)])
    assert [o.error for o in outcomes] == [None] * 8
    assert {o.required().environment["board"] for o in outcomes} == {"b"}
    assert any("board a is set aside after 3 failures in a row" in line for line in told)


def test_a_job_whose_boards_are_all_set_aside_says_why(fleet):
    def lose(request):
        if request["do"] in ("measure", "opening"):
            raise DeviceLostError("the accelerator has fallen off the bus")

    for agent in fleet.agents.values():
        agent.transport.spoil = lose
    alive = tuple(board for board in fleet.plan.boards if board.name != "late")
    with pytest.raises(DeviceLostError, match=r"every board with device 'any' was set aside: [ab] \(board"):
        measured(fleet, [dense(n) for n in range(1, 30)], replace(fleet.plan, boards=alive))


def test_a_board_of_other_hardware_gets_nothing_of_the_device(fleet):
    def other(request):
        if request["do"] == "hello":
            hello = {"versions": {"runtime": "1.0"}, "evidence": "measured", "hardware": {}, "state": None}
            return [{**hello, "fingerprint": "another"}]
        return None

    fleet.agents["b"].transport.spoil = other
    outcomes, told, _ = measured(fleet, [dense(n) for n in range(1, 6)])
    assert {o.required().environment["board"] for o in outcomes} == {"a"}
    assert told == [
        "board b is refused: device 'any': its hardware is another, the others' 0123456789ab; give it a device of "
        "its own"
    ]


def test_a_board_with_another_version_of_the_runtime_is_refused_in_one_line(fleet):
    def other(request):
        if request["do"] == "hello":
            hello = {"versions": {"runtime": "0.9"}, "evidence": "measured", "hardware": {}, "state": None}
            return [{**hello, "fingerprint": "0123456789ab"}]
        return None

    fleet.agents["b"].transport.spoil = other
    _, told, _ = measured(fleet, [dense(n) for n in range(1, 6)])
    assert told == ["board b is refused: device 'any': it has runtime 0.9, the fleet 1.0; install one version on all"]


def test_a_late_board_gets_work_of_a_job_that_runs(fleet):
    joined = threading.Event()

    def wait_for_late(request):
        if request["do"] == "measure":
            joined.wait(30)

    for agent in fleet.agents.values():
        agent.transport.spoil = wait_for_late

    class Late(ScriptedTransport):
        def measure(self, request):
            joined.set()
            return super().measure(request)

    threading.Timer(0.5, lambda: fleet.start_agent("late", Late())).start()
    outcomes, _, _ = measured(fleet, [dense(n) for n in range(1, 12)])
    assert "late" in {o.required().environment["board"] for o in outcomes}


def test_the_end_of_the_total_budget_ends_what_is_measured_and_loses_nothing(fleet, monkeypatch):
    options = Options(ENDLESS, with_operators=False, total_s=1e5)
    seen: list[str] = []

    def count(request):
        if request["do"] == "measure":
            seen.append(request["graphs"][0])
            time.sleep(0.01)

    for agent in fleet.agents.values():
        agent.transport.spoil = count
    clock = time.monotonic  # which leaps when a few processes are there
    monkeypatch.setattr("hwprof.fleet.rounds.monotonic", lambda: clock() + 1e6 * (len(seen) > 5))
    before = sum(visits(fleet, name) for name in fleet.agents)
    with open_fleet(fleet.plan) as opened, Store() as store:
        with recording(ANY, store, opened.options(options)) as recorder:
            outcomes = list(recorder.profile_many([dense(n) for n in range(1, 9)]))
        stored = store.measurements()
    reached = [o for o in outcomes if o.error is None]
    assert 0 < len(reached) == len(stored) < 8
    assert {str(o.error) for o in outcomes if o.error} == {"not measured: the budget of the whole run ended first"}
    assert sum(len(m.processes) for m in stored) == sum(visits(fleet, name) for name in fleet.agents) - before
    assert not any(any(agent.outbox.names()) for agent in fleet.agents.values())


def test_a_request_that_ends_between_two_questions_is_not_forgotten(fleet):
    class Ending:
        """Has ended when it is asked for the second time."""

        asked = 0

        @property
        def has_ended(self):
            self.asked += 1
            return self.asked > 1

    with open_fleet(fleet.plan) as opened:
        rounds = FleetRounds(ANY, FAST, print, pool=Pool(opened.fleet, ANY))
        rounds.sent = [(Ending(), [])]
        assert rounds._taken() == []
        assert len(rounds._taken()) == 1
