"""Calibrated models: what they store, and that the backend computes nearly what the float network computes."""

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from hwprof import onnx_io
from hwprof.builder import GraphBuilder
from hwprof.compress.integer import calibrate
from hwprof.errors import InputError
from hwprof.graph import Graph, Node, Tensor
from hwprof.integer.lowering import lowering
from hwprof.integer.run import reference
from hwprof.variants.apply import apply_variant
from hwprof.variants.weights import load_weights
from tests.onnx_oracle import unoptimized


def convolutional(shared: bool = False) -> Graph:
    b = GraphBuilder("small")
    x = b.batch_norm(b.conv(b.input((1, 3, 8, 8), name="x"), 8, 3))
    x = b.relu(x)
    w = b.weight((8, 8, 1, 1))
    x = b.batch_norm(b.node("Conv", [x, w], (1, 8, 8, 8)))
    if shared:
        x = b.batch_norm(b.node("Conv", [x, w], (1, 8, 8, 8)))
    return b.build(b.gemm(b.flatten(b.global_average_pool(x)), 5))


def recurrent() -> Graph:
    b = GraphBuilder("recurrent")
    x = b.lstm(b.lstm(b.input((6, 2, 4), name="x"), 10), 10)
    return b.build(b.linear(b.gelu(x), 5))


def of_words() -> Graph:
    b = GraphBuilder("words")
    return b.build(b.linear(b.lstm(b.embedding(b.input((6, 2), "int64", name="x"), 20, 8), 10), 5))


def drawn(shape, n=12, seed=0):
    rng = np.random.default_rng(seed)
    return [{"x": rng.standard_normal(shape, np.float32)} for _ in range(n)]


def by_onnx_runtime(graph, batch):
    return unoptimized(onnx_io.materialize(graph), batch)[0]


def by_integers(graph, batch):
    (result,) = reference.run(lowering.lower(graph, load_weights(graph)), batch).values()
    return result


def relative_rms(a, exact):
    return np.sqrt(np.mean((a - exact) ** 2) / np.mean(exact**2))


@pytest.mark.processor(runtime="onnxruntime")
@pytest.mark.parametrize("network", [convolutional, recurrent])
def test_integers_compute_nearly_what_the_float_network_computes(network, tmp_path):
    check_calibrated(network(), tmp_path, drawn(network().inputs[0].shape))


def test_a_network_that_begins_with_a_table_of_words(tmp_path):
    graph = of_words()
    check_calibrated(graph, tmp_path, [{"x": np.random.default_rng(i).integers(20, size=(6, 2))} for i in range(12)])


def check_calibrated(graph, tmp_path, batches):
    calibrated = calibrate(graph, batches, tmp_path / "int8.onnx")
    real = np.concatenate([by_onnx_runtime(graph, b) for b in batches])
    ours = np.concatenate([by_integers(calibrated, b) for b in batches])
    assert relative_rms(ours, real) < 0.05
    elsewhere = np.concatenate([by_onnx_runtime(calibrated, b) for b in batches])
    assert relative_rms(ours, elsewhere) < 0.03  # the file means the same to a runtime of floats


def test_a_range_is_that_of_the_data(tmp_path):
    b = GraphBuilder("line")
    graph = b.build(b.linear(b.input((1, 2), name="x"), 2))
    batches = [{"x": np.array([[-1.0, 0.5]], np.float32)}, {"x": np.array([[1.55, 0.0]], np.float32)}]
    weights = load_weights(calibrate(graph, batches, tmp_path / "int8.onnx"))
    assert weights["x_scale"] == pytest.approx(2.55 / 255)
    assert weights["x_zero_point"] == 100


@pytest.mark.parametrize("kind", ["convolution", "lstm"])
def test_a_module_is_calibrated_as_it_stands(kind, tmp_path):
    torch.manual_seed(0)
    module = Rows() if kind == "lstm" else nn.Sequential(
        nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.Flatten(), nn.Linear(6 * 36, 5)
    )  # fmt: skip
    shape = (7, 1, 4) if kind == "lstm" else (1, 3, 8, 8)
    module.train()
    batches = drawn(shape)
    calibrated = calibrate(module, iter(batches), tmp_path / "int8.onnx")
    assert module.training
    real = module.eval()(torch.from_numpy(batches[0]["x"])).detach().numpy()
    assert relative_rms(by_integers(calibrated, batches[0]), real) < 0.05


class Rows(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.lstm, self.head = nn.LSTM(4, 12, num_layers=2), nn.Linear(12, 5)

    def forward(self, x):
        return self.head(self.lstm(x)[0][-1:].flatten(0, 1))


class LastState(nn.Module):
    """Reads what PyTorch returns as the last state, of which ONNX has an output of its own."""

    def __init__(self, kind: type[nn.LSTM | nn.GRU], layers: int) -> None:
        super().__init__()
        self.layers, self.head = kind(4, 12, num_layers=layers), nn.Linear(12, 5)

    def forward(self, x):
        last = self.layers(x)[1]
        return self.head((last[0] if isinstance(last, tuple) else last)[-1])


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU])
@pytest.mark.parametrize("layers", [1, 2])
def test_the_last_state_of_a_recurrent_layer(kind, layers, tmp_path):
    torch.manual_seed(0)
    module = LastState(kind, layers)
    batches = drawn((7, 2, 4))
    calibrated = calibrate(module, batches, tmp_path / "int8.onnx")
    with torch.no_grad():
        real = np.concatenate([module(torch.from_numpy(b["x"])).numpy() for b in batches])
    ours = np.concatenate([by_integers(calibrated, b) for b in batches])
    assert relative_rms(ours, real) < 0.05


def test_operators_that_integers_cannot_do_are_named(tmp_path):
    b = GraphBuilder("sorted")
    x = b.node("CumSum", [b.input((4, 4), name="x"), b.constant([1], scalar=True)], (4, 4))
    with pytest.raises(InputError, match="CumSum"):
        calibrate(b.build(x), drawn((4, 4)), tmp_path / "int8.onnx")


@pytest.mark.parametrize(
    ("batches", "reason"),
    [
        ([], "at least one batch"),
        ([np.zeros((1, 2), np.float32)], "a mapping such as .'x': array., not ndarray"),
        ([{"y": np.zeros((6, 2, 4), np.float32)}], "holds no input 'x'; it holds y"),
        ([{"x": np.zeros((6, 3, 4), np.float32)}], r"has the shape \(6, 2, 4\), a batch has \(6, 3, 4\)"),
        ([{"x": np.full((6, 2, 4), np.nan, np.float32)}], "'x' holds NaN, and a range that is not finite .* the data"),
        ([{"x": np.full((6, 2, 4), -np.inf, np.float32)}], "'x' holds -inf"),
    ],
)
def test_data_that_do_not_fit_are_refused(batches, reason, tmp_path):
    with pytest.raises(InputError, match=reason):
        calibrate(recurrent(), batches, tmp_path / "int8.onnx")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("variant", ["int8", "integer"])
@pytest.mark.parametrize(
    ("bias", "logarithm", "reason"),
    [
        (np.nan, False, "holds NaN, .* Gemm 'y' reads 'b', whose stored values are not finite"),
        (-np.inf, False, "holds -inf, .* Gemm 'y' reads 'b', whose stored values are not finite"),
        (0.0, True, "'l' holds NaN, .* Log 'l' computes it from these data"),
    ],
)
def test_activations_that_are_not_finite_are_named_with_their_cause(variant, bias, logarithm, reason, tmp_path):
    nodes = [helper.make_node("Gemm", ["l" if logarithm else "x", "w", "b"], ["y"])]
    nodes = [helper.make_node("Log", ["x"], ["l"]), *nodes] if logarithm else nodes
    stored = [numpy_helper.from_array(np.eye(8, dtype=np.float32), "w")]
    stored.append(numpy_helper.from_array(np.full(8, bias, np.float32), "b"))
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, (4, 8)) for name in "xy")
    body = helper.make_graph(nodes, "g", [x], [y], stored)
    onnx.save(helper.make_model(body, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), tmp_path / "net.onnx")
    with pytest.raises(InputError, match=f"'net' cannot be calibrated: .*{reason}"):
        apply_variant(onnx_io.load(tmp_path / "net.onnx"), variant, tmp_path)


def test_an_input_of_a_type_that_numpy_lacks_is_named(tmp_path):
    x, f, y = (Tensor(name, kind, (4, 8)) for name, kind in (("x", "bfloat16"), ("f", "float32"), ("y", "float32")))
    nodes = (Node("Cast", ("x",), ("f",), (("to", 1),)), Node("Softmax", ("f",), ("y",)))
    graph = Graph((x,), ("y",), nodes, values=(f, y), name="brain")
    with pytest.raises(InputError, match="no array for input 'x', which is bfloat16"):
        apply_variant(graph, "int8", tmp_path)


def test_what_is_no_network_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"torch\.nn\.Module, not int"):
        calibrate(3, drawn((1, 2)), tmp_path / "int8.onnx")
    with pytest.raises(InputError, match="at least one batch"):
        calibrate(Rows(), [], tmp_path / "int8.onnx")


def test_convolutions_of_one_weight_cannot_be_folded(tmp_path):
    with pytest.raises(InputError, match="shares its weight"):
        calibrate(convolutional(shared=True), drawn((1, 3, 8, 8)), tmp_path / "int8.onnx")
