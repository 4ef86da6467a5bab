from pathlib import Path

import pytest

from hwprof import onnx_io
from hwprof.errors import InputError
from hwprof.graph import Graph
from hwprof.workloads.loading import load_network


def test_a_graph_a_file_and_a_name_are_all_networks(tiny_graph: Graph, tmp_path: Path):
    onnx_io.save(tiny_graph, tmp_path / "tiny.onnx")
    assert load_network(tiny_graph) is tiny_graph
    assert load_network(tmp_path / "tiny.onnx") == tiny_graph
    assert load_network("bert_tiny").name == "bert_tiny"


def test_a_workload_takes_no_shapes():
    with pytest.raises(InputError, match=r"--shape is for \.onnx files"):
        load_network("bert_tiny", {"tokens": (1, 2)})


def test_another_name_lists_the_workloads():
    with pytest.raises(InputError, match=r"'mobilnet' is neither an \.onnx file nor a workload; workloads: bert_base"):
        load_network("mobilnet")
