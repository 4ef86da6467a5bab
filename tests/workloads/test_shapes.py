from pathlib import Path

import pytest

from hwprof import onnx_io
from hwprof.builder import GraphBuilder
from hwprof.cli import options
from hwprof.errors import InputError
from hwprof.workloads.loading import load_network
from hwprof.workloads.shapes import split


def test_a_model_has_its_own_shapes_after_an_at_sign():
    assert split("m.onnx@x=1,3@a=b=2") == ("m.onnx", {"x": (1, 3), "a=b": (2,)})
    assert split("me@work.onnx") == ("me@work.onnx", {})


def test_an_input_has_one_shape():
    with pytest.raises(InputError, match="gives an input two shapes"):
        split("m.onnx@x=1@x=2")


def test_a_file_is_not_split_at_its_own_at_sign(tmp_path: Path):
    file = tmp_path / "m@x=1.onnx"
    file.touch()
    assert split(str(file)) == (str(file), {})


def test_the_shapes_are_part_of_the_name_of_the_network(tmp_path: Path):
    b = GraphBuilder("net")
    onnx_io.save(b.build(b.relu(b.input((1, 8), name="x"))), tmp_path / "net.onnx")
    graph = load_network(f"{tmp_path}/net.onnx@x=1,8")
    assert (graph.name, graph.inputs[0].shape) == ("net@x=1,8", (1, 8))


def test_a_repeated_shape_is_refused_where_it_is_not_swept():
    assert options.swept_shapes(["x=1,8", "x=2,8"]) == {"x": [(1, 8), (2, 8)]}
    with pytest.raises(InputError, match="--shape gives 'x' 2 shapes; give one, measure all with hwprof sweep"):
        options.shapes(["x=1,8", "x=2,8"])
