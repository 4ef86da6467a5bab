"""The variant "integer" by its name: from a float network to one that integers run whole."""

import numpy as np
import pytest

from hwprof import jobs, onnx_io, workloads
from hwprof.builder import GraphBuilder
from hwprof.errors import InputError
from hwprof.graph import Graph
from hwprof.integer.lowering import lowering
from hwprof.variants.quantize import quantize
from hwprof.variants.quantize_whole import quantize_whole
from hwprof.variants.weights import load_weights
from tests.variants.test_calibration import by_integers, by_onnx_runtime, convolutional, relative_rms


@pytest.fixture
def saved(tmp_path) -> Graph:
    """A file whose weights are not those that seed 0 would give."""
    onnx_io.save(convolutional(), tmp_path / "net.onnx", seed=7)
    return onnx_io.load(tmp_path / "net.onnx")


def test_the_file_has_the_operators_that_the_graph_function_gives(saved, tmp_path):
    variant, warnings = jobs.variant(saved, "integer", tmp_path)
    assert variant == quantize_whole(saved)
    assert (variant.name, variant.source) == ("net-integer", str(tmp_path / "net-integer.onnx"))
    assert len(warnings) == 1
    assert "8 random inputs" in warnings[0]


def test_the_user_s_data_calibrate_it(saved, tmp_path):
    samples = np.random.default_rng(0).normal(3, 1, (5, 3, 8, 8)).astype(np.float32)
    np.save(tmp_path / "data.npy", samples)
    variant, warnings = jobs.variant(saved, "integer", tmp_path, tmp_path / "data.npy")
    assert warnings == []
    assert load_weights(variant)["x_scale"] == pytest.approx(samples.max() / 255 - min(samples.min(), 0) / 255)
    batch = {"x": samples[:1]}
    assert relative_rms(by_integers(variant, batch), by_onnx_runtime(saved, batch)) < 0.05


def test_an_old_opset_is_raised(tmp_path):
    graph = workloads.build("light_squeezenet")
    assert dict(graph.opsets)[""] < 13
    variant, _ = jobs.variant(graph, "integer", tmp_path)
    assert lowering.lower(variant, load_weights(variant)).operations


def sorted_network() -> Graph:
    b = GraphBuilder("sorted")
    return b.build(b.node("CumSum", [b.input((4, 4)), b.constant([1], scalar=True)], (4, 4)))


def strange_network() -> Graph:
    b = GraphBuilder("strange")
    return b.build(b.node("Strange", [b.input((4, 4))], (4, 4)))


@pytest.mark.parametrize(
    ("graph", "message"),
    [
        (quantize(convolutional()), "quantized already"),
        (sorted_network(), "CumSum"),
        (strange_network(), "Strange"),
    ],
)
def test_what_does_not_fit_is_an_error_and_leaves_no_file(graph, message, tmp_path):
    with pytest.raises(InputError, match=message):
        jobs.variant(graph, "integer", tmp_path)
    assert not list(tmp_path.iterdir())
