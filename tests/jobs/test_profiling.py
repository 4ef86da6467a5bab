from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import hwprof as hp
from hwprof import cost, jobs, onnx_io
from hwprof.data.store import Store
from hwprof.device import Device
from hwprof.errors import InputError, UnknownOperatorError
from hwprof.graph import Constant, Graph, Node
from hwprof.jobs import Options
from hwprof.measurement import FAST, Evidence, Status

EDGE = Device.load("roofline-edge-gpu")
QUICK = Options(settings=FAST)


def test_profile_is_one_line_of_python(tiny_graph: Graph):
    m = hp.profile(tiny_graph, "roofline-edge-gpu", options=QUICK)
    assert m.status is Status.CONVERGED
    assert np.isnan(m.interval_ms).all()  # a formula's error is not known
    assert m.evidence is Evidence.ANALYTIC
    assert sum(o.ns for o in m.operators) == pytest.approx(m.latency_ms * 1e6, rel=1e-3)


def test_what_a_profile_does_besides_measuring_is_a_step(tiny_graph: Graph):
    steps: list[str] = []
    hp.profile(tiny_graph, EDGE, options=replace(QUICK, on_step=steps.append))
    assert steps == ["opening or compiling tiny on roofline-edge-gpu", "timing the operators of tiny"]


def test_a_variant_is_profiled_and_its_warnings_are_told(tiny_graph: Graph):
    told: list[str] = []
    m = hp.profile(tiny_graph, EDGE, variant="prune:0.5", options=replace(QUICK, on_warning=told.append))
    assert m.model == "tiny-prune0.5"
    assert told[0].startswith("tiny-prune0.5: the network was not trained further")


def test_the_warnings_of_a_variant_are_pythons_unless_they_are_asked_for(tiny_graph: Graph):
    with pytest.warns(UserWarning, match="its accuracy is not"):
        hp.profile(tiny_graph, EDGE, variant="prune:0.5", options=QUICK)


def test_one_bad_model_among_good_ones_is_told_and_the_others_go_on():
    refused: list[str] = []
    models = ["bert_tiny", "missing.onnx"]
    outcomes = list(jobs.profile_models(models, EDGE, options=QUICK, on_error=lambda model, _: refused.append(model)))
    assert [o.graph.name for o in outcomes] == ["bert_tiny"]
    assert refused == ["missing.onnx"]
    with pytest.raises(InputError, match=r"cannot read missing\.onnx"):
        list(jobs.profile_models(models, EDGE, options=QUICK))


def test_an_operator_of_unknown_cost_does_not_hinder_a_real_runtime(tiny_graph: Graph, tmp_path: Path):
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
    one = replace(FAST, min_processes=1, max_processes=1)
    m = hp.profile(strange, "cpu-1t", options=Options(one, with_operators=False))
    assert m.latency_ms > 0


def test_a_stored_measurement_is_returned_without_measuring(tiny_graph: Graph):
    with Store() as store:
        list(jobs.profile_many([tiny_graph], EDGE, store, QUICK))
        (again,) = jobs.profile_many([tiny_graph], EDGE, store, QUICK)
    assert again.stored is not None
