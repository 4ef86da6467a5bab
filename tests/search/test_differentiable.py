import copy

import numpy as np
import pytest
import torch

from hwprof.errors import InputError
from hwprof.objective.expected import ExpectedLatency
from hwprof.objective.loss import LatencyLoss
from hwprof.search.differentiable import Epoch, SearchSettings, search, warm_up
from hwprof.search.supernet import Supernet
from hwprof.spaces.darts import EDGES, OPERATIONS, Darts
from hwprof.tasks import Classification
from hwprof.training import TrainSettings
from tests.latency_table.tables import choices

TINY = Darts(channels=4, cells=3, resolution=8, classes=2)
TIMES = [0.01, 1.0, 1.0, 0.1, 4.0, 6.0, 2.0, 3.0]  # ms, in the order of OPERATIONS
EXPECTED_MS = ExpectedLatency(choices([TIMES] * 28), TINY)
SHORT = SearchSettings(TrainSettings(epochs=2, batch_size=8), architecture_rate=0.3)
START_MS = float(EXPECTED_MS(Supernet(TINY, partial=2).probabilities().detach()))


def noise(n=8, swapped=False):
    """Random images without a rule; the parts "train" and "search" have n each."""
    generator = torch.Generator().manual_seed(0)
    parts = [(torch.randn(n, 3, 8, 8, generator=generator), torch.arange(n) % 2) for _ in range(2)]
    train, search = parts[::-1] if swapped else parts
    return Classification("noise", train, search, search)


def macs(graphs):
    return np.array([sum(weight.numel for weight in graph.weights) / 1e3 for graph in graphs])


def run(weight=0.0, shape="linear", target_ms=20.0, **changes):
    cost = LatencyLoss(target_ms, shape, weight)
    arguments = {"expected_ms": EXPECTED_MS, "latency_ms": macs, "settings": SHORT, **changes}
    return search(Supernet(TINY, partial=2), noise(), cost=cost, **arguments)


def test_the_expected_latency_falls_with_the_strength_of_the_loss():
    free, weak, strong = (run(weight) for weight in (0.0, 0.3, 30.0))
    assert free.expected_ms > weak.expected_ms > strong.expected_ms
    assert free.derived_ms > strong.derived_ms


@pytest.mark.parametrize("shape", ["hinge", "abs", "linear", "log", "power"])
def test_every_shape_of_the_loss_can_be_searched_with(shape):
    found = run(100.0, shape)
    assert found.expected_ms < START_MS


def test_abs_pulls_a_fast_supernet_up_to_its_target():
    assert run(100.0, "abs", target_ms=60.0).expected_ms > START_MS


@pytest.mark.processor(runtime="torch")
@pytest.mark.parametrize("threads", [1, 2])
def test_the_same_seed_finds_the_same(threads):
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        assert run(1.0) == run(1.0)
    finally:
        torch.set_num_threads(before)


def test_the_derived_network_is_timed_once_at_the_end():
    asked = []

    def latency_ms(graphs):
        asked.extend(graphs)
        return np.array([7.0])

    found = run(latency_ms=latency_ms)
    assert asked == [TINY.graph(found.arch)]
    assert found.derived_ms == 7.0
    assert found.gap_ms == pytest.approx(7.0 - found.expected_ms)
    assert TINY.parse(TINY.format(found.arch)) == found.arch


def test_every_epoch_is_told_and_kept():
    told = []
    found = run(on_epoch=told.append)
    assert tuple(told) == found.history
    assert [epoch.number for epoch in told] == [0, 1]
    assert told[-1].arch == found.arch
    assert 0 <= told[-1].validation_metric <= 100


def epoch_of(normal, reduction):
    arch = [(OPERATIONS.index(name) if source < 2 else 0) for name in (normal, reduction) for source, _ in EDGES]
    return Epoch(0, tuple(arch), 1.0, 0.1, 0.9)


def test_normal_cells_of_skips_alone_are_called_collapsed():
    assert epoch_of("skip_connect", "sep_conv_3x3").collapsed
    assert epoch_of("max_pool_3x3", "skip_connect").collapsed
    assert not epoch_of("dil_conv_3x3", "skip_connect").collapsed
    assert epoch_of("skip_connect", "sep_conv_3x3").skips == 0.5


def test_a_strong_linear_loss_collapses_and_says_so():
    found = run(100.0)
    assert found.collapsed
    assert found.history[-1].skips == 1.0


def test_only_the_probabilities_reach_the_latency():
    seen = []

    def expected_ms(probabilities):
        seen.append(probabilities.shape)
        return (probabilities * torch.tensor(TIMES)).sum()

    run(expected_ms=expected_ms)
    assert set(seen) == {(2, len(EDGES), len(OPERATIONS))}


def test_weights_and_architecture_learn_from_their_own_part():
    supernet = Supernet(TINY, partial=2)
    swapped = copy.deepcopy(supernet)
    fixed = {"cost": LatencyLoss(1.0, weight=0.0), "latency_ms": macs, "settings": SHORT}
    search(supernet, noise(), EXPECTED_MS, **fixed)
    search(swapped, noise(swapped=True), EXPECTED_MS, **fixed)
    assert not torch.equal(supernet.alphas, swapped.alphas)


def test_the_part_for_the_architecture_may_be_the_smaller_one():
    larger, smaller = noise(8).examples("train"), noise(4).examples("search")
    settings = SearchSettings(TrainSettings(epochs=1, batch_size=4), architecture_rate=0.3)
    search(
        Supernet(TINY, partial=2), Classification("uneven", larger, smaller, smaller), EXPECTED_MS,
        LatencyLoss(20.0), macs, settings,
    )  # fmt: skip


def test_warming_up_leaves_the_architecture_alone():
    supernet = Supernet(TINY, partial=2)
    alphas, stem = supernet.alphas.detach().clone(), supernet.weights()[0].detach().clone()
    warm_up(supernet, noise(), TrainSettings(epochs=1, batch_size=8))
    assert torch.equal(supernet.alphas, alphas)
    assert not torch.equal(supernet.weights()[0], stem)


def test_a_search_without_examples_for_the_architecture_is_refused():
    part = noise().examples("train")
    task = Classification("half", part, (torch.zeros(0, 3, 8, 8), torch.zeros(0).long()), part)
    with pytest.raises(InputError, match="task 'half' has no batch in its part 'search'"):
        search(Supernet(TINY, partial=2), task, EXPECTED_MS, LatencyLoss(20.0), macs, SHORT)


def test_an_expected_latency_that_is_no_number_is_refused():
    with pytest.raises(InputError, match="expected latency is nan ms"):
        run(expected_ms=lambda probabilities: probabilities.sum() * float("nan"))


def test_a_search_without_epochs_is_refused():
    with pytest.raises(InputError, match="at least one epoch, not 0"):
        run(settings=SearchSettings(TrainSettings(epochs=0)))


def test_choices_harden_only_after_their_share_of_the_search():
    supernet, left = Supernet(TINY, partial=2, relaxation="sparsestmax"), []
    settings = SearchSettings(TrainSettings(epochs=2, batch_size=8), harden_from=0.5)
    search(
        supernet, noise(), EXPECTED_MS, LatencyLoss(20.0), macs, settings,
        on_epoch=lambda _epoch: left.append(int((supernet.probabilities()[..., 1:] > 0).sum())),
    )  # fmt: skip
    assert left == [7 * 2 * 14, 2 * 2 * 4]  # all operations of all edges; one on two edges of each node


def test_a_share_after_the_end_of_a_search_is_refused():
    with pytest.raises(InputError, match="from a share of 0 to below 1, not 1"):
        SearchSettings(harden_from=1.0)


def test_a_search_that_collapses_stops_early_and_says_so():
    stopping = SearchSettings(TrainSettings(epochs=4, batch_size=8), architecture_rate=1.0, stop_early=True)
    history = run(100.0, settings=stopping).history
    assert history[-1].collapsed
    assert len(history) < 4
