import os
import signal
from dataclasses import replace

import pytest

from hwprof.builder import GraphBuilder
from hwprof.device import Device
from hwprof.errors import DeviceLostError, EnvironmentUnfitError, InputError
from hwprof.graph import Graph, Node
from hwprof.measure.session import Group, Session, operators
from hwprof.measure.worker_process import WorkerProcess
from hwprof.measurement import FAST, Process, ProtocolSettings
from tests.samples import noisy_device

QUICK = replace(FAST, pilot_blocks=3, min_blocks=3, max_blocks=6)


def session(device: Device, seen: list, settings: ProtocolSettings = QUICK) -> Session:
    return Session(device, settings, lambda graph, process: seen.append((graph.name, process)))


def other(graph: Graph, name: str) -> Graph:
    relu = Node("Relu", graph.outputs, (f"{name}_out",))
    return replace(graph, nodes=(*graph.nodes, relu), outputs=relu.outputs, name=name,
                   values=(*graph.values, replace(graph.type_of(graph.outputs[0]), name=f"{name}_out")))  # fmt: skip


def test_a_precise_device_converges_in_the_fewest_processes(tiny_graph: Graph):
    seen: list[tuple[str, Process]] = []
    (group,) = session(noisy_device(noise=0.001), seen).run([Group((tiny_graph,))])
    assert group.error is None
    assert group.rounds == QUICK.min_processes == len(seen)
    assert [p.round for _, p in seen] == [0, 1, 2]


def test_processes_that_differ_cost_more_rounds_up_to_the_limit(tiny_graph: Graph):
    seen: list[tuple[str, Process]] = []
    (group,) = session(noisy_device(process_noise=0.2), seen).run([Group((tiny_graph,))])
    assert group.rounds == QUICK.max_processes


def test_each_round_visits_the_graphs_in_the_reverse_order_of_the_one_before(tiny_graph: Graph):
    seen: list[tuple[str, Process]] = []
    graphs = [tiny_graph, other(tiny_graph, "second"), other(other(tiny_graph, "x"), "third")]
    list(session(noisy_device(noise=0.001), seen).run([Group((g,)) for g in graphs]))
    order = [[name for name, p in seen if p.round == r] for r in range(2)]
    assert sorted(order[0]) == ["second", "third", "tiny"]
    assert order[1] == order[0][::-1]


def test_a_round_is_one_process_for_all_graphs(tiny_graph: Graph):
    pids = set()

    class Counting(WorkerProcess):
        def __init__(self, *arguments: object) -> None:
            super().__init__(*arguments)
            pids.add(self.pid)

    import hwprof.measure.session as module

    original, module.WorkerProcess = module.WorkerProcess, Counting
    try:
        list(session(noisy_device(noise=0.001), []).run([Group((tiny_graph,)), Group((other(tiny_graph, "b"),))]))
    finally:
        module.WorkerProcess = original
    assert len(pids) == QUICK.min_processes


def test_stored_processes_are_taken_into_account(tiny_graph: Graph):
    first: list[tuple[str, Process]] = []
    list(session(noisy_device(noise=0.001), first).run([Group((tiny_graph,))]))
    again: list[tuple[str, Process]] = []
    group = Group((tiny_graph,), [[p for _, p in first][:2]])
    (ended,) = session(noisy_device(noise=0.001), again).run([group])
    assert [p.round for _, p in again] == [2]
    assert ended.rounds == 3


def test_a_graph_that_the_runtime_refuses_ends_with_its_error_and_the_others_go_on(tiny_graph: Graph):
    strange = replace(tiny_graph, nodes=(*tiny_graph.nodes, Node("NoSuchOperator", tiny_graph.outputs, ("y",))),
                      outputs=("y",), name="strange")  # fmt: skip
    groups = [Group((strange,)), Group((tiny_graph,))]
    list(session(noisy_device(noise=0.001), []).run(groups))
    assert isinstance(groups[0].error, InputError)
    assert groups[1].error is None
    assert groups[1].rounds == QUICK.min_processes


def test_a_killed_worker_is_started_again_once_and_nothing_measured_is_lost(tiny_graph: Graph):
    killed = []

    class Mortal(WorkerProcess):
        def ask(self, do: str, **arguments: object):
            if do == "measure" and arguments["round"] == 1 and not killed:
                killed.append(self.pid)
                os.kill(self.pid, signal.SIGKILL)
            return super().ask(do, **arguments)

    import hwprof.measure.session as module

    original, module.WorkerProcess = module.WorkerProcess, Mortal
    seen: list[tuple[str, Process]] = []
    try:
        (group,) = session(noisy_device(noise=0.001), seen).run([Group((tiny_graph,))])
    finally:
        module.WorkerProcess = original
    assert killed
    assert group.error is None
    assert [p.round for _, p in seen] == [0, 1, 2]


def test_a_worker_that_dies_twice_ends_its_graph_as_device_lost(tiny_graph: Graph):
    class Mortal(WorkerProcess):
        def ask(self, do: str, **arguments: object):
            if do == "measure":
                os.kill(self.pid, signal.SIGKILL)
            return super().ask(do, **arguments)

    import hwprof.measure.session as module

    original, module.WorkerProcess = module.WorkerProcess, Mortal
    try:
        (group,) = session(noisy_device(), []).run([Group((tiny_graph,))])
    finally:
        module.WorkerProcess = original
    assert isinstance(group.error, DeviceLostError)
    assert "killed by SIGKILL (out of memory?)" in str(group.error)


def test_compared_graphs_alternate_within_one_process(tiny_graph: Graph):
    seen: list[tuple[str, Process]] = []
    group = Group((tiny_graph, other(tiny_graph, "b")))
    list(session(Device.load("cpu-1t"), seen).run([group]))
    (_, a), (_, b) = [(n, p) for n, p in seen if p.round == 0]
    starts = sorted([(block.start_ns, "a") for block in a.blocks] + [(block.start_ns, "b") for block in b.blocks])
    names = [name for _, name in starts]
    assert names[:4] == ["a", "b", "b", "a"]
    assert group.rounds >= QUICK.min_processes


def test_a_real_measurement_has_anchors_warm_up_and_memory(tiny_graph: Graph):
    seen: list[tuple[str, Process]] = []
    list(session(Device.load("cpu-1t"), seen).run([Group((tiny_graph,))]))
    process = seen[0][1]
    assert set(process.blocks[0].anchors_ns) == {"compute", "copy-64k"}
    assert len(process.warmup_ns) >= 20
    assert process.cold_ns > 0
    assert process.peak_memory_bytes > 0
    assert process.blocks[0].runs_per_sample > 1  # far below 50 us: averaged, not stamped one by one


def test_operators_come_from_a_process_of_their_own(tiny_graph: Graph):
    kernels, profiled_ns = operators(tiny_graph, Device.load("cpu-1t"), runs=5)
    assert sum("Conv" in k.op for k in kernels) == 2
    assert all(k.ns > 0 for k in kernels)
    assert profiled_ns is not None
    assert profiled_ns > 0


def test_a_store_that_fails_ends_the_session_and_mixes_up_no_samples(tiny_graph: Graph):
    kept: list[str] = []

    def keep(graph: Graph, process: Process) -> None:
        if not kept:
            kept.append("failed")
            raise EnvironmentUnfitError("the disk is full")
        kept.append(graph.name)

    graphs = [tiny_graph, other(tiny_graph, "second")]
    with pytest.raises(EnvironmentUnfitError, match="the disk is full"):
        list(Session(noisy_device(noise=0.001), QUICK, keep).run([Group((g,)) for g in graphs]))
    assert kept == ["failed"]


def test_the_memory_of_a_network_does_not_depend_on_its_place_in_the_sweep(tiny_graph: Graph):
    b = GraphBuilder("large")
    large = b.build(b.matmul(b.input((1, 2048)), b.weight((2048, 2048))))  # 16 MiB of weights
    seen: list[tuple[str, Process]] = []
    list(session(Device.load("cpu-1t"), seen).run([Group((large,)), Group((tiny_graph,))]))
    peaks = {name: [p.peak_memory_bytes for n, p in seen if n == name] for name in ("large", "tiny")}
    assert min(peaks["large"]) > 16 * 2**20
    assert max(peaks["tiny"]) < 8 * 2**20
