import os
import signal

import pytest

from hwprof.device import Device
from hwprof.errors import DeviceLostError, EnvironmentUnfitError, MachineBusyError, TimeLimitError
from hwprof.measure.hold import held
from hwprof.measure.transport import LIMIT_S
from hwprof.measure.worker_process import LOCAL
from hwprof.measurement import Evidence
from tests.measure.scripted import ScriptedTransport

ANY = Device("any", "roofline")


def test_the_machine_is_held_before_a_worker_opens_and_by_a_worker_of_its_own():
    transport = ScriptedTransport()
    with held(transport, ANY) as alone:
        assert [request["do"] for request in transport.requests] == ["hold"]
        with alone.open(ANY) as worker:
            list(worker.ask("hello", device={}))
    assert transport.workers == 2


def test_a_device_that_is_not_measured_there_needs_no_holder():
    transport = ScriptedTransport(evidence=Evidence.ANALYTIC)
    with held(transport, ANY) as alone, alone.open(ANY), alone.open(ANY):
        assert len(transport.asked("hold")) == 1


def test_a_machine_that_another_holds_is_refused():
    def refuse(_request):
        raise EnvironmentUnfitError("another hwprof is measuring on this machine")

    with pytest.raises(EnvironmentUnfitError, match="another hwprof"), held(ScriptedTransport(refuse), ANY):
        pass


def test_a_machine_that_another_holds_is_waited_for(monkeypatch):
    monkeypatch.setattr("hwprof.measure.hold._POLL_S", 0.001)

    def refuse_twice(_request):
        if len(transport.requests) < 3:
            raise MachineBusyError("another hwprof is measuring on this machine")

    transport = ScriptedTransport(refuse_twice)
    with held(transport, ANY, wait_s=60.0):
        assert len(transport.asked("hold")) == 3


def test_waiting_ends(monkeypatch):
    def refuse(_request):
        raise MachineBusyError("another hwprof is measuring on this machine")

    with pytest.raises(MachineBusyError), held(ScriptedTransport(refuse), ANY, wait_s=0.01):
        pass


def test_a_lost_holder_is_replaced_before_the_next_worker_opens():
    lost = []

    def lose_second(request):
        if request["do"] == "hold" and len(transport.asked("hold")) == 2 and not lost:
            lost.append(request)
            raise DeviceLostError("killed")

    transport = ScriptedTransport(lose_second)
    with held(transport, ANY) as alone, alone.open(ANY):
        assert lost
        assert len(transport.asked("hold")) == 3  # first, lost, by the new holder
        assert transport.workers == 3


def test_a_holder_that_stands_still_is_ended_and_replaced():
    def stand_still(request):
        if len(transport.asked("hold")) == 2:
            raise TimeLimitError("the worker did not answer")

    transport = ScriptedTransport(stand_still)
    with held(transport, ANY) as alone, alone.open(ANY):
        assert transport.workers == 3


def test_a_holder_that_is_lost_while_it_starts_is_started_again():
    def lose_first(_request):
        if transport.workers == 1:
            raise DeviceLostError("killed")

    transport = ScriptedTransport(lose_first)
    with held(transport, ANY):
        assert transport.workers == 2


def test_a_second_job_is_refused_while_the_first_lives_and_then_goes_on():
    device = Device.load("cpu-1t")
    with held(LOCAL, device), pytest.raises(EnvironmentUnfitError, match="another hwprof"), held(LOCAL, device):
        pass
    with held(LOCAL, device):
        pass


def test_a_killed_holder_frees_the_machine():
    device = Device.load("cpu-1t")
    holders = []

    class Seen:
        def open(self, device, limit_s=LIMIT_S):
            holders.append(LOCAL.open(device, limit_s))
            return holders[-1]

    with held(Seen(), device):
        os.kill(holders[0].pid, signal.SIGKILL)
        holders[0]._process.wait()
        with held(LOCAL, device):
            pass
