from dataclasses import replace
from pathlib import Path

import pytest

import hwprof as hp
from hwprof import cost, jobs, onnx_io
from hwprof.data.store import Store
from hwprof.device import Device
from hwprof.errors import InputError, UnknownOperatorError
from hwprof.graph import Constant, Graph, Node
from hwprof.jobs import Options
from hwprof.measurement import FAST, Evidence, Status
from tests.samples import make_process

EDGE = Device.load("roofline-edge-gpu")
QUICK = Options(settings=FAST)


def test_a_graph_a_file_and_a_name_are_all_networks(tiny_graph: Graph, tmp_path: Path):
    onnx_io.save(tiny_graph, tmp_path / "tiny.onnx")
    assert jobs.resolve(tiny_graph) is tiny_graph
    assert jobs.resolve(tmp_path / "tiny.onnx") == tiny_graph
    assert jobs.resolve("bert_tiny").name == "bert_tiny"


def test_a_workload_takes_no_shapes():
    with pytest.raises(InputError, match=r"--shape is for \.onnx files"):
        jobs.resolve("bert_tiny", {"tokens": (1, 2)})


def test_profile_is_one_line_of_python(tiny_graph: Graph):
    m = hp.profile(tiny_graph, "roofline-edge-gpu", options=QUICK)
    low, high = m.interval_ms
    assert m.status is Status.CONVERGED
    assert low <= m.latency_ms <= high
    assert m.evidence is Evidence.ANALYTIC
    assert sum(o.ns for o in m.operators) == pytest.approx(m.latency_ms * 1e6, rel=1e-3)


def test_an_operator_of_unknown_cost_is_no_hindrance_to_a_real_runtime(tiny_graph: Graph, tmp_path: Path):
    hamming = Node("HammingWindow", ("size",), ("window",))
    onnx_io.save(tiny_graph, tmp_path / "tiny.onnx")
    graph = replace(onnx_io.load(tmp_path / "tiny.onnx"))
    strange = replace(
        graph,
        nodes=(*graph.nodes, hamming),
        constants=(*graph.constants, Constant("size", "int64", (), (10,))),
        source=None,
    )
    with pytest.raises(UnknownOperatorError, match="HammingWindow"):
        cost.of(strange)
    m = hp.profile(strange, "cpu-1t", options=replace(QUICK, with_operators=False))
    assert m.latency_ms > 0


def test_a_sweep_measures_each_network_once_and_keeps_the_others_when_one_fails(tiny_graph: Graph):
    strange = replace(
        tiny_graph,
        nodes=(*tiny_graph.nodes, Node("NoSuch", tiny_graph.outputs, ("y",))),
        outputs=("y",),
        name="strange",
    )
    with Store() as store:
        outcomes = list(jobs.profile_many([tiny_graph, strange, tiny_graph], EDGE, store, QUICK))
        again = list(jobs.profile_many([tiny_graph], EDGE, store, QUICK))
    assert sorted(o.graph.name for o in outcomes) == ["strange", "tiny"]
    failed = next(o for o in outcomes if o.graph.name == "strange")
    assert isinstance(failed.error, InputError)
    assert again[0].stored is not None


def test_another_protocol_device_or_weights_is_another_measurement(tiny_graph: Graph, tmp_path: Path):
    onnx_io.save(tiny_graph, tmp_path / "tiny.onnx")
    from_file = onnx_io.load(tmp_path / "tiny.onnx")
    assert from_file.digest == tiny_graph.digest
    with Store() as store:
        list(jobs.profile_many([tiny_graph], EDGE, store, QUICK))
        others = [
            (tiny_graph, EDGE, replace(QUICK, settings=replace(FAST, target=0.02))),
            (tiny_graph, EDGE.with_options(launch_ns=1000), QUICK),
            (from_file, EDGE, QUICK),
        ]
        for graph, device, options in others:
            (outcome,) = jobs.profile_many([graph], device, store, options)
            assert outcome.stored is None


def test_a_renamed_device_is_the_same_measurement_under_its_name(tiny_graph: Graph):
    with Store() as store:
        list(jobs.profile_many([tiny_graph], EDGE, store, QUICK))
        (outcome,) = jobs.profile_many([replace(tiny_graph, name="other")], replace(EDGE, name="x"), store, QUICK)
    assert outcome.stored is not None
    assert outcome.measurement is not None
    assert outcome.measurement.model == "other"


def test_the_undisturbed_time_of_an_anchor_is_its_first_decile():
    process = make_process(0, [1e6] * 11)
    blocks = tuple(replace(b, anchors_ns={"compute": 100.0 + i}) for i, b in enumerate(process.blocks))
    assert jobs.undisturbed_ns([replace(process, blocks=blocks)]) == {"compute": pytest.approx(101)}


def test_a_narrow_interval_that_is_not_yet_trusted_says_why(tiny_graph: Graph):
    few = replace(FAST, min_processes=3, max_processes=2, pilot_processes=2)
    m = hp.profile(tiny_graph, "roofline-edge-gpu", options=replace(QUICK, settings=few))
    assert m.status is Status.BUDGET
    assert m.statistics.relative_half_width < few.target
    assert any("but not twice in a row within +-3.0%" in w for w in m.warnings)
