"""PyTorch from the command line and from Python: users' own modules, and what cannot be done."""

from __future__ import annotations

import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

import hwprof
from hwprof import jobs
from hwprof.__main__ import run
from hwprof.data.store import Store
from hwprof.device import Device
from hwprof.errors import InputError
from hwprof.graph import Graph
from hwprof.jobs import Options
from hwprof.jobs.inputs import networks
from hwprof.jobs.tuning import tune_graph
from hwprof.measurement import FAST
from tests.measure.scripted import ScriptedTransport

TVM = Device("any", "tvm")
ONE_PROCESS = Options(replace(FAST, min_processes=1, max_processes=1, pilot_blocks=2))


@pytest.fixture
def their_nets(tmp_path, monkeypatch):
    (tmp_path / "their_package.py").write_text(
        "import torch\n"
        "def small(): return torch.nn.Sequential(torch.nn.Linear(64, 64), torch.nn.Tanh()), torch.ones(1, 64)\n"
        "def branching():\n"
        "    class Net(torch.nn.Module):\n"
        "        def forward(self, x): return x if x.sum() > 0 else -x\n"
        "    return Net(), torch.ones(2)\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield tmp_path
    sys.modules.pop("their_package", None)


def test_a_factorys_module_is_a_network(their_nets):
    graph = jobs.load_network("their_package:small", folder=their_nets)
    assert (graph.name, [n.op for n in graph.nodes]) == ("small", ["linear.default", "tanh.default"])


def test_a_factorys_module_that_cannot_travel_is_one_line(their_nets, capsys):
    assert run(["profile", "their_package:branching", "-d", "torch-cpu-1t", "--store", "s.db"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("hwprof: torch.export cannot trace 'branching'")


def test_where_no_file_can_be_kept_a_module_is_refused(their_nets):
    with pytest.raises(InputError, match="a PyTorch module needs a folder for its file"):
        jobs.load_network("their_package:small")


def test_a_table_is_built_and_checked_with_modules(their_nets, capsys):
    edge = ("-d", "roofline-edge-gpu", "--store", "s.db")
    assert run(["lut", "build", "their_package:small", "-o", "table.json", *edge]) == 0
    assert "small: exported from the PyTorch module to ONNX, opset 21" in capsys.readouterr().err
    assert {row.op for row in hwprof.LatencyTable.load("table.json").rows} == {"Gemm", "Tanh"}
    assert run(["lut", "check", "table.json", *["their_package:small"] * 4, *edge]) == 0


def test_the_kernels_of_a_module_are_tuned_in_its_export(their_nets):
    step = {"trials": 1, "seconds": 1.0, "kernels": 1, "tuned": 1, "best_ms": None}
    transport, told = ScriptedTransport(lambda request: [step] if request["do"] == "tune" else None), list[str]()
    with networks(["their_package:small"], Options(on_warning=told.append)) as (graph,):
        assert tune_graph(graph, TVM, 1, 60.0, 0, lambda _step: None, transport=transport).tuned == 1
    sent = Graph.from_json(transport.asked("tune")[0]["graph"])
    assert [node.op for node in sent.nodes] == ["Gemm", "Tanh"]
    assert told == ["small: exported from the PyTorch module to ONNX, opset 21"]


def test_the_samples_of_a_module_without_a_task_are_those_of_its_export(their_nets):
    samples = {"image": np.zeros((4, 1, 64), np.float32)}
    with pytest.raises(InputError, match="no array 'input'; they have image"):
        hwprof.compress_file("their_package:small", samples, device="roofline-edge-gpu", folder="out", store=None)


def test_a_module_in_memory_is_profiled_without_any_onnx():
    module = torch.nn.Sequential(torch.nn.Linear(32, 32), torch.nn.Tanh())
    with Store() as store:
        m = hwprof.profile(module, "torch-cpu-1t", example_inputs=torch.ones(4, 32), store=store, options=ONE_PROCESS)
    assert (m.model, m.versions["torch"]) == ("Sequential", torch.__version__)
    assert [o.members for o in m.operators] == [("linear",), ("tanh",)]
    assert set(m.figures) == {"hot_ns", "cold_ns"}


class TwoArguments(torch.nn.Module):
    def forward(self, image: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
        return image * scale


def test_a_module_is_exported_for_a_runtime_that_runs_nothing_else():
    module = torch.nn.Sequential(torch.nn.Linear(32, 32), torch.nn.Tanh())
    m = hwprof.profile(module, "roofline-edge-gpu", example_inputs=torch.ones(4, 32), options=ONE_PROCESS)
    assert m.model == "Sequential"
    assert m.network_warnings == ("exported from the PyTorch module to ONNX, opset 21",)
    assert [o.op for o in m.operators] == ["Gemm", "Tanh"]


def test_an_exported_module_has_the_names_and_the_order_of_its_parameters(tmp_path):
    given = {"scale": torch.ones(1), "image": torch.ones(2, 3)}
    graph = jobs.load_network(TwoArguments(), folder=tmp_path, example_inputs=given, as_onnx=True)
    assert [(t.name, t.shape) for t in graph.inputs] == [("image", (2, 3)), ("scale", (1,))]


def test_values_given_to_a_module_are_those_of_its_exported_inputs(tmp_path):
    given = {"image": torch.ones(2, 3), "scale": torch.ones(1)}
    graph = jobs.load_network(
        TwoArguments(), folder=tmp_path, example_inputs=given, inputs={"scale": "7.5"}, as_onnx=True
    )
    assert graph.given == (("scale", "7.5"),)


def test_a_module_that_cannot_be_exported_has_its_reason_in_one_line(tmp_path):
    class Fft(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.linalg.eigvals(x)

    with pytest.raises(InputError, match=r"PyTorch cannot export Fft: .*linalg_eig"):
        jobs.load_network(Fft(), folder=tmp_path, example_inputs=torch.eye(3), as_onnx=True)


def test_one_sweep_sets_a_module_in_pytorch_against_its_export_in_other_runtimes(tmp_path):
    (tmp_path / "sweep_net.py").write_text("import torch\ndef net(): return torch.nn.Conv2d(3, 4, 3)\n")
    found = hwprof.sweep(
        [f"{tmp_path}/sweep_net.py:net"], ["roofline-edge-gpu", "torch-cpu-1t"], shapes={"input": (1, 3, 8, 8)},
        options=replace(ONE_PROCESS, with_operators=False),
    )  # fmt: skip
    assert [(row.model, row.device, row.reason) for row in found.rows] == [
        ("net", "roofline-edge-gpu", ""), ("net", "torch-cpu-1t", ""),
    ]  # fmt: skip
    exported, traced = (row.measurement.network_warnings for row in found.rows)
    assert "exported from the PyTorch module to ONNX, opset 21" in exported
    assert traced == ()


def test_a_sweep_of_a_module_without_inputs_is_bad_input(their_nets, capsys):
    (their_nets / "bare.py").write_text("import torch\ndef net(): return torch.nn.Conv2d(3, 4, 3)\n")
    assert run(["sweep", "bare.py:net", "--devices", "roofline-edge-gpu,torch-cpu-1t", "--store", "s.db"]) == 2
    assert "'net' is a PyTorch module: give its inputs" in capsys.readouterr().err


def test_the_baseline_of_a_module_is_its_export(their_nets):
    arguments = ("--fast", "--no-operators", "--store", "s.db", "--save-baseline", "main")
    assert run(["profile", "their_package:small", "-d", "roofline-edge-gpu", *arguments]) == 0
    assert (their_nets / "hwprof.baselines" / "main.onnx").is_file()


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a CUDA GPU")
def test_a_gpu_that_is_not_there_is_one_line_and_status_3(tmp_path, capsys):
    assert run(["profile", "bert_tiny", "--device", "cuda", "--store", str(tmp_path / "s.db")]) == 3
    lines = [line for line in capsys.readouterr().err.splitlines() if not line.startswith("hwprof: warning")]
    assert [line[:22] for line in lines] == ["hwprof: device 'cuda' "]
