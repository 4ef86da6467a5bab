from dataclasses import replace
from pathlib import Path

import pytest

import hwprof as hp
from hwprof import onnx_io
from hwprof.builder import GraphBuilder
from hwprof.device import Device
from hwprof.errors import InputError
from hwprof.jobs import Options
from hwprof.jobs.listing import runnable
from hwprof.measurement import FAST
from tests.measure.scripted import ScriptedTransport

EDGE = Device.load("roofline-edge-gpu")
QUICK = Options(FAST, with_operators=False, on_warning=lambda _text: None)


def dense() -> hp.Graph:
    b = GraphBuilder("dense")
    return b.build(b.gemm(b.input((1, 8), name="x"), 4))


def test_every_device_and_batch_has_a_row_and_a_missing_device_its_reason():
    absent = replace(EDGE, name="absent", backend="onnxruntime").with_options(provider="Nobody")
    absent = replace(absent, options=(("provider", "Nobody"),))
    found = hp.sweep([dense()], [EDGE, absent], batches=[1, 4], options=QUICK)
    assert [(r.device, r.batch) for r in found.rows] == [
        ("roofline-edge-gpu", 1), ("absent", 1), ("roofline-edge-gpu", 4), ("absent", 4),
    ]  # fmt: skip
    assert ["provider 'Nobody'" in r.reason for r in found.rows] == [False, True, False, True]


def test_two_threads_are_another_device_and_an_analytic_one_has_none_to_choose():
    cpu = replace(EDGE, kind="cpu", name="cpu")
    told: list[str] = []
    played = replace(QUICK, transport=ScriptedTransport(), on_note=told.append)
    found = hp.sweep([dense()], [cpu, EDGE], threads=[1, 2], options=played)
    assert [(r.device, r.threads) for r in found.rows] == [("cpu", 1), ("cpu/2t", 2), ("roofline-edge-gpu", 1)]
    assert told == ["device 1 of 3: cpu", "device 2 of 3: cpu/2t", "device 3 of 3: roofline-edge-gpu"]


def test_shapes_are_swept(tmp_path: Path):
    onnx_io.save(dense(), tmp_path / "dense.onnx")
    found = hp.sweep([str(tmp_path / "dense.onnx")], [EDGE], shapes={"x": [(1, 8), (1, 9)]}, options=QUICK)
    assert [(r.shape, bool(r.measurement)) for r in found.rows] == [("x=1,8", True), ("x=1,9", False)]


def test_equal_networks_are_measured_once_and_have_a_row_each():
    found = hp.sweep([dense(), dense()], [EDGE], options=QUICK)
    assert len(found.rows) == 2
    assert all(r.measurement for r in found.rows)


def test_impossible_numbers_are_refused():
    with pytest.raises(InputError, match="threads and batches of at least 1"):
        hp.sweep([dense()], [EDGE], batches=[0])


def test_a_device_that_cannot_run_a_model_says_why_without_measuring():
    answers = {d.name: why for d, why in runnable(dense(), [EDGE, "integer-scalar"])}
    assert answers["roofline-edge-gpu"] == ""
    assert "it is a float network" in answers["integer-scalar"]
