import os

import pytest

from hwprof.errors import EnvironmentUnfitError
from hwprof.measure import cores, worker_state
from hwprof.measure.exclusive import machine_to_ourselves
from hwprof.measure.worker_state import WorkerState
from tests.samples import noisy_device

DEVICE = noisy_device()


@pytest.fixture
def state():
    with WorkerState() as found:
        yield found


def test_a_process_is_pinned_to_the_cores_of_each_request(state: WorkerState):
    usable = cores.usable()
    for number in (usable[0], usable[-1]):  # of all that were granted, not of those of the request before
        device, _ = state.pinned({"device": {**DEVICE.to_record(), "cores": [number]}})
        assert device.cores == (number,)
        assert state.cores == (number,)
        assert os.sched_getaffinity(0) == {number}
    state.unpin()
    assert cores.usable() == usable


def test_the_cores_are_given_back_at_the_end():
    usable = cores.usable()
    with WorkerState() as state:
        state.pinned({"device": {**DEVICE.to_record(), "cores": [usable[0]]}})
    assert cores.usable() == usable


def test_the_lock_is_taken_once_and_ends_with_the_state(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(worker_state, "machine_to_ourselves", lambda: machine_to_ourselves("hwprof-test-state"))
    with WorkerState() as first, WorkerState() as second:
        first.lock_machine()
        first.lock_machine()
        with pytest.raises(EnvironmentUnfitError, match="another hwprof is measuring"):
            second.lock_machine()
    with WorkerState() as third:
        third.lock_machine()
