import numpy as np
import onnx
import pytest
import torch
from torch import nn
from torch.nn import functional

from hwprof.torch_io import TrainableGraph, trainable
from hwprof.torch_io.training_export import TrainingExport, export_to_train
from hwprof.variants.weights import load_weights

WORDS = 20


class Small(nn.Module):
    """Convolutions with batch norms of one width: before its training, many of its tensors are equal."""

    def __init__(self, ratio: float = 0.0) -> None:
        super().__init__()
        self.first, self.first_norm = nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8)
        self.second, self.second_norm = nn.Conv2d(8, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8, momentum=0.3)
        self.dropout, self.head = nn.Dropout(ratio), nn.Linear(8, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = functional.relu(self.first_norm(self.first(x)))
        x = functional.relu(self.second_norm(self.second(x)))
        return self.head(self.dropout(x.mean((2, 3))))


class Tied(nn.Module):
    """A language model whose embedding is its last layer, too."""

    def __init__(self, ratio: float = 0.0) -> None:
        super().__init__()
        self.embedding, self.norm, self.dropout = nn.Embedding(WORDS, 16), nn.LayerNorm(16), nn.Dropout(ratio)
        self.attention = nn.MultiheadAttention(16, 2, dropout=ratio, batch_first=True)
        self.out = nn.Linear(16, WORDS, bias=False)
        self.out.weight = self.embedding.weight

    def forward(self, words: torch.Tensor) -> torch.Tensor:
        x = self.embedding(words)
        x = self.norm(x + self.dropout(self.attention(x, x, x, need_weights=False)[0]))
        return self.out(x)


IMAGES = torch.rand(6, 16, 1, 8, 8, generator=torch.Generator().manual_seed(0))
TEXTS = torch.randint(0, WORDS, (6, 16, 7), generator=torch.Generator().manual_seed(0))


def exported(module: nn.Module, batch: torch.Tensor, folder) -> TrainingExport:
    return export_to_train(module, {"x": batch[:1].numpy()}, folder / "net.onnx")


def twin_of(module: nn.Module, batch: torch.Tensor, folder) -> TrainableGraph:
    made = exported(module, batch, folder)
    return trainable(made.graph, load_weights(made.graph), fixed=made.fixed)


def train(module: nn.Module, batches: torch.Tensor) -> None:
    learning = [p for p in module.parameters() if p.requires_grad]
    optimizer = torch.optim.SGD(learning, lr=0.1, momentum=0.9, weight_decay=1e-3)
    module.train()
    for batch in batches:
        optimizer.zero_grad()
        (module(batch) ** 2).mean().sub(1).abs().backward()
        optimizer.step()


def n_parameters(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters() if p.requires_grad)


def assert_trains_alike(module: nn.Module, batches: torch.Tensor, folder) -> None:
    twin = twin_of(module, batches[0], folder)
    assert n_parameters(twin) == n_parameters(module)
    before = module.eval()(batches[0]).detach()
    for network in (module, twin):
        train(network, batches)
        network.eval()
    with torch.no_grad():
        after = module(batches[0])
        torch.testing.assert_close(twin(batches[0]), after, atol=1e-4, rtol=1e-4)
    assert (after - before).abs().max() > 0.05


@pytest.mark.parametrize(("make", "batches"), [(Small, IMAGES), (Tied, TEXTS)])
def test_a_module_and_its_network_are_the_same_after_a_training(make, batches, tmp_path):
    torch.manual_seed(0)
    assert_trains_alike(make(), batches, tmp_path)


def test_equal_tensors_of_an_untrained_module_are_tensors_of_their_own(tmp_path):
    module = Small()
    graph = exported(module, IMAGES[0], tmp_path).graph
    norms = [node for node in graph.nodes if node.op == "BatchNormalization"]
    assert len({name for node in norms for name in node.inputs[1:]}) == 8
    counted = {name for name in module.state_dict() if not name.endswith("num_batches_tracked")}
    assert graph.weight_names == counted


def test_a_tied_weight_is_one_tensor(tmp_path):
    module = Tied()
    twin = twin_of(module, TEXTS[0], tmp_path)
    matrices = [p for p in twin.weights() if WORDS in p.shape]
    assert [tuple(p.shape) for p in matrices] == [(WORDS, 16)]
    assert module.out.weight is module.embedding.weight


def normed() -> nn.Module:
    return nn.utils.parametrizations.weight_norm(nn.Linear(4, 4))


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(4, 3, num_layers=2, bidirectional=True, batch_first=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.lstm(x)[0]


class Loop(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.cell = nn.Linear(4, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for _ in range(3):
            x = torch.tanh(self.cell(x))
        return x


@pytest.mark.parametrize("make", [Loop, normed, Recurrent])
def test_weights_that_are_laid_out_or_computed_train_as_in_the_module(make, tmp_path):
    torch.manual_seed(0)
    assert_trains_alike(make(), torch.randn(6, 5, 3, 4), tmp_path)


class Numbers(nn.Module):
    """A parameter of one number, a buffer, and a frozen parameter."""

    def __init__(self) -> None:
        super().__init__()
        self.linear, self.scale = nn.Linear(4, 4), nn.Parameter(torch.ones(1))
        self.frozen = nn.Parameter(torch.ones(4), requires_grad=False)
        self.register_buffer("shift", torch.ones(4))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return (self.linear(x) * self.scale + self.shift) * self.frozen


def test_what_the_module_does_not_train_does_not_train(tmp_path):
    torch.manual_seed(0)
    made = exported(Numbers(), torch.randn(2, 4), tmp_path)
    assert made.fixed == {"shift", "frozen"}
    assert_trains_alike(Numbers(), torch.randn(6, 5, 4), tmp_path)


def test_a_module_without_gradients_trains_whole(tmp_path):
    assert not exported(nn.Linear(4, 4).requires_grad_(False), torch.randn(2, 4), tmp_path).fixed


class InForward(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = functional.dropout(input=x * 2, p=0.0, training=self.training)
        return functional.dropout(x, 0.5, self.training)


@pytest.mark.parametrize(
    ("make", "batch", "dropouts"),
    [
        (lambda: Small(0.4), IMAGES[0], [0.4]),
        (lambda: Tied(0.25), TEXTS[0], [0.25, 0.25]),
        (InForward, torch.ones(4, 64), [0.5]),
        (Small, IMAGES[0], []),
    ],
)
def test_dropouts_of_the_module_drop_in_training_alone(make, batch, dropouts, tmp_path):
    torch.manual_seed(0)
    module = make().eval()
    twin = twin_of(module, batch, tmp_path)
    assert [part.p for part in twin.modules() if isinstance(part, nn.Dropout)] == pytest.approx(dropouts)
    with torch.no_grad():
        torch.testing.assert_close(twin.eval()(batch), module(batch), atol=1e-5, rtol=1e-5)
        moved = not torch.equal(twin.train()(batch), twin(batch))
    assert moved == bool(dropouts)


def test_the_file_is_a_model_that_drops_nothing(tmp_path):
    exported(Small(0.4), IMAGES[0], tmp_path)
    model = onnx.load(tmp_path / "net.onnx")
    onnx.checker.check_model(model, full_check=True)
    assert [info.name for info in model.graph.input] == ["x"]
    (dropout,) = (node for node in model.graph.node if node.op_type == "Dropout")
    assert (len(dropout.input), len(dropout.output)) == (2, 1)


def test_the_module_keeps_its_mode_and_its_statistics(tmp_path):
    module = Small(0.4).train()
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    exported(module, IMAGES[0], tmp_path)
    assert module.training
    for name, tensor in module.state_dict().items():
        np.testing.assert_array_equal(tensor, before[name])


def unused() -> nn.Module:
    module = nn.Linear(4, 4)
    module.other = nn.Linear(2, 2)
    return module


@pytest.mark.parametrize(
    ("make", "batch", "told"),
    [
        (unused, torch.ones(2, 4), "has no weight for other.bias, other.weight: the output does not depend on it"),
        (lambda: nn.Sequential(nn.Conv2d(1, 2, 3), nn.Dropout2d()), IMAGES[0], "ONNX has no dropout2d"),
        (lambda: nn.BatchNorm2d(1, momentum=None), IMAGES[0], "keeps its running statistics"),
        (normed, torch.ones(2, 4), "computes its weight from parametrizations.weight.original0, parametrizations."),
        (Tied, TEXTS[0], "'/out/MatMul' computes its weight from embedding.weight, so methods do not"),
    ],
)
def test_a_training_that_differs_from_the_modules_is_told(make, batch, told, tmp_path):
    (note,) = exported(make(), batch, tmp_path).notes
    assert told in note


def test_a_module_that_trains_alike_has_no_notes(tmp_path):
    assert not exported(Small(0.4), IMAGES[0], tmp_path).notes
