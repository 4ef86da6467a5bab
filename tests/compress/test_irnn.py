import numpy as np
import pytest
import torch
from torch import nn

from hwprof.builder import GraphBuilder
from hwprof.compress.irnn import IRnn
from hwprof.compress.networks import open_network
from hwprof.errors import InputError
from hwprof.graph import is_quantized
from hwprof.integer.lowering import lowering
from hwprof.integer.run import reference
from hwprof.tasks import Classification
from hwprof.tasks.digits import digits
from hwprof.testing import check_method
from hwprof.training import TrainSettings, evaluate, fit
from hwprof.variants.weights import constant_arrays
from tests.compress.board import DEVICE

FLOAT = TrainSettings(epochs=14, batch_size=50, optimizer="adam", rate=1e-2, max_gradient_norm=1.0, validation=None)
TUNING = TrainSettings(epochs=1, batch_size=50, optimizer="adam", rate=1e-3, max_gradient_norm=1.0, validation=None)


def classifier(units=16):
    """Sequences [1, 8, 8] to 10 scores."""
    b = GraphBuilder("rows")
    states = b.lstm(b.transpose(b.input((1, 8, 8), name="x"), (1, 0, 2)), units)
    return b.build(b.gemm(b.reshape(b.slice(states, 0, 7, 8), (1, units)), 10))


@pytest.fixture(scope="module")
def rows():
    """The digits row by row: inputs [n, 8, 8]."""
    parts = [digits().examples(part) for part in ("train", "search", "test")]
    return Classification("rows of digits", *((part.inputs[:, 0], part.targets) for part in parts))


@pytest.fixture
def recurrent(rows, tmp_path):
    return open_network(classifier(), rows, DEVICE, tmp_path)


def test_the_contract_of_methods_holds(recurrent):
    check_method(IRnn, recurrent)


def test_a_recurrent_network_learns_in_integers(rows, recurrent, no_cost):
    fit(recurrent.module, rows, FLOAT)
    in_float = evaluate(recurrent.module, rows)
    assert in_float > 85
    method, own = IRnn(), recurrent.copy()
    hooks = method.attach(own, no_cost)
    before = own.weights
    fit(own.module, rows, TUNING, [hooks])
    assert any(not np.array_equal(before[name], array) for name, array in own.weights.items())
    in_integers = evaluate(own.module, rows)
    assert in_integers > in_float - 1
    small = method.finish(method.choices())
    assert any(is_quantized(node) for node in small.graph.nodes)
    assert abs(evaluate(small.module, rows) - in_integers) < 1


class Rows(nn.Module):
    """The same network as a user writes it, with a dropout."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm, self.dropout, self.head = nn.LSTM(8, 16, batch_first=True), nn.Dropout(0.1), nn.Linear(16, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.dropout(self.lstm(x)[0][:, -1:].flatten(1)))


def test_the_dropout_of_a_users_module_is_no_obstacle(rows, no_cost, tmp_path):
    torch.manual_seed(0)
    opened = open_network(Rows(), rows, DEVICE, tmp_path)
    assert "Dropout" in {node.op for node in opened.graph.nodes}
    method, own = IRnn(), opened.copy()
    fit(own.module, rows, TUNING, [method.attach(own, no_cost)])
    small = method.finish(method.choices())
    assert abs(evaluate(small.module, rows) - evaluate(own.module, rows)) < 1


class Framed(nn.Module):
    """Linear layers that are applied to each frame."""

    def __init__(self, bias: bool = True) -> None:
        super().__init__()
        self.first, self.head = nn.Linear(8, 12, bias), nn.Linear(16, 10, bias)
        self.lstm = nn.LSTM(12, 16, batch_first=True, bias=bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.lstm(self.first(x))[0])[:, -1]


@pytest.mark.parametrize("bias", [True, False], ids=["biases", "no biases"])
def test_linear_layers_on_each_frame_learn_in_integers(rows, no_cost, tmp_path, bias):
    torch.manual_seed(0)
    opened = open_network(Framed(bias), rows, DEVICE, tmp_path)
    method, own = IRnn(), opened.copy()
    hooks, before = method.attach(own, no_cost), own.weights
    fit(own.module, rows, TUNING, [hooks])
    assert {name for name, array in own.weights.items() if np.array_equal(before[name], array)} <= own.fixed
    small = method.finish(method.choices())
    inputs = next(iter(rows.examples("test").batches(8))).inputs
    program = lowering.lower(small.graph, {**constant_arrays(small.graph), **small.weights})
    (given,) = small.graph.inputs
    kernels = [reference.run(program, {given.name: x[None].numpy()})[small.graph.outputs[0]][0] for x in inputs]
    with torch.no_grad():
        np.testing.assert_array_equal(own.module(inputs).numpy(), kernels)


class Residual(Framed):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        states = self.lstm(self.first(x))[0]
        return self.head(states + states.flip(1))[:, -1]


class BothWays(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.lstm, self.head = nn.LSTM(8, 16, batch_first=True, bidirectional=True), nn.Linear(32, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.lstm(x)[0][:, -1])


def test_a_table_of_words_is_not_trained_in_integers(no_cost, tmp_path):
    class Words(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table, self.lstm, self.head = nn.Embedding(9, 8), nn.LSTM(8, 16, batch_first=True), nn.Linear(16, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.head(self.lstm(self.table(x))[0][:, -1])

    words = Classification("words", *((np.arange(i, 24 + i).reshape(8, 3) % 9, np.arange(8) % 3) for i in range(3)))
    opened = open_network(Words(), words, DEVICE, tmp_path)
    with pytest.raises(InputError, match=r"it has Gather .*whose place is computed or whose table is stored"):
        IRnn().attach(opened, no_cost)


@pytest.mark.parametrize(
    ("module", "why"), [(Residual, r"Add \('.*', of two computed tensors\)"), (BothWays, r"LSTM \('.*', bidirectional")]
)
def test_a_layer_that_cannot_be_trained_in_integers_is_named_with_the_reason(rows, no_cost, tmp_path, module, why):
    opened = open_network(module(), rows, DEVICE, tmp_path)
    with pytest.raises(InputError, match=f"not '{module.__name__}': it has {why}"):
        IRnn().attach(opened, no_cost)


def test_a_network_with_convolutions_is_refused(opened, no_cost):
    with pytest.raises(InputError, match=r"irnn trains networks of LSTM and Gemm .*, not 'small': it has Conv"):
        IRnn().attach(opened, no_cost)
