from pathlib import Path

import numpy as np
import pytest

import hwprof as hp
from hwprof.device import Device
from hwprof.errors import InputError
from hwprof.graph import Graph
from hwprof.jobs import Options, baselines
from hwprof.jobs.inputs import Wanted
from hwprof.measurement import FAST
from hwprof.variants.weights import load_weights

EDGE = Device.load("roofline-edge-gpu")
QUICK = Options(FAST, with_operators=False, on_warning=lambda _text: None)


def test_a_baseline_is_the_network_with_its_weights(tiny_graph: Graph, tmp_path: Path):
    baselines.save(tiny_graph, "main", tmp_path)
    kept = baselines.load("main", Wanted(), tmp_path, tmp_path)
    assert (kept.digest, kept.name) == (tiny_graph.digest, "baseline main")
    before, after = load_weights(tiny_graph), load_weights(kept)
    assert all(np.array_equal(before[t.name], after[t.name]) for t in tiny_graph.weights)


def test_a_network_is_compared_with_a_baseline_by_name(
    tiny_graph: Graph, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    baselines.save(tiny_graph, "main")
    (row,) = hp.compare(["resnet18"], EDGE, baseline="main", options=QUICK)
    assert (row.a.model, row.b.model, row.verdict) == ("baseline main", "resnet18", "slower")


def test_a_baseline_that_is_not_there_says_how_to_make_it(tmp_path: Path):
    with pytest.raises(InputError, match="known: none; keep one with hwprof profile MODEL --save-baseline main"):
        baselines.load("main", Wanted(), tmp_path, tmp_path)


def test_a_name_is_not_a_path(tmp_path: Path):
    with pytest.raises(InputError, match="a baseline's name"):
        baselines.file_of("../main", tmp_path)


def test_a_variant_and_a_baseline_are_not_both_compared_with(tiny_graph: Graph):
    with pytest.raises(InputError, match="give one of them"):
        hp.compare([tiny_graph], EDGE, variant="fp16", baseline="main")
