"""The values that a user gives inputs: what is read, what is refused, and that they reach the run and its identity."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import hwprof
from hwprof import plugins
from hwprof.cli import options
from hwprof.data.store import Store
from hwprof.device import Device
from hwprof.errors import InputError
from hwprof.graph import Graph, Tensor
from hwprof.jobs import Options
from hwprof.onnx_io import inputs_identity, load, random_inputs, with_values
from hwprof.onnx_io.input_values import as_texts, shape_of, values_of
from hwprof.workloads.loading import load_network

FLOATS = Tensor("x", "float32", (2, 3))
IDS = Tensor("ids", "int64", (4,))


def doubling(folder: Path, shape: tuple[int | str, ...] = (2, 3)) -> Path:
    """y = x + x."""
    graph = helper.make_graph(
        [helper.make_node("Add", ["x", "x"], ["y"])], "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)],
    )  # fmt: skip
    return written(folder, graph)


def above_ten(folder: Path) -> Path:
    """The rows of a table at whose place x is above 10."""
    nodes = [
        helper.make_node("Greater", ["x", "ten"], ["mask"]),
        helper.make_node("NonZero", ["mask"], ["places"]),
        helper.make_node("Transpose", ["places"], ["indices"], perm=[1, 0]),
        helper.make_node("GatherND", ["table", "indices"], ["y"]),
    ]
    stored = [
        numpy_helper.from_array(np.float32(10), "ten"),
        numpy_helper.from_array(np.ones((8, 4), np.float32), "table"),
    ]
    graph = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, (8,))],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)], stored,
    )  # fmt: skip
    return written(folder, graph)


def written(folder: Path, graph: onnx.GraphProto) -> Path:
    path = folder / "net.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


def given(tensor: Tensor, text: str) -> np.ndarray:
    return values_of(tensor, text, np.random.default_rng(0))


def test_one_number_fills_the_input() -> None:
    assert given(FLOATS, "0.5").tolist() == [[0.5] * 3] * 2
    assert given(IDS, "7").dtype == np.int64
    assert given(Tensor("rate", "int64", ()), "16000").shape == ()
    assert given(Tensor("flag", "bool", ()), "false").tolist() is False


def test_several_numbers_are_a_vector() -> None:
    assert given(IDS, "1,3,64,64").tolist() == [1, 3, 64, 64]
    assert shape_of("ids", "1,3,64,64") == (4,)
    assert shape_of("ids", "16000") is None


def test_a_range_draws_integers_below_its_end() -> None:
    drawn = given(Tensor("ids", "int64", (1000,)), "randint:-2:3")
    assert set(drawn.tolist()) == {-2, -1, 0, 1, 2}


@pytest.mark.parametrize(
    ("tensor", "text", "reason"),
    [
        (IDS, "0.5", "has type int64, which 0.5 does not fit"),
        (Tensor("x", "uint8", (1,)), "300", "does not fit"),
        (FLOATS, "1,2,3", r"is \[2, 3\], 1,2,3 holds \[3\]"),
        (FLOATS, "nothing", "'nothing' is not a value; give a number"),
        (FLOATS, "gone.npy", "gone.npy does not exist"),
        (Tensor("x", "float16", ()), "1e6", "does not fit"),
    ],
)
def test_values_that_do_not_fit_are_refused_with_the_reason(tensor: Tensor, text: str, reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        given(tensor, text)


def test_an_empty_range_is_refused() -> None:
    with pytest.raises(InputError, match="empty range"):
        as_texts({"ids": "randint:3:3"}, None)


def test_a_name_that_is_not_an_input_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"--input names 'z', which is not an input; inputs: x$"):
        load_network(str(doubling(tmp_path)), inputs={"z": 1})


def test_a_file_binds_the_shape_of_a_dynamic_input(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.ones((5, 3), np.float32))
    graph = load_network(str(doubling(tmp_path, ("n", 3))), inputs={"x": tmp_path / "x.npy"})
    assert graph.shape("x") == (5, 3)
    assert random_inputs(graph)["x"].sum() == 15


def test_an_array_is_kept_in_the_folder(tmp_path: Path) -> None:
    folder = tmp_path / "kept"
    folder.mkdir()
    array = np.arange(6, dtype=np.float32).reshape(2, 3)
    graph = load_network(str(doubling(tmp_path)), folder=folder, inputs={"x": array})
    assert np.array_equal(random_inputs(graph)["x"], array)


def test_the_values_travel_with_the_graph_and_are_not_part_of_its_digest(tmp_path: Path) -> None:
    graph = load(doubling(tmp_path))
    valued = with_values(graph, {"x": "2"})
    assert Graph.from_json(valued.to_json()).given == (("x", "2"),)
    assert valued.digest == graph.digest


def test_a_file_is_identified_by_its_content(tmp_path: Path) -> None:
    graph = load(doubling(tmp_path))
    for name in ("a", "b"):
        np.save(tmp_path / f"{name}.npy", np.ones((2, 3), np.float32))
    np.save(tmp_path / "c.npy", np.zeros((2, 3), np.float32))
    a, b, c = (inputs_identity(with_values(graph, {"x": str(tmp_path / f"{n}.npy")}))["x"] for n in "abc")
    assert a == b != c


@pytest.mark.parametrize("device", ["cpu-1t", "openvino-1t", "torch-cpu-1t"])
def test_every_runtime_takes_the_values(device: str, tmp_path: Path) -> None:
    chosen = Device.load(device)
    with plugins.load("backend", chosen.backend).open(with_values(load(doubling(tmp_path)), {"x": "4"}), chosen) as t:
        (y,) = t.outputs().values()
    assert y.tolist() == [[8.0] * 3] * 2


def test_a_measurement_with_other_values_is_another_measurement(tmp_path: Path) -> None:
    path, asked = doubling(tmp_path), Options(with_operators=False)
    with Store() as store:
        for value in (1, 2):
            hwprof.profile(path, "roofline-edge-gpu", inputs={"x": value}, store=store, options=asked)
        assert [dict(m.inputs) for m in store.measurements()] == [{"x": "1"}, {"x": "2"}]


def test_operators_with_empty_results_are_named(tmp_path: Path) -> None:
    graph, chosen = load(above_ten(tmp_path)), Device.load("cpu-1t")
    idle = []
    for network in (graph, with_values(graph, {"x": "11"})):
        with plugins.load("backend", chosen.backend).open(network, chosen) as timer:
            timer.operators(5)
            idle.append(timer.idle)
    assert idle == [("places", "indices", "y"), ()]


def test_an_input_of_the_command_line_is_given_once() -> None:
    assert options.inputs(["a:0=1", "x=randint:0:3"]) == {"a:0": "1", "x": "randint:0:3"}
    with pytest.raises(InputError, match="gives 'x' twice"):
        options.inputs(["x=1", "x=2"])
    with pytest.raises(InputError, match="not of the form NAME=VALUE"):
        options.inputs(["x"])
