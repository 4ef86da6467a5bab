"""The verbs of Python, with the words of the command line; the rest is tested in tests/predictors."""

import json
from copy import deepcopy

import numpy as np
import onnx
import pytest

from hwprof import onnx_io
from hwprof.__main__ import run
from hwprof.builder import GraphBuilder
from hwprof.data import dataset
from hwprof.device import Device
from hwprof.errors import InputError
from hwprof.interfaces import ExecutedKernel, Work
from hwprof.jobs import evaluating, predicting
from hwprof.jobs.predicted_operators import operators_of
from hwprof.measure.machine import fingerprint
from hwprof.measure.recording import Options
from hwprof.predictors import shipped
from hwprof.predictors.kernels import KernelPredictor
from hwprof.predictors.trained import Trained
from tests.tiny_space import SPACE

pytestmark = pytest.mark.usefixtures("tiny_spaces")
ARCH = (2, 1, 1, 0)


def test_a_folder_and_a_data_set_that_was_read_are_learned_from_alike(collected, trained):
    assert predicting.train(dataset.read(collected)).origin == trained.origin
    assert trained.origin.predictor == "physical"


def test_python_and_the_command_line_write_the_same_predictor(collected, trained, tmp_path):
    assert run(["train", str(collected), "-o", str(tmp_path / "x.hwp"), "--format", "json"]) == 0
    by_command = Trained.load(tmp_path / "x.hwp")
    assert by_command.origin == trained.origin
    assert by_command.predict([ARCH]) == trained.predict([ARCH])


def test_python_and_the_command_line_predict_alike(trained, tmp_path, capsys):
    trained.save(tmp_path / "x.hwp")
    onnx_io.save(SPACE.graph(ARCH), tmp_path / "net.onnx")
    arguments = [str(tmp_path / "x.hwp"), str(tmp_path / "net.onnx"), "--arch", "2,1,1,0", "--coverage", "80%"]
    assert run(["predict", *arguments, "--format", "json"]) == 0
    told = json.loads(capsys.readouterr().out)
    found = predicting.predict(tmp_path / "x.hwp", [tmp_path / "net.onnx"], archs=["2,1,1,0"], coverage=0.8)
    assert [(p.network, p.latency_ms, p.low_ms, p.high_ms) for p in found] == [
        (row["network"], row["latency_ms"], row["low_ms"], row["high_ms"]) for row in told
    ]


def test_a_model_is_a_graph_a_file_a_workload_or_the_choices_of_an_architecture(trained, tmp_path):
    onnx_io.save(SPACE.graph(ARCH), tmp_path / "net.onnx")
    models = [SPACE.graph(ARCH), str(tmp_path / "net.onnx"), ARCH, "mobilenet_v3_small"]
    *same, other = [p.latency_ms for p in predicting.predict(trained, models, extrapolate=True)]
    assert same == pytest.approx([same[0]] * 3)
    assert other > same[0]


def test_sources_are_predictors_or_their_files(collected, trained, tmp_path):
    trained.save(tmp_path / "x.hwp")
    kinds = (trained, trained.predictor, tmp_path / "x.hwp", str(tmp_path / "x.hwp"))
    first, *rest = [predicting.train(collected, "transfer", n=5, sources=[source]).predict([ARCH]) for source in kinds]
    assert rest == [first] * 3


def test_an_expected_space_or_device_is_required(collected, trained):
    with pytest.raises(InputError, match="data set tiny-noisy has the space 'space', not 'darts'"):
        predicting.train(collected, space="darts")
    with pytest.raises(InputError, match="the predictor has the device 'noisy', not 'pixel'"):
        predicting.predict(trained, [ARCH], device="pixel")


def test_given_inputs_bind_the_shapes_of_models(trained, tmp_path, capsys):
    onnx_io.save(SPACE.graph(ARCH), tmp_path / "fixed.onnx")
    model = onnx.load(tmp_path / "fixed.onnx")
    (image,) = model.graph.input
    shape = [d.dim_value for d in image.type.tensor_type.shape.dim]
    image.type.tensor_type.shape.dim[0].dim_param = "batch"
    onnx.save(model, tmp_path / "open.onnx")
    with pytest.raises(InputError, match="dynamic shapes must be given"):
        predicting.predict(trained, [tmp_path / "open.onnx"])
    array = np.zeros(shape, np.float32)
    by_array, fixed = (
        predicting.predict(trained, [tmp_path / name], inputs=given)[0]
        for name, given in (("open.onnx", {image.name: array}), ("fixed.onnx", None))
    )
    assert by_array.latency_ms == fixed.latency_ms
    trained.save(tmp_path / "x.hwp")
    np.save(tmp_path / "x.npy", array)
    file = f"{image.name}={tmp_path / 'x.npy'}"
    arguments = ["predict", str(tmp_path / "x.hwp"), str(tmp_path / "open.onnx"), "--input", file, "--format", "json"]
    assert run(arguments) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert row["latency_ms"] == fixed.latency_ms


@pytest.fixture
def of_kernels(collected):
    """A predictor of kernels that finds everything twice as slow as the data set's device."""
    data = dataset.read(collected)
    graphs = data.graphs(SPACE)
    return Trained(KernelPredictor(steps=20).fit(graphs, 2 * data.normalized_ms))


def test_a_predictor_of_another_machine_is_fitted_to_a_few_networks(collected, of_kernels, tmp_path, capsys):
    of_kernels.save(tmp_path / "base.hwp")
    arguments = ["--from", str(tmp_path / "base.hwp"), "-n", "6", "-o", str(tmp_path / "x.hwp"), "--format", "json"]
    assert run(["train", str(collected), *arguments]) == 0
    assert json.loads(capsys.readouterr().out)["n"] == 6
    fitted = Trained.load(tmp_path / "x.hwp")
    data = dataset.read(collected)
    graphs = data.graphs(SPACE)
    before, after = (np.log(p.predictor.predict(graphs) / data.normalized_ms) for p in (of_kernels, fitted))
    assert np.median(np.abs(after)) < np.median(np.abs(before)) / 2
    assert fitted.origin.device == "noisy"


def test_only_a_predictor_of_kernels_is_fitted_to_another_machine(collected, trained):
    with pytest.raises(
        InputError, match="a predictor 'physical' cannot be fitted to another machine; --from takes one"
    ):
        predicting.train(collected, base=trained)


def test_a_shipped_predictor_is_found_by_device_and_hardware(of_kernels, tmp_path, monkeypatch):
    monkeypatch.setattr(shipped, "folder", lambda: tmp_path)
    hardware = fingerprint(Options().limited_transport, Device.load("roofline-edge-gpu"))
    of_kernels.save(shipped.path_of("roofline-edge-gpu", hardware))
    graph = SPACE.graph(ARCH)
    (found,) = predicting.predict("roofline-edge-gpu", [graph], extrapolate=True)
    assert found == of_kernels.predict([graph], extrapolate=True)[0]


def test_a_name_without_a_shipped_predictor_is_told_which_there_are(of_kernels, tmp_path, monkeypatch):
    monkeypatch.setattr(shipped, "folder", lambda: tmp_path)
    of_kernels.save(shipped.path_of("cpu-1t", "0123456789ab"))
    with pytest.raises(InputError, match=r"ships no predictor of 'cuda'; it has cpu-1t; make one: hwprof collect"):
        predicting.open_predictor("cuda")


def test_a_shipped_predictor_of_another_machine_asks_for_networks_of_this_one(
    collected, of_kernels, tmp_path, monkeypatch
):
    monkeypatch.setattr(shipped, "folder", lambda: tmp_path)
    of_kernels.save(shipped.path_of("roofline-edge-gpu", "0123456789ab"))
    with pytest.raises(InputError, match=r"\(1\) is of this machine \(.*\); fit one to 5 to 20"):
        predicting.predict("roofline-edge-gpu", [SPACE.graph(ARCH)])
    assert predicting.train(collected, n=5, base="roofline-edge-gpu").origin.n == 5


@pytest.fixture
def of_this_machine(of_kernels, tmp_path, monkeypatch):
    """The device for which a predictor is shipped."""
    monkeypatch.setattr(shipped, "folder", lambda: tmp_path / "shipped")
    (tmp_path / "shipped").mkdir()
    hardware = fingerprint(Options().limited_transport, Device.load("roofline-edge-gpu"))
    of_kernels.save(shipped.path_of("roofline-edge-gpu", hardware))
    return "roofline-edge-gpu"


def test_a_shipped_predictor_is_loaded_by_the_name_of_its_device(of_kernels, of_this_machine):
    loaded, graph = predicting.load_predictor(of_this_machine), SPACE.graph(ARCH)
    assert loaded.predict([graph]) == pytest.approx(of_kernels.predictor.predict([graph]))


def test_a_shipped_predictor_is_evaluated_by_the_name_of_its_device(collected, of_kernels, of_this_machine):
    with pytest.raises(InputError, match="the predictor file does not say what it learned from"):
        evaluating.evaluate(collected, of_this_machine)


def test_a_predictor_of_any_network_takes_the_architectures_of_every_space(of_kernels):
    (by_arch,) = predicting.predict(of_kernels, archs=["2,1,1,0"], space="tests.tiny_space:SPACE", extrapolate=True)
    (by_graph,) = predicting.predict(of_kernels, [SPACE.graph(ARCH)], extrapolate=True)
    assert by_arch.latency_ms == by_graph.latency_ms


def test_a_module_is_predicted_by_its_export(of_kernels, tmp_path):
    (tmp_path / "predicted_net.py").write_text("import torch\ndef net(): return torch.nn.Conv2d(3, 4, 3)\n")
    module = f"{tmp_path}/predicted_net.py:net"
    told: list[str] = []
    asked = {"shapes": {"input": (1, 3, 8, 8)}, "on_warning": told.append}
    (found,) = predicting.predict(of_kernels, [module], extrapolate=True, **asked)
    assert found.network == "net"
    rows = predicting.predict_operators(of_kernels, [module], **asked)
    assert [row.op for row in rows if not row.inserted] == ["Conv"]
    assert told == ["net: exported from the PyTorch module to ONNX, opset 21"] * 2


def test_operators_with_what_the_runtime_inserts_add_up_to_the_prediction(of_kernels):
    b = GraphBuilder("moved")
    x = b.relu(b.conv(b.input((1, 3, 8, 8)), 16, 3))
    graph = b.build(b.conv(b.transpose(x, (0, 1, 3, 2)), 16, 3))
    (whole,) = predicting.predict(of_kernels, [graph], extrapolate=True)
    rows = predicting.predict_operators(of_kernels, [graph])
    assert sum(row.ms for row in rows) == pytest.approx(whole.latency_ms)
    assert sum(row.share for row in rows) == pytest.approx(1)
    assert {row.op for row in rows if row.inserted} == {"Reorder", ""}
    assert {row.operator for row in rows if not row.inserted} == {node.label for node in graph.nodes}


def test_the_kernels_of_the_runtime_itself_add_up_to_the_prediction_from_them(of_kernels, monkeypatch):
    """The runtime says that it executes the second of two operators inside of the first, and one move."""
    graph, asked = SPACE.graph(ARCH), deepcopy(of_kernels.predictor)
    asked.by_runtime_ = deepcopy(of_kernels.predictor)
    monkeypatch.setattr(type(asked), "_doubt", lambda *_arguments: None)
    executed = [ExecutedKernel("Conv", (0, 1)), ExecutedKernel("Reorder", (), graph.nodes[0].outputs[0])]
    rows = operators_of(asked, graph, lambda _graph: executed)
    (encoded,) = asked.encode_with(graph, lambda _graph: executed)
    assert sum(row.ms for row in rows) == pytest.approx(asked.predict([encoded])[0])
    assert sum(row.op == "Reorder" for row in rows) == 1


def test_kernels_whose_work_the_runtime_tells_add_up_by_the_operators_that_they_are_for(of_kernels, monkeypatch):
    """Two equal kernels, each of a convolution and what follows it."""
    graph, asked = SPACE.graph(ARCH), deepcopy(of_kernels.predictor)
    asked.by_runtime_ = deepcopy(of_kernels.predictor)
    monkeypatch.setattr(type(asked), "_doubt", lambda *_arguments: None)
    first, second = [i for i, node in enumerate(graph.nodes) if node.op == "Conv"][:2]
    work = Work("loop", {"macs": 1e6, "input bytes": 1e5, "output bytes": 1e5})
    executed = [ExecutedKernel("A", (i, i + 1), "", "", work) for i in (first, second)]
    rows = operators_of(asked, graph, lambda _graph: executed)
    (encoded,) = asked.encode_with(graph, lambda _graph: executed)
    assert sum(row.ms for row in rows) == pytest.approx(asked.predict([encoded])[0])
    taken = [row for row in rows if row.ms and not row.inserted]
    assert [row.op for row in taken] == ["Conv", "Conv"]
    assert taken[0].ms == taken[1].ms


def test_a_variant_of_a_model_is_predicted_in_its_place(of_kernels):
    graph, told = SPACE.graph(ARCH), list[str]()
    whole, half = (
        predicting.predict(of_kernels, [graph], extrapolate=True, variant=variant, on_warning=told.append)[0]
        for variant in (None, "prune:0.5")
    )
    assert half.network == f"{whole.network}-prune0.5"
    assert "was not trained further" in " ".join(told)
    assert half.latency_ms < whole.latency_ms


def test_a_predictor_of_another_machine_says_that_single_networks_were_left_out(collected, of_kernels):
    fitted = predicting.train(collected, n=5, base=of_kernels)
    assert "learned from 5 networks of tiny-noisy + from unknown" in fitted.provenance
    assert "mean error on networks left out" in fitted.provenance
