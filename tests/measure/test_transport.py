import json

import pytest

from hwprof.device import Device
from hwprof.errors import DeviceLostError, HwprofError, InputError, TimeLimitError
from hwprof.measure.transport import (
    STARTS,
    LimitedTransport,
    MockTransport,
    RestartedWorker,
    ask_once,
    limit_of,
    read_answers,
    understood,
)
from tests.measure.scripted import ScriptedTransport

ANY = Device("any", "roofline")


def test_the_answers_of_one_request_end_with_done():
    lines = iter([b'{"a": 1}\n', b'{"a": 2}\n', b'{"done": true}\n', b'{"a": 3}\n'])
    assert list(read_answers(lines)) == [{"a": 1}, {"a": 2}]
    assert next(lines) == b'{"a": 3}\n'


def test_an_error_is_raised_as_the_worker_raised_it():
    line = json.dumps({"error": "InputError", "text": "no such operator"}) + "\n"
    with pytest.raises(InputError, match="no such operator"):
        list(read_answers([line.encode()]))


@pytest.mark.parametrize("name", ['"NewerError"', '"annotations"', "5", "null"])
def test_an_error_of_an_unknown_class_is_one_of_hwprof(name: str):
    with pytest.raises(HwprofError, match=r"^strange, in two lines$"):
        list(read_answers([b'{"error": %s, "text": "strange,\\nin two lines"}\n' % name.encode()]))


@pytest.mark.parametrize(
    "line", [b"Segmentation fault\n", b"\xff\xfe\n", b"5\n", b"[]\n", b"[" * 100_000 + b"\n", b"\n"]
)
def test_an_answer_that_is_not_the_protocols_is_one_line_that_shows_it(line: bytes):
    with pytest.raises(DeviceLostError, match="which is not a JSON object") as raised:
        list(read_answers([line]))
    assert len(str(raised.value)) < 200


@pytest.mark.parametrize("lines", [[], [b'{"a": 1}\n'], [b'{"a": 1}\n', b'{"do']])
def test_answers_that_end_before_they_are_done_are_an_error(lines: list[bytes]):
    with pytest.raises(EOFError):
        list(read_answers(lines))


def test_a_function_plays_a_worker():
    transport = MockTransport(lambda request: [{"asked": request["do"], "of": request["device"]}])
    with transport.open(ANY) as worker:
        assert list(worker.ask("hello", device="d")) == [{"asked": "hello", "of": "d"}]


def test_a_played_worker_takes_and_gives_only_what_json_can_carry():
    with MockTransport(lambda _: [{"pair": (1, 2)}]).open(ANY) as worker:
        assert list(worker.ask("hello")) == [{"pair": [1, 2]}]
        with pytest.raises(TypeError):
            list(worker.ask("hello", device=ANY))


def test_a_played_worker_that_was_lost_stays_lost():
    def lose(request):
        if request["do"] == "die":
            raise DeviceLostError("killed")
        return [{}]

    with MockTransport(lose).open(ANY) as worker:
        for request in ("die", "hello"):
            with pytest.raises(DeviceLostError):
                list(worker.ask(request))


def test_a_request_has_the_limit_for_each_of_its_networks():
    assert limit_of({"do": "hello"}, 10) == 10
    assert limit_of({"do": "measure", "graphs": ["a", "b", "c"]}, 10) == 30


def test_workers_have_the_limit_whoever_opens_them():
    transport = ScriptedTransport()
    with LimitedTransport(transport, 7.0).open(ANY):
        assert transport.limits_s == [7.0]


@pytest.mark.parametrize("answers", [[], [{}, {}]])
def test_one_answer_is_one_answer(answers: list[dict[str, object]]):
    with MockTransport(lambda _: answers).open(ANY) as worker, pytest.raises(DeviceLostError, match="'hello'"):
        ask_once(worker, "hello")


def test_an_answer_that_lacks_something_is_one_line_that_names_it():
    with pytest.raises(DeviceLostError, match=r"'hello' is not hwprof's \('versions' is missing"), understood("hello"):
        {}["versions"]


def losing(times: int, error: type[DeviceLostError] = DeviceLostError) -> ScriptedTransport:
    """Loses so many workers, each at its first request."""

    def lose(_request):
        if transport.workers <= times:
            raise error("killed")

    transport = ScriptedTransport(lose)
    return transport


def test_a_worker_that_is_lost_while_it_starts_is_started_again():
    transport = losing(STARTS - 1)
    with RestartedWorker(transport, ANY) as worker:
        assert ask_once(worker, "snapshot") == {"cores": [3]}
        assert ask_once(worker, "snapshot") == {"cores": [3]}
    assert transport.workers == STARTS


def test_a_worker_is_started_a_bounded_number_of_times():
    transport = losing(STARTS)
    with RestartedWorker(transport, ANY) as worker:
        with pytest.raises(DeviceLostError, match="killed"):
            ask_once(worker, "snapshot")
        assert transport.workers == STARTS
        assert ask_once(worker, "snapshot")  # another request starts another


def test_a_worker_that_took_too_long_is_not_asked_the_same_again():
    transport = losing(STARTS, TimeLimitError)
    with RestartedWorker(transport, ANY) as worker, pytest.raises(TimeLimitError):
        ask_once(worker, "snapshot")
    assert transport.workers == 1
