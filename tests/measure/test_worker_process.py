import os
import signal
import sys

import pytest

from hwprof.device import Device
from hwprof.errors import DeviceLostError, HwprofError, InputError
from hwprof.measure import cores
from hwprof.measure.worker_process import LOCAL, LocalTransport

DEVICE = Device.load("cpu-1t")


def test_a_worker_sits_on_its_devices_cores_and_names_its_runtime():
    with LOCAL.open(DEVICE) as process:
        assert os.sched_getaffinity(process.pid) == set(cores.usable())
        (hello,) = process.ask("hello", device=DEVICE.to_record())
        assert os.sched_getaffinity(process.pid) == set(cores.choose(DEVICE))
    assert hello["evidence"] == "measured"
    assert hello["pid"] == process.pid
    assert set(hello["versions"]) == {"onnxruntime"}


def test_an_error_in_the_worker_keeps_its_class_and_line_and_the_worker_goes_on():
    with LOCAL.open(DEVICE) as process:
        with pytest.raises(InputError, match="no backend is named 'nothing'"):
            list(process.ask("hello", device={**DEVICE.to_record(), "backend": "nothing"}))
        with pytest.raises(HwprofError, match="no such request"):
            list(process.ask("no such request"))
        assert list(process.ask("hold", device=DEVICE.with_options().to_record() | {"backend": "roofline"}))


def test_a_killed_worker_is_a_lost_device():
    with LOCAL.open(DEVICE) as process:
        os.kill(process.pid, signal.SIGKILL)
        with pytest.raises(DeviceLostError, match="killed by SIGKILL"):
            list(process.ask("hello", device=DEVICE.to_record()))


def test_a_command_that_fails_shows_its_last_line():
    transport = LocalTransport((sys.executable, "-c", "raise SystemExit('no such cable')"))
    with transport.open(DEVICE) as process, pytest.raises(DeviceLostError, match="ended with status 1: no such cable"):
        list(process.ask("hello", device=DEVICE.to_record()))
