from pathlib import Path

from hwprof import onnx_io
from hwprof.graph import Graph
from hwprof.measure.weights_identity import weights_identity


def test_drawn_weights_are_known_by_their_seed(tiny_graph: Graph):
    assert weights_identity(tiny_graph) == "seed 0"


def test_a_file_is_known_by_its_content_and_not_by_its_name(tiny_graph: Graph, tmp_path: Path):
    for name in ("a.onnx", "b.onnx"):
        onnx_io.save(tiny_graph, tmp_path / name)
    a, b = (onnx_io.load(tmp_path / name) for name in ("a.onnx", "b.onnx"))
    assert weights_identity(a) == weights_identity(b) != "seed 0"
    onnx_io.save(tiny_graph.renamed("another"), tmp_path / "b.onnx")
    assert weights_identity(b) != weights_identity(a)
