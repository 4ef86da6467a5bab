"""PyTorch from the command line and from Python: users' own modules, and what cannot be done."""

from __future__ import annotations

import sys
from dataclasses import replace

import pytest
import torch

import hwprof
from hwprof import jobs
from hwprof.__main__ import run
from hwprof.data.store import Store
from hwprof.errors import InputError
from hwprof.jobs import Options
from hwprof.measurement import FAST

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


def test_where_no_file_can_be_kept_a_module_is_refused(their_nets, capsys):
    assert run(["lut", "build", "their_package:small", "-o", "table.json", "--store", "s.db"]) == 2
    assert "a PyTorch module can be profiled and compared" in capsys.readouterr().err


def test_a_module_in_memory_is_profiled_without_any_onnx():
    module = torch.nn.Sequential(torch.nn.Linear(32, 32), torch.nn.Tanh())
    with Store() as store:
        m = hwprof.profile(module, "torch-cpu-1t", example_inputs=torch.ones(4, 32), store=store, options=ONE_PROCESS)
    assert (m.model, m.versions["torch"]) == ("Sequential", torch.__version__)
    assert [o.members for o in m.operators] == [("linear",), ("tanh",)]
    assert set(m.figures) == {"hot_ns", "cold_ns"}


def test_a_module_is_no_network_for_another_runtime():
    with Store() as store, pytest.raises(InputError, match="backend 'onnxruntime' of device 'cpu-1t' runs only ONNX"):
        hwprof.profile(torch.nn.ReLU(), "cpu-1t", example_inputs=torch.ones(1), store=store, options=ONE_PROCESS)


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a CUDA GPU")
def test_a_gpu_that_is_not_there_is_one_line_and_status_3(tmp_path, capsys):
    assert run(["profile", "bert_tiny", "--device", "cuda", "--store", str(tmp_path / "s.db")]) == 3
    lines = [line for line in capsys.readouterr().err.splitlines() if not line.startswith("hwprof: warning")]
    assert [line[:22] for line in lines] == ["hwprof: device 'cuda' "]
