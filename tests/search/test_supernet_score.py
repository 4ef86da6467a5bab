import pytest
import torch
from torch import nn

from hwprof.errors import InputError
from hwprof.objective.loss import LatencyLoss
from hwprof.objective.sparsestmax import sparsestmax
from hwprof.search.differentiable import SearchSettings, search
from hwprof.search.supernet_score import SupernetScore, calibrate_norms, load_supernet
from hwprof.tasks import Classification
from hwprof.training import TrainSettings

WIDTH, KERNELS = 4, (1, 3)


class Space:
    """Three levels, as in a trilevel search: how many cells, the operation of each, and the width of each."""

    choices = (2, 2, 2, 2, 2)

    def graph(self, arch):
        return tuple(arch)  # a latency function of this test takes it


class Trilevel(nn.Module):
    """One or two cells; each a convolution with a kernel of 1 or 3, with half or all of the channels."""

    space = Space()

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.stem = nn.Conv2d(1, WIDTH, 1)
        self.cells = nn.ModuleList(
            nn.ModuleList(nn.Conv2d(WIDTH, WIDTH, k, padding=k // 2) for k in KERNELS) for _ in range(2)
        )
        self.norms = nn.ModuleList(nn.BatchNorm2d(WIDTH) for _ in range(2))
        self.head = nn.Linear(WIDTH, 2)
        self.logits = nn.Parameter(1e-3 * torch.randn(5, 2, generator=torch.Generator().manual_seed(0)))
        self.progress = 0.0

    def anneal(self, progress):
        self.progress = progress

    def architecture_parameters(self):
        return [self.logits]

    def probabilities(self):
        return sparsestmax(self.logits, self.progress)

    def derive(self):
        return tuple(self.logits.argmax(-1).tolist())

    def at(self, arch):
        return Fixed(self, torch.nn.functional.one_hot(torch.tensor(arch), 2).float())

    def forward(self, x):
        return self.weighed(x, self.probabilities())

    def weighed(self, x, probabilities):
        depth, *levels = probabilities
        x = self.stem(x)
        narrow = (torch.arange(WIDTH) < WIDTH // 2).float()[:, None, None]
        for number, (cell, norm) in enumerate(zip(self.cells, self.norms, strict=True)):
            kernel, width = levels[2 * number : 2 * number + 2]
            y = norm(sum(p * conv(x) for p, conv in zip(kernel, cell, strict=True))).relu()
            y = y * (width[0] * narrow + width[1])
            x = y if number == 0 else depth[0] * x + depth[1] * y
        return self.head(x.mean((2, 3)))


class Fixed(nn.Module):
    def __init__(self, supernet, probabilities):
        super().__init__()
        self.supernet, self.chosen = supernet, probabilities

    def forward(self, x):
        return self.supernet.weighed(x, self.chosen)


def task():
    """Told apart by the mean."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(64) % 2
    parts = [(torch.randn(64, 1, 4, 4, generator=generator) + labels[:, None, None, None], labels) for _ in range(3)]
    return Classification("means", *parts)


def expected_ms(probabilities):
    return 1.0 + probabilities[:, 1].sum()


def latency_ms(archs):
    return torch.tensor([1.0 + sum(arch) for arch in archs]).numpy()


def found(supernet, weight=0.5):
    settings = SearchSettings(TrainSettings(epochs=4, batch_size=16, rate=0.1), architecture_rate=0.1)
    return search(supernet, task(), expected_ms, LatencyLoss(6.0, "linear", weight), latency_ms, settings)


def test_any_supernet_is_searched_and_with_sparsestmax_ends_without_a_gap():
    supernet = Trilevel()
    result = found(supernet)
    assert result.gap_ms == pytest.approx(0, abs=1e-6)
    x = torch.randn(3, 1, 4, 4)
    torch.testing.assert_close(supernet.eval()(x), supernet.at(result.arch).eval()(x))


def test_a_stronger_latency_loss_derives_a_faster_network():
    assert found(Trilevel(), 50.0).derived_ms == 1.0


def test_a_score_comes_from_the_shared_weights_and_changes_nothing():
    supernet = Trilevel()
    found(supernet)
    before = {name: tensor.clone() for name, tensor in supernet.state_dict().items()}
    score = SupernetScore(supernet, task(), batches=2, batch_size=32)
    assert score((0, 0, 1, 0, 1)) > 70
    assert score.final((0, 0, 1, 0, 1)) > 70
    assert all(torch.equal(before[name], tensor) for name, tensor in supernet.state_dict().items())


def test_calibrated_norms_hold_the_mean_over_the_batches():
    norm = nn.BatchNorm2d(1)
    calibrate_norms(norm_and_sum(norm), task(), batches=2, batch_size=32)
    inputs = task().examples("train").inputs
    torch.testing.assert_close(norm.running_mean, inputs.mean((0, 2, 3)))
    assert not norm.training


def norm_and_sum(norm):
    return nn.Sequential(norm, nn.Flatten(), nn.Linear(16, 2))


def test_a_supernet_is_found_by_its_reference(tmp_path):
    (tmp_path / "own_supernet.py").write_text("from tests.search.test_supernet_score import Trilevel as supernet\n")
    assert type(load_supernet(f"{tmp_path / 'own_supernet.py'}:supernet")).__name__ == "Trilevel"


def test_what_is_no_supernet_is_refused(tmp_path):
    (tmp_path / "no_supernet.py").write_text("import torch\nNET = torch.nn.Linear(1, 1)\n")
    with pytest.raises(InputError, match="is a Linear without space, probabilities, derive, at"):
        load_supernet(f"{tmp_path / 'no_supernet.py'}:NET")
