from dataclasses import replace

import pytest

import hwprof as hp
from hwprof.device import Device
from hwprof.errors import InputError
from hwprof.graph import Graph
from hwprof.jobs import Options, comparing
from hwprof.measurement import FAST

EDGE = Device.load("roofline-edge-gpu")
QUICK = Options(FAST, with_operators=False, on_warning=lambda _text: None)


def test_models_are_given_as_on_the_command_line(tiny_graph: Graph):
    rows = hp.compare([tiny_graph, "bert_tiny", "resnet18"], "roofline-edge-gpu", options=QUICK)
    assert [(row.a.model, row.b.model) for row in rows] == [("tiny", "bert_tiny"), ("tiny", "resnet18")]
    assert {row.verdict for row in rows} == {"slower"}


def test_one_model_is_compared_to_its_variant():
    (row,) = hp.compare(["mobilenet_v3_small"], EDGE, variant="prune:0.5", options=QUICK)
    assert row.b.model == "mobilenet_v3_small-prune0.5"
    assert row.verdict == "faster"


def test_a_variant_is_compared_to_one_model_only(tiny_graph: Graph):
    with pytest.raises(InputError, match="give one model"):
        hp.compare([tiny_graph, tiny_graph], EDGE, variant="fp16")


def test_one_network_is_compared_to_nothing(tiny_graph: Graph):
    with pytest.raises(InputError, match="compare needs at least two networks"):
        hp.compare([tiny_graph], EDGE, options=replace(QUICK))


def test_a_quantized_network_with_other_outputs_is_warned_of(tiny_graph: Graph, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(comparing, "WRONG_ERROR", 0.0)
    fast = replace(QUICK, settings=replace(FAST, min_processes=2, max_processes=2, budget_s=1.0), allow_unfit=True)
    told: list[str] = []
    (row,) = hp.compare([tiny_graph], "cpu-1t", variant="int8", options=replace(fast, on_warning=told.append))
    assert any(f"{row.b.model}: its outputs are " in text and "it may compute something else" in text for text in told)


def test_a_quantized_network_is_compared_with_the_error_of_its_outputs(tiny_graph: Graph):
    fast = replace(QUICK, settings=replace(FAST, min_processes=2, max_processes=2, budget_s=1.0), allow_unfit=True)
    steps: list[str] = []
    (row,) = hp.compare([tiny_graph], "cpu-1t", variant="int8", options=replace(fast, on_step=steps.append))
    assert steps == [
        f"opening or compiling tiny / {row.b.model} on cpu-1t",
        f"running both networks for the error of the outputs of {row.b.model}",
    ]
    assert row.output_error is not None
    assert 0 < row.output_error < 0.2
