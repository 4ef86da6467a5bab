import itertools

import numpy as np
import pytest
import torch

from hwprof.builder import GraphBuilder
from hwprof.errors import InputError
from hwprof.latency_table import Correction
from hwprof.objective.expected import ExpectedLatency
from hwprof.objective.loss import LatencyLoss
from hwprof.objective.relaxed import DistillSettings, random_probabilities
from tests.latency_table.tables import choices

TIMES = [[1.0, 2.0, 4.0], [3.0, 1.0, 2.0]]


class Space:
    """`positions` convolutions, each of 4, 8, 16 or 32 channels."""

    def __init__(self, positions=2, options=3):
        self.choices = (options,) * positions

    def graph(self, arch):
        b = GraphBuilder("tiny")
        x = b.input((1, 3, 8, 8))
        for choice in arch:
            x = b.conv(x, 4 * 2**choice, 3)
        return b.build(x)


def macs_ms(graphs):
    """A latency whose positions interact: a convolution costs its input channels times its output channels."""
    return np.array([sum(np.prod(w.shape) for w in g.weights) / 1e3 for g in graphs])


class MacsPredictor:
    def fit(self, X, y):
        return self

    def predict(self, X):
        return macs_ms(X)

    def predict_interval(self, X, coverage=0.9):
        return macs_ms(X) * 0.9, macs_ms(X) * 1.1


def brute_force(latency_ms, space, p):
    """p: [n_positions, n_choices]. The mean over every architecture."""
    return sum(
        np.prod([p[i, c] for i, c in enumerate(arch)]) * latency_ms([space.graph(arch)])[0]
        for arch in itertools.product(*map(range, space.choices))
    )


def softmax(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)).softmax(-1)


def test_a_table_of_choices_is_exact_and_additive():
    lat = ExpectedLatency(choices(TIMES), Space())
    p = softmax(2, 3)
    assert lat.method == "additive"
    assert lat(p).item() == pytest.approx((p * torch.tensor(TIMES)).sum().item())
    assert lat.expected_error_.worst < 1e-9


def test_one_hot_expected_latency_equals_the_lookup():
    table = choices(TIMES)
    lat = ExpectedLatency(table, Space())
    for arch in itertools.product(range(3), range(3)):
        probs = torch.stack([torch.eye(3, dtype=torch.float64)[c] for c in arch])
        looked_up = sum(table.lookup("choice", position=i, choice=c) for i, c in enumerate(arch))
        assert lat(probs).item() == pytest.approx(looked_up)


def test_a_calibrated_table_is_expected_end_to_end():
    table = choices(TIMES).with_correction(Correction(a_ms=0.5, b=2.0))
    p = softmax(2, 3)
    assert ExpectedLatency(table, Space())(p).item() == pytest.approx(0.5 + 2 * (p * torch.tensor(TIMES)).sum().item())


def test_a_predictor_with_interactions_equals_brute_force_on_a_small_space():
    space, p = Space(3, 3), softmax(3, 3)
    lat = ExpectedLatency(MacsPredictor(), space)
    assert lat.method == "tabulated"
    assert lat(p).item() == pytest.approx(brute_force(macs_ms, space, p.numpy()))
    assert lat.expected_error_.mean < 1e-9


def test_a_plain_function_of_graphs_is_a_source_too():
    space, p = Space(), softmax(2, 3)
    assert ExpectedLatency(macs_ms, space)(p).item() == pytest.approx(brute_force(macs_ms, space, p.numpy()))


def test_a_source_that_turns_out_additive_is_recognized():
    lat = ExpectedLatency(lambda archs: np.array([2.0 + a[0] + 3.0 * a[1] for a in archs]), Space(), inputs="arch")
    assert lat.method == "additive"
    assert lat(torch.full((2, 3), 1 / 3)).item() == pytest.approx(2 + 1 + 3)


def test_a_distilled_latency_is_close_to_brute_force_and_says_how_close():
    space = Space(4, 4)
    settings = DistillSettings(archs=256, steps=500, warmup=150, hidden=64)
    lat = ExpectedLatency(MacsPredictor(), space, method="distilled", settings=settings)
    exact = ExpectedLatency(MacsPredictor(), space, method="tabulated")
    p = torch.from_numpy(random_probabilities(space.choices, 50, np.random.default_rng(9)))
    errors = [abs(lat(row).item() / exact(row).item() - 1) for row in p]
    assert np.mean(errors) < 0.04
    assert lat.expected_error_.mean == pytest.approx(np.mean(errors), abs=0.01)


def test_a_multilinear_latency_is_close_to_brute_force_and_says_how_close():
    space = Space(5, 4)
    lat = ExpectedLatency(MacsPredictor(), space, method="multilinear")
    exact = ExpectedLatency(MacsPredictor(), space, method="tabulated")
    p = torch.from_numpy(random_probabilities(space.choices, 50, np.random.default_rng(9)))
    errors = [abs(lat(row).item() / exact(row).item() - 1) for row in p]
    assert lat.method == "multilinear"
    assert np.mean(errors) < 0.01
    assert lat.expected_error_.mean == pytest.approx(np.mean(errors), abs=0.005)


def test_a_large_space_with_interactions_gets_the_multilinear_form():
    def latency_ms(archs):
        return np.array([10.0 + sum(a[i] * a[i + 1] for i in range(8)) for a in archs])

    lat = ExpectedLatency(latency_ms, Space(9, 4), inputs="arch")
    assert lat.method == "multilinear"
    uniform = torch.full((9, 4), 0.25, dtype=torch.float64)
    assert lat(uniform).item() == pytest.approx(10 + 8 * 1.5 * 1.5, rel=0.01)


@pytest.mark.parametrize(
    ("latency_ms", "method"),
    [
        (lambda graphs: 50 + macs_ms(graphs), "multilinear"),
        (lambda graphs: np.array([1 + int(g.digest, 16) % 100 for g in graphs]), "tabulated"),
    ],
    ids=["smooth", "wild"],
)
def test_graphs_of_a_whole_space_are_built_only_where_some_of_them_do_not_tell(latency_ms, method):
    lat = ExpectedLatency(latency_ms, Space(5, 4), most_archs=400)
    assert lat.method == method


def test_a_predictor_that_takes_architectures_is_asked_with_them():
    class OfArchs(MacsPredictor):
        takes = "arch"

        def predict(self, X):
            return np.array([1.0 + a[0] * a[1] for a in X])

    assert ExpectedLatency(OfArchs(), Space())(torch.eye(3)[[1, 2]]).item() == pytest.approx(3.0)


def test_the_gradient_is_right_in_double_precision():
    lat = ExpectedLatency(MacsPredictor(), Space(3, 3))
    alphas = torch.randn(3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1)).requires_grad_()
    assert torch.autograd.gradcheck(lambda a: LatencyLoss(1.0)(lat(a.softmax(-1))), (alphas,))


def test_probabilities_come_as_one_tensor_or_one_for_each_cell():
    lat = ExpectedLatency(choices(TIMES * 2), Space(4, 3))
    p = softmax(4, 3)
    assert lat(p).item() == lat(p.reshape(2, 2, 3)).item() == lat([p[:2], p[2:]]).item()


def test_positions_may_have_different_numbers_of_choices():
    space = Space()
    space.choices = (2, 3)
    lat = ExpectedLatency(choices([[1.0, 3.0], [2.0, 2.0, 8.0]]), space)
    assert lat([torch.tensor([0.5, 0.5]), torch.tensor([0.25, 0.25, 0.5])]).item() == pytest.approx(2 + 5)


def test_logits_are_refused():
    with pytest.raises(InputError, match="apply softmax"):
        ExpectedLatency(choices(TIMES), Space())(torch.zeros(2, 3))


def test_the_wrong_number_of_probabilities_is_refused():
    with pytest.raises(InputError, match="9 probabilities were given; the space has 6 choices in 2 positions"):
        ExpectedLatency(choices(TIMES), Space())(softmax(3, 3))


def test_a_table_of_another_space_is_refused():
    with pytest.raises(InputError, match="holds no choice"):
        ExpectedLatency(choices(TIMES), Space(3, 3))


def test_a_method_that_does_not_fit_the_source_is_refused():
    with pytest.raises(InputError, match="not additive"):
        ExpectedLatency(MacsPredictor(), Space(), method="additive")


def test_a_report_shows_the_gap_between_expectation_and_the_derived_network():
    lat = ExpectedLatency(choices([[1.0, 5.0, 9.0]]), Space(1, 3))
    report = lat.report(torch.tensor([[0.6, 0.2, 0.2]], dtype=torch.float64))
    assert report.argmax_arch == (0,)
    assert (report.expected, report.argmax) == (pytest.approx(3.4), pytest.approx(1.0))
    assert report.gap == pytest.approx(-2.4)
    assert report.p95 == 9.0


def test_latencies_are_asked_of_the_source_once():
    asked = []

    def latency_ms(archs):
        asked.extend(archs)
        return np.array([1.0 + a[0] * a[1] for a in archs])

    ExpectedLatency(latency_ms, Space(), inputs="arch").report(softmax(2, 3))
    assert len(asked) == len(set(asked)) == 9
