import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest

from hwprof import onnx_io
from hwprof.builder import GraphBuilder
from hwprof.errors import InputError
from hwprof.fleet.cache import Cache
from hwprof.fleet.parcel import Parcel, digests, unpacked
from hwprof.graph import Graph
from hwprof.measure.weights_identity import weights_identity
from hwprof.workloads.loading import load_network


def sent(graphs: list[Graph], folder: Path) -> list[Graph]:
    """The graphs after their way through JSON."""
    parcel = Parcel()
    records = json.loads(json.dumps([parcel.packed(graph) for graph in graphs]))
    assert digests(records) == parcel.contents.keys()
    return unpacked(records, filled(folder / "cache", json.loads(json.dumps(parcel.contents))), folder)


def filled(folder: Path, contents: dict[str, str]) -> Cache:
    cache = Cache(folder)
    cache.open()
    cache.add(contents)
    return cache


@pytest.fixture
def graph(tmp_path: Path) -> Graph:
    """A network with its own weights in a file."""
    b = GraphBuilder("dense")
    onnx.save(onnx_io.materialize(b.build(b.gemm(b.input((1, 8)), 4))), tmp_path / "dense.onnx")
    return load_network(str(tmp_path / "dense.onnx"))


def test_a_graph_arrives_as_it_was_sent(tmp_path: Path, tiny_graph: Graph):
    assert sent([tiny_graph], tmp_path) == [tiny_graph]


def test_a_model_arrives_with_its_weights(tmp_path: Path, graph: Graph):
    (arrived,) = sent([graph], tmp_path / "board")
    assert arrived.digest == graph.digest
    assert Path(arrived.source).is_relative_to(tmp_path / "board")
    assert weights_identity(arrived) == weights_identity(graph)


def test_large_weights_of_their_own_file_arrive_next_to_the_model(tmp_path: Path, graph: Graph):
    (tmp_path / "large").mkdir()
    path = tmp_path / "large" / "model.onnx"
    onnx.save(onnx.load(graph.source), path, save_as_external_data=True, location="model.data", size_threshold=0)
    (arrived,) = sent([load_network(str(path))], tmp_path / "board")
    assert (Path(arrived.source).parent / "model.data").read_bytes() == (path.parent / "model.data").read_bytes()


def test_arrays_of_inputs_arrive(tmp_path: Path, tiny_graph: Graph):
    np.save(tmp_path / "x.npy", np.ones((1, 3, 8, 8), np.float32))
    given = ((tiny_graph.inputs[0].name, str(tmp_path / "x.npy")),)
    (arrived,) = sent([replace(tiny_graph, given=given)], tmp_path / "board")
    assert np.load(arrived.given[0][1]).sum() == 3 * 8 * 8


def test_equal_files_are_sent_once(graph: Graph):
    parcel = Parcel()
    for _ in range(3):
        parcel.packed(graph)
    assert len(parcel.contents) == 2  # the graph and the model


@pytest.mark.parametrize("name", ["../x.onnx", "/etc/x.onnx", ""])
def test_a_file_outside_the_folder_is_refused(tmp_path: Path, tiny_graph: Graph, name: str):
    parcel = Parcel()
    record = parcel.packed(tiny_graph)
    record["source"] = [[name, record["graph"]]]
    with pytest.raises(InputError, match="outside its folder"):
        unpacked([record], filled(tmp_path / "cache", parcel.contents), tmp_path)
