from __future__ import annotations

import sys
from dataclasses import dataclass

import pytest
import torch
from torch import nn

from hwprof import cost, onnx_io, torch_io, workloads
from hwprof.errors import InputError, UnknownOperatorError
from hwprof.graph import Graph
from hwprof.torch_io import content_digest, example_inputs, export, from_factory, load_program
from hwprof.variants.weights import load_weights

CPU = torch.device("cpu")


class Net(nn.Module):
    """Convolution, batch norm, a scale that may be left out; a nested result."""

    def __init__(self, channels: int = 4) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, channels, 3, padding=1)
        self.norm = nn.BatchNorm2d(channels)

    def forward(self, x, scale=None):
        y = torch.relu(self.norm(self.conv(x)))
        return {"all": y if scale is None else y * scale, "mean": y.mean((2, 3))}


class Branching(nn.Module):
    """What it does depends on what is in its input."""

    def forward(self, x):
        return x + 1 if x.sum() > 0 else x - 1


IMAGE = torch.zeros(2, 3, 8, 8)


@pytest.fixture(scope="module")
def traced(tmp_path_factory):
    torch.manual_seed(0)
    module = Net().eval()
    path = tmp_path_factory.mktemp("traced") / "net.pt2"
    return module, export(module, (torch.randn(2, 3, 8, 8), torch.ones(1)), path), path


def test_the_graph_names_operators_shapes_and_types(traced):
    _, graph, path = traced
    assert [t.shape for t in graph.inputs] == [(2, 3, 8, 8), (1,)]
    assert [n.op for n in graph.nodes] == [
        "conv2d.default",
        "batch_norm.default",
        "relu.default",
        "mul.Tensor",
        "mean.dim",
    ]
    assert [graph.shape(name) for name in graph.outputs] == [(2, 4, 8, 8), (2, 4)]
    assert (graph.name, graph.source) == ("Net", str(path))


@pytest.mark.parametrize(
    "workload", ["mobilenet_v3_small", "light_shufflenet", "light_zfnet512", "bert_tiny", "lstm_lm"]
)
def test_a_traced_network_multiplies_as_often_as_its_graph(workload, tmp_path):
    graph = workloads.build(workload)
    arrays = onnx_io.random_inputs(graph)
    module = torch_io.to_module(graph, load_weights(graph), torch.float32)
    inputs = [torch_io.as_tensor(arrays[t.name], t.dtype, torch.float32) for t in graph.inputs]
    traced = cost.of(export(module, inputs, tmp_path / "traced.pt2"))
    assert traced.macs == cost.of(graph).macs
    assert traced.element_ops == pytest.approx(cost.of(graph).element_ops, rel=0.1)  # some are composed otherwise


def test_several_results_of_an_operator_have_types_of_their_own(tmp_path):
    graph = export(nn.LSTM(4, 8), torch.zeros(3, 2, 4), tmp_path / "lstm.pt2")
    lstm = next(n for n in graph.nodes if n.op == "lstm.input")
    assert [graph.shape(name) for name in lstm.outputs] == [(3, 2, 8), (1, 2, 8), (1, 2, 8)]
    assert cost.of(graph).macs == 3 * 2 * 4 * 8 * (4 + 8)


def test_the_cost_of_an_unknown_operator_is_unknown(tmp_path):
    class Determinant(nn.Module):
        def forward(self, x):
            return torch.linalg.det(x)

    with pytest.raises(UnknownOperatorError, match=r"aten\.linalg_det"):
        cost.of(export(Determinant(), torch.eye(3), tmp_path / "det.pt2"))


def test_the_digest_is_that_of_the_network_not_of_its_weights(tmp_path):
    digests = [export(Net(c), IMAGE, tmp_path / f"{i}.pt2").digest for i, c in enumerate((4, 4, 5))]
    assert digests[0] == digests[1] != digests[2]


def test_the_program_computes_what_the_module_does(traced):
    module, graph, _ = traced
    program, inputs = load_program(Graph.from_json(graph.to_json()), torch.float32, CPU)
    with torch.inference_mode():
        for got, wanted in zip(program(*inputs), module(*inputs).values(), strict=True):
            torch.testing.assert_close(got, wanted)


def test_half_precision_takes_the_place_of_float32(traced):
    program, inputs = load_program(traced[1], torch.bfloat16, CPU)
    assert {t.dtype for t in (*program(*inputs), *inputs)} == {torch.bfloat16}


class Masked(nn.Module):
    """Makes tensors of its own while it runs, of the device and type of its input."""

    def forward(self, x):
        mask = torch.full((x.shape[0], x.shape[0]), -1.0, device=x.device, dtype=x.dtype).triu(1)
        return (x.float() + torch.arange(x.shape[1], device=x.device)).to(x.dtype) @ x.T + mask


@pytest.mark.parametrize(("floats", "place"), [(torch.bfloat16, CPU), (torch.float32, torch.device("meta"))])
def test_what_a_program_makes_itself_lies_where_its_inputs_do_and_is_of_their_type(floats, place, tmp_path):
    graph = export(Masked(), torch.ones(3, 4), tmp_path / "m.pt2")
    program, inputs = load_program(graph, floats, place)
    assert {(t.dtype, t.device) for t in (*program(*inputs), *inputs)} == {(floats, place)}


def test_two_traces_of_one_module_are_the_same_content(traced, tmp_path):
    module, _, path = traced
    export(module, (torch.randn(2, 3, 8, 8), torch.ones(1)), tmp_path / "again.pt2")
    export(Net(), (torch.randn(2, 3, 8, 8), torch.ones(1)), tmp_path / "other.pt2")
    assert content_digest(path) == content_digest(tmp_path / "again.pt2") != content_digest(tmp_path / "other.pt2")


def test_a_module_in_training_mode_stays_in_it_and_is_traced_for_evaluation(tmp_path):
    module = nn.Sequential(nn.Dropout(0.5), nn.Linear(3, 2)).train()
    graph = export(module, {"input": torch.zeros(1, 3)}, tmp_path / "m.pt2")
    assert module.training
    program, inputs = load_program(graph, torch.float32, CPU)
    torch.testing.assert_close(program(*inputs)[0], module[1](inputs[0]))


def test_what_cannot_travel_is_refused_in_one_line(tmp_path):
    with pytest.raises(InputError, match=r"^torch\.export cannot trace 'Branching': .*data-dependent") as caught:
        export(Branching(), torch.ones(2), tmp_path / "b.pt2")
    assert "\n" not in str(caught.value)


def test_what_is_no_module_and_what_has_no_inputs_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"torch\.nn\.Module, not int"):
        export(3, None, tmp_path / "m.pt2")
    with pytest.raises(InputError, match="'Net' is a PyTorch module: give its inputs"):
        export(Net(), None, tmp_path / "m.pt2")


def test_a_file_that_is_gone_or_another_network_is_refused(traced, tmp_path):
    _, graph, _ = traced
    with pytest.raises(InputError, match="is gone"):
        load_program(graph.renamed("net", source=str(tmp_path / "none.pt2")), torch.float32, CPU)
    other = export(Net(5), IMAGE, tmp_path / "other.pt2")
    with pytest.raises(InputError, match="holds another network"):
        load_program(graph.renamed("net", source=other.source), torch.float32, CPU)


@pytest.fixture
def factories(tmp_path, monkeypatch):
    (tmp_path / "their_nets.py").write_text(
        "import torch\n"
        "def bare(): return torch.nn.Linear(3, 2)\n"
        "def full(): return torch.nn.Linear(3, 2), torch.zeros(1, 3)\n"
        "def broken(): raise ValueError('no\\nweights')\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield
    sys.modules.pop("their_nets", None)


def test_a_factory_in_the_current_folder_gives_a_module_and_its_inputs(factories):
    module, inputs = from_factory("their_nets:full", None)
    assert isinstance(module, nn.Linear)
    assert inputs.shape == (1, 3)
    _, drawn = from_factory("their_nets:bare", {"x": (4, 3)})
    assert [tuple(t.shape) for t in drawn] == [(4, 3)]


@pytest.mark.parametrize(
    ("spec", "fault"),
    [
        ("their_nets:broken", "ValueError: no"),
        ("their_nets:missing", "AttributeError"),
        ("nowhere_at_all:factory", "ModuleNotFoundError: No module named 'nowhere_at_all'"),
    ],
)
def test_a_factory_that_fails_says_how_in_one_line(factories, spec, fault):
    with pytest.raises(InputError, match=fault) as caught:
        torch_io.from_factory(spec, None)
    assert "\n" not in str(caught.value)


class Repeated(nn.Module):
    """Its arguments are of all kinds that Python has."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(4, 4)

    def forward(self, x, n: int, scale: float = 1.0, mask=None, kind="relu", *, bias=True):
        for _ in range(n):
            x = self.linear(x)
        x = torch.relu(x) if kind == "relu" else x
        return x * scale + float(bias) if mask is None else x * mask


@pytest.mark.parametrize(
    "inputs",
    [
        (torch.ones(2, 4), 3, 0.5, None, "none"),
        {"n": 3, "x": torch.ones(2, 4), "kind": "relu"},
        ((torch.ones(2, 4), 3), {"bias": False, "mask": torch.ones(4)}),
    ],
)
def test_python_arguments_are_part_of_the_code(inputs, tmp_path):
    module = Repeated().eval()
    graph = export(module, inputs, tmp_path / "net.pt2")
    assert [n.op for n in graph.nodes][:3] == ["linear.default"] * 3
    args, kwargs = example_inputs.arguments(inputs)
    flat, tensors = load_program(graph, torch.float32, CPU)
    assert torch.equal(flat(*tensors)[0], module(*args, **kwargs))


class Normalized(nn.Module):
    def forward(self, x):
        return (x.float() * torch.rsqrt(x.to(torch.float32).pow(2).mean(-1, keepdim=True))).to(x.dtype)


def test_the_checks_of_the_tracer_are_not_operators(tmp_path):
    graph = export(Normalized(), torch.ones(2, 4), tmp_path / "net.pt2")
    module, _ = load_program(graph, torch.float32, CPU)
    assert not any("assert" in n.op for n in graph.nodes)
    assert "assert" not in module.code


class Selected(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(3, 3)

    def forward(self, x):
        return self.linear(x[x[:, 0] > 0]), x * 2


def test_a_shape_that_depends_on_the_data_is_unknown_and_the_network_runs(tmp_path):
    module, x = Selected().eval(), torch.tensor([[1.0, 2, 3], [-1, 2, 3], [4, 5, 6]])
    graph = export(module, x, tmp_path / "net.pt2")
    assert [graph.has_type(name) for name in graph.outputs] == [False, True]
    flat, inputs = load_program(graph, torch.float32, CPU)
    assert torch.equal(flat(*inputs)[0], module(x)[0])


def test_a_result_of_an_unknown_class_is_flattened(tmp_path):
    @dataclass
    class Result:
        logits: torch.Tensor
        pair: tuple
        loss: object = None

    class Wrapped(nn.Module):
        def forward(self, x):
            return Result(x + 1, (x * 2, {"third": x - 1}))

    graph = export(Wrapped(), torch.ones(3), tmp_path / "net.pt2")
    module, inputs = load_program(graph, torch.float32, CPU)
    assert [y[0].item() for y in module(*inputs)] == [2, 2, 0]


def test_a_module_that_returns_no_tensor_has_nothing_to_run(tmp_path):
    class Silent(nn.Module):
        def forward(self, x):
            return None

    with pytest.raises(InputError, match="returns no tensor; there is nothing to run"):
        export(Silent(), torch.ones(3), tmp_path / "net.pt2")


def test_a_lazy_module_takes_its_shapes_from_the_inputs(tmp_path):
    graph = export(nn.LazyLinear(8), torch.ones(2, 5), tmp_path / "net.pt2")
    assert sorted(t.shape for t in graph.weights) == [(8,), (8, 5)]
