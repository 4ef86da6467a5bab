import json
import shutil
import threading
import time
from dataclasses import replace

import pytest

from hwprof.errors import DeviceLostError, EnvironmentUnfitError
from hwprof.fleet.driver import FAILURES, IN_FLIGHT, Fleet
from hwprof.fleet.parcel import Parcel
from hwprof.graph import Graph
from tests.fleet.loopback import DEVICE, Loopback, plan_of
from tests.measure.scripted import ScriptedTransport


@pytest.fixture(scope="module")
def loopback(tmp_path_factory):
    plan = plan_of(tmp_path_factory.mktemp("fleet"), ["a", "absent"])
    with Loopback(plan, {"a": ScriptedTransport()}) as opened:
        yield opened


@pytest.fixture
def told() -> list[str]:
    return []


@pytest.fixture
def fleet(loopback, told):
    with Fleet(loopback.plan, told.append) as opened:
        while not opened.boards():
            opened.wait(0.1)
        yield opened


def device() -> dict:
    return {"name": DEVICE, "backend": "roofline"}


def ended(fleet: Fleet, sent):
    while not sent.has_ended:
        fleet.wait()
    return sent


def test_a_driver_sees_the_boards_that_are_alive(fleet):
    assert [*fleet.boards()] == ["a"]
    assert fleet.boards()["a"].state["doing"] in ("idle", "greeting")


def test_a_request_is_answered_and_its_place_is_free_again(fleet):
    board = fleet.boards()["a"]
    sent = fleet.send(board, "greet", device=device())
    assert fleet.capacity(board) == IN_FLIGHT - 1
    assert ended(fleet, sent).answer["hello"]
    while fleet.capacity(board) != IN_FLIGHT:
        fleet.wait(0.1)


def test_an_agents_error_is_the_answers_error(fleet):
    sent = ended(fleet, fleet.send(fleet.boards()["a"], "nonsense"))
    assert "the request 'nonsense' is not known" in str(sent.error)
    assert not sent.is_lost


def test_a_command_is_answered_while_the_board_measures(fleet, loopback):
    is_free = threading.Event()
    loopback.agents["a"].transport.spoil = lambda request: is_free.wait(30) and None
    sent = fleet.send(fleet.boards()["a"], "greet", device=device())
    assert fleet.command([fleet.boards()["a"]], "forget") == [fleet.boards()["a"]]
    assert not sent.has_ended
    is_free.set()
    assert ended(fleet, sent).answer


def graphs(parcel: Parcel, *found: Graph) -> dict:
    """The arguments of a request to a worker that takes graphs."""
    record = {**device(), "kind": "cpu"}
    packed = [parcel.packed(graph) for graph in found]
    return {"device": device(), "limit_s": 9, "request": {"do": "opening", "device": record}, "graphs": packed}


def asked(fleet: Fleet, *found: Graph):
    parcel = Parcel()
    return ended(fleet, fleet.send(fleet.boards()["a"], "ask", parcel, **graphs(parcel, *found)))


def test_a_graph_is_sent_once_and_again_where_the_board_has_lost_it(fleet, loopback, tiny_graph, monkeypatch):
    texts: list[str] = []
    submit = type(fleet.connection).submit
    monkeypatch.setattr(type(fleet.connection), "submit", lambda self, *a: texts.append(a[2]) or submit(self, *a))
    for _ in range(2):
        assert asked(fleet, tiny_graph).answer == {"answers": [{"opened": True}]}
    shutil.rmtree(loopback.agents["a"].cache.folder)
    loopback.agents["a"].cache.open()
    assert asked(fleet, tiny_graph).answer == {"answers": [{"opened": True}]}
    assert [len(json.loads(text)["contents"]) for text in texts] == [1, 0, 0, 1]


def test_a_board_that_keeps_nothing_is_an_error_of_that_board(fleet, loopback, tiny_graph, monkeypatch):
    monkeypatch.setattr(type(loopback.agents["a"].cache), "add", lambda self, texts: None)
    shutil.rmtree(loopback.agents["a"].cache.folder)
    loopback.agents["a"].cache.open()
    sent = asked(fleet, tiny_graph)
    assert str(sent.error) == "board a does not keep the files that it is sent"


def test_what_a_driver_says_of_a_board_is_known_to_others_until_it_ends(loopback, told):
    with Fleet(loopback.plan, told.append) as one, Fleet(loopback.plan, told.append) as other:
        while not one.boards():
            one.wait(0.1)
        for _ in range(FAILURES):
            one.failed(one.boards()["a"], DeviceLostError("it has no power"))
        (note,) = other.notes()
        assert (note.board, note.text, note.is_aside) == (
            "a", "is set aside after 3 failures in a row: it has no power", True
        )  # fmt: skip
        one.connection.close()
        while other.notes():
            other.wait(0.1)


def test_a_new_scheduler_is_told_the_notes_again(fleet, loopback):
    fleet.refuse("a", "it is too hot")
    fleet.connection._informed = ("another scheduler", "")
    fleet.connection.identity()
    assert [note.text for note in fleet.notes()] == ["is refused: it is too hot"] * 2


def test_a_board_of_another_version_is_refused_once_in_one_line(fleet, loopback, told, monkeypatch):
    monkeypatch.setattr("hwprof.fleet.request.__version__", "9.9.9")
    for _ in range(2):
        fleet.looked = float("-inf")
        assert fleet.boards() == {}
    (line,) = told
    assert line.startswith("board a is refused: board a has hwprof ")
    assert line.endswith("this machine 9.9.9; install one version on all")


def test_a_board_is_set_aside_after_failures_in_a_row(fleet, told):
    board, error = fleet.boards()["a"], DeviceLostError("it has no power")
    for _ in range(FAILURES - 1):
        fleet.failed(board, error)
    fleet.succeeded(board)
    for _ in range(FAILURES - 1):
        fleet.failed(board, error)
    assert told == []
    assert [*fleet.ready({"a": None})] == [board]
    fleet.failed(board, error)
    assert told == ["board a is set aside after 3 failures in a row: it has no power"]
    assert [*fleet.ready({"a": None})] == []


def test_an_agent_that_ended_with_two_requests_failed_once(fleet):
    board = fleet.boards()["a"]
    for _ in range(2):
        sent = fleet.send(board, "greet", device=device())
        sent.was_killed = True
        sent.lose("killed")
        fleet.lost(sent)
    assert fleet._failures["a"] == 1


def test_whoever_waits_is_woken_by_the_end_of_the_connection(loopback):
    with Fleet(loopback.plan, print) as fleet:
        threading.Timer(0.2, lambda: (fleet.is_closed.set(), fleet.notify())).start()
        start = time.monotonic()
        with pytest.raises(DeviceLostError, match="was closed"):
            fleet.wait(60)
        assert time.monotonic() - start < 60


def test_a_scheduler_that_is_not_there_is_one_line_that_says_how_to_start_it(loopback):
    plan = replace(loopback.plan, scheduler="127.0.0.1:1")
    with pytest.raises(EnvironmentUnfitError, match=r"does not answer.*start it with: hwprof fleet up"):
        Fleet(plan, print).__enter__()
