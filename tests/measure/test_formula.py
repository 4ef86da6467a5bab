import os
import sys
from dataclasses import asdict, replace

import pytest

from hwprof.builder import GraphBuilder
from hwprof.device import Device
from hwprof.errors import DeviceLostError, EnvironmentUnfitError, HwprofError, InputError
from hwprof.graph import Graph, Node
from hwprof.measure import worker_process
from hwprof.measure.formula import open_formula
from hwprof.measure.transport import Worker, ask_once
from hwprof.measure.worker_process import LOCAL, LocalTransport, WorkerProcess
from hwprof.measurement import FAST
from tests.samples import noisy_device

DEVICE = noisy_device(0.05, 0.1)


def request(graph: Graph, number: int = 2, device: Device = DEVICE) -> dict[str, object]:
    return {
        "device": device.to_record(), "settings": asdict(FAST), "graphs": [graph.to_json()], "round": number,
        "blocks": 3, "most_s": 60.0, "anchors_for_ns": None, "in_detail": True,
    }  # fmt: skip


def samples(worker: Worker, graph: Graph, number: int) -> list[object]:
    process = ask_once(worker, "measure", **request(graph, number))["process"]
    return [process["round"], process["cold_ns"], process["warmup_ns"], [b["samples_ns"] for b in process["blocks"]]]


def test_a_formula_starts_no_process(tiny_graph: Graph, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delattr(worker_process, "WorkerProcess")
    with LOCAL.open(DEVICE) as worker:
        assert ask_once(worker, "opening", device=DEVICE.to_record(), graph=tiny_graph.to_json()) == {"opened": True}


def test_a_formula_answers_as_in_a_process_of_its_own(tiny_graph: Graph):
    with WorkerProcess() as alone, open_formula() as here:
        first, second = ([samples(worker, tiny_graph, number) for number in (0, 1)] for worker in (alone, here))
    assert first == second
    assert first[0] != first[1]  # the simulated processes differ


def test_this_process_keeps_its_cores_and_its_environment(tiny_graph: Graph, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("HWPROF_PROCESS", raising=False)
    before = os.sched_getaffinity(0), dict(os.environ)
    with open_formula() as worker:
        ask_once(worker, "measure", **request(tiny_graph))
        assert (os.sched_getaffinity(0), dict(os.environ)) == before


def test_this_process_memory_is_not_taken_for_the_networks(tiny_graph: Graph):
    with open_formula() as worker:
        assert ask_once(worker, "measure", **request(tiny_graph))["process"]["peak_memory_bytes"] == 0


def test_errors_keep_their_class():
    b = GraphBuilder("strange")
    graph = b.build(b.unary("Identity", b.input((1,))))
    strange = replace(graph, nodes=(Node("Frobnicate", graph.nodes[0].inputs, graph.nodes[0].outputs),))
    with open_formula() as worker:
        for asked, kind in (
            (request(strange), HwprofError),
            (request(graph, device=replace(DEVICE, precision="float16")), InputError),
            (request(graph, device=replace(DEVICE, threads=999)), EnvironmentUnfitError),
        ):
            with pytest.raises(kind):
                ask_once(worker, "measure", **asked)


def test_another_command_is_run_for_a_formula_too():
    transport = LocalTransport((sys.executable, "-c", "raise SystemExit('no such cable')"))
    with transport.open(DEVICE) as worker, pytest.raises(DeviceLostError, match="no such cable"):
        ask_once(worker, "hello", device=DEVICE.to_record())
