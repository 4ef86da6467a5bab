import io
import json
import os
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import pytest

from hwprof.device import Device
from hwprof.graph import Graph
from hwprof.measure import cores, environment, worker
from hwprof.measure.exclusive import machine_to_ourselves
from hwprof.measurement import FAST
from tests.samples import noisy_device

DEVICE = Device.load("cpu-1t")
ANALYTIC = noisy_device()


def served(*requests: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The lines that a worker in this process answers."""
    answers = io.StringIO()
    worker.serve(io.StringIO("".join(json.dumps(request) + "\n" for request in requests)), answers)
    return [json.loads(line) for line in answers.getvalue().splitlines()]


def test_every_request_ends_with_done():
    assert served({"do": "hello", "device": ANALYTIC.to_record()})[-1] == {"done": True}


@pytest.mark.parametrize(("most_s", "blocks"), [(0.0, 2), (60.0, 5)])
def test_a_process_ends_after_its_time_with_two_blocks_at_least(tiny_graph: Graph, most_s: float, blocks: int):
    answer, _ = served({
        "do": "measure", "device": ANALYTIC.to_record(), "settings": asdict(FAST), "graphs": [tiny_graph.to_json()],
        "round": 0, "blocks": 5, "most_s": most_s, "anchors_for_ns": None, "in_detail": False,
    })  # fmt: skip
    assert len(answer["process"]["blocks"]) == blocks
    assert answer["process"]["clock"] == "calculation"


def test_the_cost_of_a_stamp_is_known_and_small():
    empty, identity, _ = served({"do": "overhead", "device": DEVICE.to_record()})
    stamped, plain = empty["empty_ns"]
    assert 0 < stamped - plain < 10_000
    assert identity["identity_ns"][0] > 0


def test_a_worker_tells_its_hardware_and_the_fingerprint_of_it():
    hello, _ = served({"do": "hello", "device": ANALYTIC.to_record()})
    assert hello["hardware"] == environment.hardware()
    assert hello["fingerprint"] == environment.fingerprint(environment.hardware())


@pytest.mark.skipif(len(cores.usable()) < 2, reason="one core is all that may be used here")
def test_what_is_said_of_the_machine_does_not_depend_on_the_cores_that_the_worker_sits_on():
    asked = {"device": ANALYTIC.to_record()}
    checks, *_ = served({"do": "hello", **asked}, {"do": "preflight", **asked})[2:]
    assert checks["found"].startswith(f"{len(cores.usable())} usable")


def test_a_worker_gives_its_cores_back():
    before = os.sched_getaffinity(0)
    served({"do": "hello", "device": ANALYTIC.to_record()})
    assert os.sched_getaffinity(0) == before


def test_a_device_that_asks_for_too_many_threads_is_refused_by_the_worker():
    (answer,) = served({"do": "hello", "device": {**ANALYTIC.to_record(), "threads": 999}})
    assert answer["error"] == "EnvironmentUnfitError"
    assert "asks for 999 threads" in answer["text"]


@pytest.mark.parametrize(
    ("device", "is_held"),
    [(DEVICE, True), (ANALYTIC, False), (Device("board", "tvm", remote="127.0.0.1:9190"), False)],
)
def test_a_worker_holds_its_machine_only_for_what_is_measured_on_it(device: Device, is_held: bool, monkeypatch):
    locked = []
    monkeypatch.setattr(worker.WorkerState, "lock_machine", lambda _state: locked.append(True))
    answer, _ = served({"do": "hold", "device": device.to_record(with_address=True)})
    assert answer == {"is_held": is_held}
    assert bool(locked) is is_held


def test_a_worker_on_a_machine_that_is_held_is_refused(monkeypatch):
    monkeypatch.setattr(
        "hwprof.measure.worker_state.machine_to_ourselves", lambda: machine_to_ourselves("hwprof-test-worker")
    )
    hold = {"do": "hold", "device": DEVICE.to_record()}
    with machine_to_ourselves("hwprof-test-worker"):
        (answer,) = served(hold)
    assert answer["error"] == "MachineBusyError"
    assert "another hwprof is measuring" in answer["text"]
    assert served(hold, hold)[0] == {"is_held": True}  # twice by one worker, and free again after it
