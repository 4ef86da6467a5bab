import json
import os
import signal
import sys
import threading
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import pytest

from hwprof.builder import GraphBuilder
from hwprof.device import Device
from hwprof.errors import DeviceLostError, InputError, MachineBusyError, TimeLimitError
from hwprof.fleet import agent as agents
from hwprof.fleet import request as requests
from hwprof.fleet.agent import Agent
from hwprof.fleet.parcel import Parcel
from hwprof.fleet.plan import Launch, PlannedBoard
from hwprof.graph import Graph
from hwprof.measure.rounds import Cohort
from hwprof.measure.worker_process import LocalTransport
from hwprof.measurement import FAST, ProtocolSettings
from tests.fleet.sshd import NoServerError, Sshd
from tests.measure.scripted import ScriptedTransport

ANY = Device("any", "roofline")
BOARD = PlannedBoard("pi", ("any",))
ENDLESS = ProtocolSettings(min_processes=10**6, max_processes=10**6, budget_s=1e9)  # only the end of its job ends it


@pytest.fixture
def agent(tmp_path: Path) -> Agent:
    return Agent(BOARD, tmp_path / "agent", ScriptedTransport())


@pytest.fixture
def other_graph() -> Graph:
    b = GraphBuilder("other")
    return b.build(b.gemm(b.input((1, 8)), 4))


def asked(agent: Agent, do: str, **arguments: object) -> dict:
    return json.loads(agent.answer(requests.request_text(do, device=ANY.to_record(), **arguments)))


def measured(
    agent: Agent, cohorts: dict[str, Cohort], limit_s: float = 60, settings: ProtocolSettings = FAST, job: str = "job",
    **arguments: object,
) -> dict:  # fmt: skip
    parcel = Parcel()
    records = [requests.cohort_record(name, cohort, parcel) for name, cohort in cohorts.items()]
    return asked(
        agent, "measure", settings=asdict(settings), limit_s=limit_s, in_detail=False, job=job, cohorts=records,
        **{"contents": parcel.contents, **arguments},
    )  # fmt: skip


def test_a_greeting_is_all_that_a_worker_says_of_its_machine(agent: Agent):
    greeting = asked(agent, "greet")
    assert set(greeting) == set(requests.GREETINGS)
    assert greeting["hello"][0]["versions"] == {"runtime": "1.0"}


def test_the_same_request_is_answered_from_the_outbox_until_it_is_acknowledged(agent: Agent, tiny_graph: Graph):
    first = measured(agent, {"ab12": Cohort((tiny_graph,))})
    visits = len(agent.transport.asked("measure"))
    assert measured(agent, {"ab12": Cohort((tiny_graph,))})["cohorts"] == first["cohorts"]
    assert len(agent.transport.asked("measure")) == visits > 0
    measured(agent, {"ab12": Cohort((tiny_graph,))}, done=["ab12"])
    assert len(agent.transport.asked("measure")) == 2 * visits


def test_an_outbox_outlives_its_agent(agent: Agent, tiny_graph: Graph):
    measured(agent, {"ab12": Cohort((tiny_graph,))})
    another = Agent(BOARD, agent.folder, ScriptedTransport())
    assert measured(another, {"ab12": Cohort((tiny_graph,))})["cohorts"]
    assert another.transport.asked("measure") == []


def test_an_interrupted_measurement_goes_on_after_the_processes_that_the_driver_has(agent: Agent, tiny_graph: Graph):
    record = measured(agent, {"ab12": Cohort((tiny_graph,))})["cohorts"][0]
    begun = Cohort((tiny_graph,), [requests.processes(record["processes"])[0][:1]])
    measured(agent, {"cd34": begun})
    assert [request["round"] for request in agent.transport.asked("measure")][-2:] == [1, 2]


def test_one_request_is_measured_at_a_time(agent: Agent, tiny_graph: Graph):
    running, most = [], []

    def count(request):
        if request["do"] == "measure":
            running.append(1)
            most.append(len(running))
            running.pop()

    agent.transport.spoil = count
    threads = [
        threading.Thread(target=measured, args=(agent, {f"ab{i}": Cohort((tiny_graph,))})) for i in range(4)
    ]  # fmt: skip
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(most) == {1}
    assert sorted(agent.outbox.names()) == ["ab0", "ab1", "ab2", "ab3"]


@pytest.mark.parametrize("kind", [DeviceLostError, TimeLimitError])
def test_a_network_that_ends_its_worker_is_an_answer_and_the_board_is_well(agent: Agent, tiny_graph: Graph, kind):
    def crash(request):
        if request["do"] == "measure":
            raise kind("it is gone")

    agent.transport.spoil = crash
    answer = measured(agent, {"ab12": Cohort((tiny_graph,))})
    assert (answer["cohorts"][0]["error"], answer["is_well"]) == (kind.__name__, True)
    assert agent.metric()["failures"] == 0


def test_a_board_that_no_longer_runs_anything_is_not_well(agent: Agent, tiny_graph: Graph):
    def crash(request):
        if request["do"] in ("measure", "opening"):
            raise DeviceLostError("it is gone")

    agent.transport.spoil = crash
    assert measured(agent, {"ab12": Cohort((tiny_graph,))})["is_well"] is False
    assert agent.metric()["failures"] == 1


def test_a_fault_of_the_agent_itself_is_an_answer(agent: Agent, tiny_graph: Graph):
    def fault(request):
        raise ZeroDivisionError("oh")

    agent.transport.spoil = fault
    answer = measured(agent, {"ab12": Cohort((tiny_graph,))})
    assert answer == {"error": "DeviceLostError", "text": "board pi: ZeroDivisionError: oh"}


@pytest.mark.parametrize("text", ["nonsense", '{"do": "greet", "hwprof": "9.9"}'])
def test_what_is_not_a_request_of_this_version_is_refused(agent: Agent, text: str):
    assert json.loads(agent.answer(text))["error"] == "InputError"


def test_a_name_that_is_not_a_digest_never_becomes_a_file(agent: Agent, tiny_graph: Graph):
    assert measured(agent, {"../evil": Cohort((tiny_graph,))})["error"] == InputError.__name__
    assert [*agent.outbox.names()] == []


def test_a_draining_agent_takes_no_requests_but_forgets_what_is_acknowledged(agent: Agent, tiny_graph: Graph):
    measured(agent, {"ab12": Cohort((tiny_graph,))})
    assert asked(agent, "drain") == {}
    assert asked(agent, "greet")["error"] == "DrainingError"
    assert agent.metric()["doing"] == "draining"
    assert asked(agent, "forget", done=["ab12"]) == {}
    assert [*agent.outbox.names()] == []


def test_a_graph_that_was_sent_once_is_named_by_its_digest_afterwards(agent: Agent, tiny_graph: Graph):
    measured(agent, {"ab12": Cohort((tiny_graph,))})
    assert measured(agent, {"cd34": Cohort((tiny_graph,))}, contents={})["is_well"]
    assert sorted(agent.outbox.names()) == ["ab12", "cd34"]


def test_a_graph_that_the_board_lacks_is_asked_for(agent: Agent, tiny_graph: Graph):
    parcel = Parcel()
    parcel.packed(tiny_graph)
    assert measured(agent, {"ab12": Cohort((tiny_graph,))}, contents={}) == {"missing": [*parcel.contents]}
    assert agent.transport.asked("measure") == []


def stopping(agent: Agent, job: str, after: int):
    """Stops the job when a worker was asked to measure this many times."""

    def spoil(request):
        if len(agent.transport.asked("measure")) >= after:
            assert asked(agent, "stop", job=job) == {}

    return spoil


def test_a_job_that_is_stopped_ends_with_what_was_measured(agent: Agent, tiny_graph: Graph, other_graph: Graph):
    agent.transport.spoil = stopping(agent, "job", 4)
    cohorts = {"ab12": Cohort((tiny_graph,)), "cd34": Cohort((other_graph,))}
    answers = measured(agent, cohorts, settings=ENDLESS)["cohorts"]
    assert [len(answer["processes"][0]) for answer in answers] == [2, 2]
    assert [answer["is_stopped"] for answer in answers] == [True, True]
    assert not any("error" in answer for answer in answers)


def test_what_a_stopped_job_has_not_begun_is_said_and_opens_no_worker(agent: Agent, tiny_graph: Graph):
    asked(agent, "stop", job="job")
    (answer,) = measured(agent, {"ab12": Cohort((tiny_graph,))}, settings=ENDLESS)["cohorts"]
    assert (answer["error"], answer["processes"]) == ("NotConvergedError", [[]])
    assert agent.transport.workers == 0


def test_what_a_stopped_job_left_is_gone_on_with_by_the_next_one(agent: Agent, tiny_graph: Graph):
    agent.transport.spoil = stopping(agent, "first", 2)
    measured(agent, {"ab12": Cohort((tiny_graph,))}, settings=ENDLESS, job="first")
    agent.transport.spoil = lambda request: None
    (answer,) = measured(agent, {"ab12": Cohort((tiny_graph,))}, settings=FAST, job="second")["cohorts"]
    assert [request["round"] for request in agent.transport.asked("measure")] == [0, 1, 2]
    assert (len(answer["processes"][0]), answer["is_stopped"]) == (3, False)


def test_a_stopped_job_does_not_wait_for_a_machine_that_another_holds(agent: Agent, tiny_graph: Graph, monkeypatch):
    monkeypatch.setattr("hwprof.measure.hold._POLL_S", 0.01)

    def busy(request):
        if request["do"] == "hold":
            asked(agent, "stop", job="job")
            raise MachineBusyError("another hwprof is measuring")

    agent.transport.spoil = busy
    assert measured(agent, {"ab12": Cohort((tiny_graph,))})["error"] == "MachineBusyError"


def test_the_state_tells_the_hardware_the_deliveries_and_the_last_errors(agent: Agent, tiny_graph: Graph):
    asked(agent, "greet")
    measured(agent, {"ab12": Cohort((tiny_graph,))})
    asked(agent, "forget", done=["ab12", "unknown"])
    for number in range(5):
        asked(agent, f"nonsense {number}")
    state = agent.metric()
    assert (state["hardware"], state["delivered"]) == ({"any": "cortex-a72"}, 1)
    assert [text for _, text in state["errors"]] == [f"the request 'nonsense {n}' is not known" for n in (2, 3, 4)]


def test_a_request_to_a_worker_takes_its_graphs_along(agent: Agent, tiny_graph: Graph):
    parcel = Parcel()
    packed = [parcel.packed(tiny_graph)]
    request = {"do": "operators", "device": ANY.to_record(), "runs": 3}
    answer = asked(agent, "ask", limit_s=9, request=request, graphs=packed, contents=parcel.contents)
    assert answer["answers"][0]["profiled_ns"] == 1.1e6
    assert agent.transport.requests[-1]["graph"] == tiny_graph.to_json()


@pytest.mark.parametrize("death", ["crash", "hang", "memory"])
def test_a_real_process_that_crashes_hangs_or_eats_memory_is_an_answer(tmp_path: Path, tiny_graph: Graph, death: str):
    """The agent's own process goes on."""
    worker = tmp_path / "worker.py"
    worker.write_text(DYING)
    transport = LocalTransport((sys.executable, "-S", "-E", str(worker), death))
    agent = Agent(BOARD, tmp_path / "agent", transport)
    (record,) = measured(agent, {"ab12": Cohort((tiny_graph,))}, limit_s=0.5 if death == "hang" else 30)["cohorts"]
    assert record["error"] == ("TimeLimitError" if death == "hang" else "DeviceLostError")
    assert asked(agent, "greet")["hello"]


DYING = """
import json, os, resource, signal, sys, time
ANSWERS = {"hold": [{"is_held": False}], "hello": [{}], "preflight": [], "overhead": [], "snapshot": [{}]}
for line in sys.stdin:
    request = json.loads(line)
    if request["do"] == "measure" and sys.argv[1] == "crash":
        os.kill(os.getpid(), signal.SIGSEGV)
    if request["do"] == "measure" and sys.argv[1] == "hang":
        time.sleep(3600)
    if request["do"] == "measure":
        resource.setrlimit(resource.RLIMIT_AS, (1 << 28, 1 << 28))
        bytearray(1 << 40)
    for answer in [*ANSWERS.get(request["do"], [{}]), {"done": True}]:
        print(json.dumps(answer), flush=True)
"""


def test_the_workers_of_a_killed_agent_are_killed_with_it(tmp_path: Path):
    """As the kernel does for what an agent starts."""
    child = os.fork()
    if child == 0:
        with LocalTransport().open(ANY) as worker:
            (tmp_path / "pid").write_text(str(worker.pid))
            signal.pause()
    while not (tmp_path / "pid").exists() or not (tmp_path / "pid").read_text():
        pass
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    worker = int((tmp_path / "pid").read_text())
    for _ in range(1000):
        state = Path(f"/proc/{worker}/stat")
        if not state.exists() or state.read_text().rsplit(")", 1)[1].split()[0] == "Z":
            return
        threading.Event().wait(0.01)
    pytest.fail("the worker lives on")


def test_a_board_behind_ssh_is_reached_without_a_password_prompt_and_with_the_host_as_one_word():
    board = PlannedBoard("b", ("any",), Launch.SSH, "pi@10.0.0.5", "/opt/venv/bin/python")
    command = agents.transport_of(board).transport.command
    assert command[0] == "ssh"
    assert "BatchMode=yes" in command
    assert command[-3:] == ("--", "pi@10.0.0.5", "exec /opt/venv/bin/python -m hwprof.measure.worker")


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch) -> str:
    """A program named ssh that runs the command here, in the place of the network. Returns the host."""
    ssh = tmp_path / "ssh"
    ssh.write_text('#!/bin/sh\nwhile [ "$1" != -- ]; do shift; done\nshift 2\neval "$1"\n')
    ssh.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    return "localhost"


@pytest.fixture
def real(tmp_path: Path, monkeypatch) -> Iterator[str]:
    """OpenSSH itself. Returns the host."""
    try:
        with Sshd(tmp_path) as server:
            monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
            yield server.host
    except NoServerError as error:
        pytest.skip(str(error))


@pytest.mark.parametrize("way", ["stand_in", "real"])
def test_rows_of_a_board_behind_ssh_are_those_of_a_local_one(tiny_graph: Graph, request, way: str):
    host = request.getfixturevalue(way)
    device = Device("quick", "roofline").with_options(peak_macs_per_s=1e12, peak_bytes_per_s=1e11, noise=0.01, seed=1)
    board = PlannedBoard("b", ("quick",), Launch.SSH, host, sys.executable)
    rows = []
    for transport in (agents.transport_of(board), LocalTransport()):
        with transport.open(device) as worker:
            asked = {
                "settings": asdict(FAST), "graphs": [tiny_graph.to_json()], "round": 0, "blocks": 3,
                "most_s": 60.0, "anchors_for_ns": None, "in_detail": False,
            }  # fmt: skip
            (answer,) = worker.ask("measure", device=device.to_record(), **asked)
            rows.append([block["samples_ns"] for block in answer["process"]["blocks"]])
    assert rows[0] == rows[1]
