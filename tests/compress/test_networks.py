import numpy as np
import pytest
import torch
from onnxruntime import GraphOptimizationLevel, InferenceSession, SessionOptions
from torch import nn

from hwprof import onnx_io
from hwprof.compress.choices import chosen_graph
from hwprof.compress.method import load
from hwprof.compress.networks import deployed, export, open_network
from hwprof.device import Device
from hwprof.errors import InputError
from hwprof.integer.lowering import lowering
from hwprof.integer.run import reference
from hwprof.training import evaluate
from hwprof.variants.spec import change
from hwprof.variants.weights import load_weights
from tests.compress.board import DEVICE, network, task


def test_a_module_of_the_user_computes_the_same_as_a_network(tmp_path):
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(1, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(288, 4)).eval()
    opened = open_network(module, task(), DEVICE, tmp_path)
    images = next(iter(task().examples("test").batches(5))).inputs
    with torch.no_grad():
        torch.testing.assert_close(opened.module.eval()(images), module(images), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_a_module_of_another_precision_is_compressed_in_float32(dtype, tmp_path):
    torch.manual_seed(0)
    module, told = nn.Sequential(nn.Flatten(), nn.Linear(64, 4)).to(dtype), []
    opened = open_network(module, task(), DEVICE, tmp_path, tell=told.append)
    name = str(dtype).removeprefix("torch.")
    assert f"Sequential: its weights are {name}; it is trained and compressed in float32" in told
    assert {tensor.dtype for tensor in opened.graph.weights} == {"float32"}
    assert next(module.parameters()).dtype == dtype
    images = next(iter(task().examples("test").batches(5))).inputs
    with torch.no_grad():
        torch.testing.assert_close(opened.module.eval()(images), module.float()(images), atol=1e-5, rtol=1e-5)


class TwoOutputs(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(64, 4)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        y = self.head(x.flatten(1))
        return y, y.square()


def test_a_network_with_several_outputs_cannot_be_judged_by_a_task(tmp_path):
    opened = open_network(TwoOutputs(), task(), DEVICE, tmp_path)
    with pytest.raises(InputError, match="the network returns a tuple, and the metric of task 'quarters' needs one"):
        evaluate(opened.module, task())


def test_a_module_that_cannot_be_exported_is_one_line(capfd, tmp_path):
    module = nn.Sequential(nn.Flatten(), nn.utils.parametrizations.spectral_norm(nn.Linear(64, 4)))
    with pytest.raises(InputError, match=r"cannot export Sequential: .*; its layer '1' computes its weight") as refused:
        open_network(module, task(), DEVICE, tmp_path)
    assert "\n" not in str(refused.value)
    assert capfd.readouterr() == ("", "")


class Tied(nn.Module):
    """One matrix in two layouts, a batch norm, a dropout and a factor."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm, self.dropout = nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.Dropout(0.2)
        self.matrix, self.factor = nn.Parameter(torch.randn(4, 256) / 16), nn.Parameter(torch.ones(1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.dropout(torch.relu(self.norm(self.conv(x))).flatten(1))
        x = x + self.factor * nn.functional.linear(nn.functional.linear(x, self.matrix), self.matrix.t())
        return nn.functional.linear(x, self.matrix)


@pytest.fixture
def tied(tmp_path):
    torch.manual_seed(0)
    return open_network(Tied(), task(), DEVICE, tmp_path)


def test_a_module_of_the_user_trains_its_own_parameters(tied):
    assert sum(p.numel() for p in tied.module.weights()) == sum(p.numel() for p in Tied().parameters())
    assert sum(p.numel() for p in tied.copy().module.weights()) == sum(p.numel() for p in Tied().parameters())


@pytest.mark.parametrize("variant", ["", "int8"])
def test_a_network_of_tied_weights_is_exported_as_it_was_evaluated(variant, tied, tmp_path):
    made = tied.rewritten(variant) if variant else tied
    written = export(made, tmp_path / "out.onnx")
    assert written.digest == onnx_io.load(tmp_path / "out.onnx").digest
    again = open_network(tmp_path / "out.onnx", task(), DEVICE, tmp_path) if not variant else made
    assert evaluate(again.module, task()) == evaluate(made.module, task())


def test_differences_between_a_module_and_its_network_are_told(tmp_path):
    told = []
    module = nn.Sequential(nn.Conv2d(1, 4, 3), nn.Dropout2d(), nn.Flatten(), nn.Linear(144, 4))
    open_network(module, task(), DEVICE, tmp_path, tell=told.append)
    assert told == ["Sequential: ONNX has no dropout2d; the network trains without it"]


def test_a_factory_in_a_file_is_called(tmp_path):
    (tmp_path / "mine_to_compress.py").write_text(
        "from torch import nn\ndef net():\n    return nn.Sequential(nn.Flatten(), nn.Linear(64, 4))\n"
    )
    opened = open_network(f"{tmp_path}/mine_to_compress.py:net", task(), DEVICE, tmp_path)
    assert [node.op for node in opened.graph.nodes] == ["Flatten", "Gemm"]


def test_an_exported_network_is_read_back_the_same(tmp_path):
    opened = open_network(network(), task(), DEVICE, tmp_path)
    written = export(opened, tmp_path / "out.onnx")
    again = open_network(tmp_path / "out.onnx", task(), DEVICE, tmp_path)
    assert written.digest == onnx_io.load(tmp_path / "out.onnx").digest == again.graph.digest
    for name, array in opened.weights.items():
        np.testing.assert_array_equal(again.weights[name], array)
    assert evaluate(again.module, task()) == evaluate(opened.module, task())


@pytest.mark.parametrize("variant", ["", "int8", "integer"])
def test_an_exported_network_computes_what_is_evaluated(variant, tmp_path):
    opened = open_network(network(), task(), DEVICE, tmp_path)
    made = opened.rewritten(variant) if variant else opened
    export(made, tmp_path / "out.onnx")
    options = SessionOptions()
    options.graph_optimization_level = GraphOptimizationLevel.ORT_DISABLE_ALL  # fused, int8 is not exact
    session = InferenceSession(tmp_path / "out.onnx", options)
    (batch,) = task().examples("test").batches(32)
    name = made.graph.inputs[0].name
    computed = np.concatenate([session.run(None, {name: image[None].numpy()})[0] for image in batch.inputs])
    with torch.no_grad():
        np.testing.assert_allclose(computed, made.module.eval()(batch.inputs).numpy(), atol=1e-5)


@pytest.mark.parametrize("name", ["magnitude", "low_rank", "int8"])
def test_the_file_of_a_compressed_network_computes_what_was_trained(name, tmp_path):
    opened = open_network(network(), task(), DEVICE, tmp_path)
    method = load(name)
    method.attach(opened.copy(), lambda _choices: torch.tensor(float("nan")))
    smallest = {layer: some[-1] for layer, some in method.options(opened.graph).items()} or method.choices()
    small = method.finish(smallest)
    graph = export(small, tmp_path / "out.onnx")
    assert graph.digest == chosen_graph(opened.graph, smallest).digest  # the table priced this very network
    options = SessionOptions()
    options.graph_optimization_level = GraphOptimizationLevel.ORT_DISABLE_ALL
    session = InferenceSession(tmp_path / "out.onnx", options)
    image = next(iter(task().examples("test").batches(1))).inputs
    (computed,) = session.run(None, {graph.inputs[0].name: image.numpy()})
    with torch.no_grad():
        np.testing.assert_allclose(computed, small.module.eval()(image).numpy(), atol=1e-5)


def test_a_device_of_integers_gets_integers(tmp_path):
    integers = Device.load("integer-numpy")
    opened = open_network(network(), task(), integers, tmp_path)
    assert opened.int8 == "integer"
    runs = deployed(opened, integers)
    assert runs.graph.digest == change("integer")(opened.graph).digest
    assert deployed(runs, integers) is runs
    assert deployed(opened, DEVICE) is opened


def test_the_integers_of_the_file_are_those_that_were_evaluated(tmp_path):
    opened = open_network(network(), task(), Device.load("integer-numpy"), tmp_path)
    made = opened.rewritten(opened.int8)
    export(made, tmp_path / "out.onnx")
    graph = onnx_io.load(tmp_path / "out.onnx")
    program = lowering.lower(graph, load_weights(graph))
    (batch,) = task().examples("test").batches(32)
    name, image = graph.inputs[0].name, batch.inputs[:1]
    (computed,) = reference.run(program, {name: image.numpy()}).values()
    with torch.no_grad():
        np.testing.assert_array_equal(computed, made.module.eval()(image).numpy())


def test_examples_are_as_many_as_the_batch_of_the_graph_takes(tmp_path):
    opened = open_network(network(), task(), DEVICE, tmp_path)
    (samples,) = opened.examples.values()
    assert samples.shape == (64, 1, 1, 8, 8)


def test_a_task_that_does_not_fit_is_told_with_both_shapes(tmp_path):
    with pytest.raises(
        InputError, match=r"has inputs of shape \[64, 1, 6, 6\], which do not fit 'small'.*\[1, 1, 8, 8\]"
    ):
        open_network(network(), task(side=6), DEVICE, tmp_path)


def test_a_quantized_network_is_opened_as_the_float_network_of_its_weights(tmp_path):
    told: list[str] = []
    opened = open_network(change("int8")(network()), task(), DEVICE, tmp_path, tell=told.append)
    assert [node.op for node in opened.graph.nodes] == [node.op for node in network().nodes]
    (line,) = told
    assert "compression starts from the float network of its weights" in line


@pytest.mark.parametrize(("model", "told"), [("nope", "neither an .onnx file, a workload nor"), (3, "not of type int")])
def test_what_is_not_a_network_is_refused(model, told, tmp_path):
    with pytest.raises(InputError, match=told):
        open_network(model, task(), DEVICE, tmp_path)
