"""What must work on an ARM machine: runs under emulation by `make test-arm`, and on a board as it stands."""

from __future__ import annotations

import json
import platform
import sys

import pytest

from hwprof import plugins
from hwprof.__main__ import run
from hwprof.device import Device
from hwprof.measure import environment
from hwprof.measure.worker_process import LOCAL
from hwprof.testing import check_backend, reference_graphs

pytestmark = pytest.mark.skipif(platform.machine() != "aarch64", reason="for ARM; make test-arm emulates it")


@pytest.mark.parametrize("name", ["onnxruntime", "roofline"])
def test_a_backend_keeps_the_contract(name, device_of):
    check_backend(plugins.load("backend", name), device_of(name), reference_graphs())


def test_tvm_compiles_here_and_computes_what_onnx_runtime_does():
    graph = reference_graphs()[-1]
    with plugins.load("backend", "tvm").open(graph, Device("here", "tvm")) as timer:
        assert len(timer(3)) == 3


def test_the_processor_is_told_by_its_part_and_features():
    found = environment.hardware()
    assert found["machine"] == "aarch64"
    assert "0xd0b" in found["cpu_identity"]
    assert {"asimd", "asimddp"} <= set(found["features"])


def test_a_worker_process_times_a_network(tiny_graph, device_of):
    device = device_of("onnxruntime")
    with LOCAL.open(device) as worker:
        (hello,) = worker.ask("hello", device=device.to_record())
        graphs = [tiny_graph.to_json()]
        (answer,) = worker.ask("peaks", device=device.to_record(), graphs=graphs)
    assert hello["evidence"] == "measured"
    assert answer["latency_ns"] > 0


def test_the_command_line_starts(capsys):
    assert run(["devices", "--format", "json"]) == 0
    assert "cpu-1t" in {row["device"] for row in json.loads(capsys.readouterr().out)}
    assert sys.version_info >= (3, 11)
