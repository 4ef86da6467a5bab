import io
import json
import os
import signal

import pytest

from hwprof.device import Device
from hwprof.errors import DeviceLostError, HwprofError, InputError
from hwprof.measure import cores, worker
from hwprof.measure.worker_process import WorkerProcess

DEVICE = Device.load("cpu-1t")


def test_a_worker_sits_on_its_cores_and_names_its_runtime():
    with WorkerProcess(cores.choose(DEVICE)) as process:
        (hello,) = process.ask("hello", device=DEVICE.to_record())
        assert os.sched_getaffinity(process.pid) == set(cores.choose(DEVICE))
    assert hello["evidence"] == "measured"
    assert hello["pid"] == process.pid
    assert set(hello["versions"]) == {"onnxruntime"}


def test_the_cost_of_a_stamp_is_known_and_small():
    with WorkerProcess(cores.choose(DEVICE)) as process:
        answers = list(process.ask("overhead", device=DEVICE.to_record()))
    stamped, plain = answers[0]["empty_ns"]
    assert 0 < stamped - plain < 10_000
    assert answers[1]["identity_ns"][0] > 0


def test_an_error_in_the_worker_keeps_its_class_and_line():
    with WorkerProcess() as process, pytest.raises(InputError, match="no backend is named 'nothing'"):
        list(process.ask("hello", device={**DEVICE.to_record(), "backend": "nothing"}))


def test_after_an_error_the_worker_goes_on():
    with WorkerProcess() as process:
        with pytest.raises(HwprofError):
            list(process.ask("no such request"))
        assert list(process.ask("hello", device=DEVICE.to_record()))


def test_a_killed_worker_is_a_lost_device():
    with WorkerProcess() as process:
        os.kill(process.pid, signal.SIGKILL)
        with pytest.raises(DeviceLostError, match="killed by SIGKILL"):
            list(process.ask("hello", device=DEVICE.to_record()))


def test_a_command_that_fails_shows_its_last_line():
    import sys

    with (
        WorkerProcess(command=(sys.executable, "-c", "raise SystemExit('no such cable')")) as process,
        pytest.raises(DeviceLostError, match="ended with status 1: no such cable"),
    ):
        list(process.ask("hello", device=DEVICE.to_record()))


def test_every_request_ends_with_done():
    answers = io.StringIO()
    worker.serve(io.StringIO(json.dumps({"do": "hello", "device": DEVICE.to_record()}) + "\n"), answers)
    assert json.loads(answers.getvalue().splitlines()[-1]) == {"done": True}
