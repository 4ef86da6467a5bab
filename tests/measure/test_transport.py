import json

import pytest

from hwprof.device import Device
from hwprof.errors import DeviceLostError, HwprofError, InputError
from hwprof.measure.transport import MockTransport, read_answers

ANY = Device("any", "roofline")


def test_the_answers_of_one_request_end_with_done():
    lines = iter(['{"a": 1}\n', '{"a": 2}\n', '{"done": true}\n', '{"a": 3}\n'])
    assert list(read_answers(lines)) == [{"a": 1}, {"a": 2}]
    assert next(lines) == '{"a": 3}\n'


def test_an_error_is_raised_as_the_worker_raised_it():
    line = json.dumps({"error": "InputError", "text": "no such operator"}) + "\n"
    with pytest.raises(InputError, match="no such operator"):
        list(read_answers([line]))


def test_an_error_of_an_unknown_class_is_one_of_hwprof():
    with pytest.raises(HwprofError, match="strange"):
        list(read_answers(['{"error": "NewerError", "text": "strange"}\n']))


@pytest.mark.parametrize("lines", [[], ['{"a": 1}\n'], ['{"a": 1}\n', '{"do']])
def test_answers_that_end_before_they_are_done_are_an_error(lines: list[str]):
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
