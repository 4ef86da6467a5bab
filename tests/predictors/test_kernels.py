"""The device of these tests computes the latency by a formula that the predictor is not told."""

from copy import deepcopy
from dataclasses import replace
from itertools import islice

import numpy as np
import pytest

from hwprof.builder import GraphBuilder
from hwprof.encoders.kernels import FEATURES, KernelEncoder
from hwprof.errors import InputError
from hwprof.interfaces import ExecutedKernel
from hwprof.jobs.predicted_operators import operators_of
from hwprof.predictors import files, kernels
from hwprof.predictors.base import State, conformal_quantile
from hwprof.predictors.kernel_sum import Domain, Member, Prepared
from hwprof.predictors.kernels import KernelPredictor
from hwprof.predictors.trained import Trained
from hwprof.spaces.generic import SPACE
from hwprof.spaces.generic_operators import OPERATORS
from tests.integer.programs import Quantized

N = 108


def latency_ms(network):
    """A core whose efficiency grows with the size of a kernel, and that runs absorbed operators for nothing."""
    macs, moved = network.amounts.T
    efficiency = macs / (macs + 0.3) + 0.05
    ms = macs / (40 * efficiency) + moved / 8 + 0.004
    ms[[kind.endswith((" fused", "absorbed")) for kind in network.kinds]] = 0
    return float(0.01 + ms @ network.counts)


@pytest.fixture(scope="module")
def data():
    networks = KernelEncoder()([SPACE.graph(arch) for arch in islice(SPACE.archs(3), N)])
    return networks, np.array([latency_ms(network) for network in networks])


@pytest.fixture(scope="module")
def fitted(data):
    return KernelPredictor(steps=100).fit(*data)


def test_it_predicts_networks_of_other_seeds(fitted):
    graphs = [SPACE.graph(arch) for arch in islice(SPACE.archs(9), 60)]
    encoded = KernelEncoder()(graphs)
    wanted = np.array([latency_ms(network) for network in encoded])
    known = [doubt is None for doubt in fitted.doubts(encoded)]
    assert np.mean(known) > 0.5
    assert np.median(np.abs(fitted.predict(graphs)[known] / wanted[known] - 1)) < 0.2


def test_the_errors_are_those_of_families_that_were_left_out(fitted, data):
    """Single operators are always learned from: only networks have errors."""
    networks, _ = data
    wholes = sum(kernels._is_network(network) for network in networks)
    for found in (fitted.errors_, fitted.spreads_, fitted.outside_, fitted.families_):
        assert len(found) == wholes < len(networks)
    assert {"generic-residual", "generic-transformer"} <= set(fitted.families_)
    low, high = fitted.predict_interval(networks[:5])
    assert (low < fitted.predict(networks[:5])).all()
    assert (fitted.predict(networks[:5]) < high).all()


def test_a_single_operator_is_always_learned_from_also_between_conversions_and_moves(data):
    (network,) = KernelEncoder()([SPACE.graph((SPACE.families.index("convolution"), 5))])
    around = ("QuantizeLinear", "DequantizeLinear uint8", "ReorderInput inserted", "ReorderOutput inserted")
    assert not kernels._is_network(replace(network, kinds=(*network.kinds[:2], *around)))
    assert kernels._is_network(next(n for n in data[0] if n.family == "generic-residual"))


def test_intervals_are_wider_where_the_members_differ(fitted, data):
    networks, _ = data
    low, high = fitted.predict_interval(networks)
    spreads = fitted.opinions(networks).std(axis=0)
    assert np.argsort(high / low).tolist() == np.argsort(spreads).tolist()


def test_intervals_come_from_the_networks_left_out_that_would_have_been_predicted(fitted, data):
    networks, _ = data
    changed = deepcopy(fitted)
    changed.errors_ = np.where(fitted.outside_ <= kernels.MOST_OUTSIDE, fitted.errors_, 9.0)
    assert np.ptp(changed.errors_) > 8
    for mine, others in zip(changed.predict_interval(networks), fitted.predict_interval(networks), strict=True):
        np.testing.assert_array_equal(mine, others)


def test_the_members_differences_count_as_far_as_they_tell_the_errors():
    rng = np.random.default_rng(0)
    spreads = rng.uniform(0.02, 0.5, 200)
    errors = rng.standard_normal(200)
    assert kernels._narrowest(errors * spreads, spreads) < 0.1
    assert kernels._narrowest(0.1 * errors, spreads) > spreads.max()


def test_a_file_of_an_earlier_version_has_intervals_of_one_width_and_knows_no_patterns(fitted, data):
    networks, _ = data
    state = fitted.state()
    settings = {k: v for k, v in state.settings.items() if k not in ("least_spread", "patterns")}
    arrays = {name: array for name, array in state.arrays.items() if name not in ("spreads", "outside")}
    again = KernelPredictor().restore(State(settings, arrays))
    low, high = again.predict_interval(networks)
    half = np.log(high / low) / 2
    assert half == pytest.approx(conformal_quantile(np.abs(fitted.errors_), 0.9), rel=0.02)
    b = GraphBuilder("gelu")
    assert not any("GELU" in kind for kind in again.encode([b.build(b.gelu(b.input((1, 4))))])[0].kinds)


def test_a_quantized_network_is_doubted_where_none_was_learned_from(fitted):
    b = Quantized("net", opset=21)
    (doubt,) = fitted.doubts([b.build(b.q(b.relu(b.q(b.input((1, 64))))))])
    assert doubt is not None
    assert "it is quantized" in doubt.reason


def test_a_kind_of_kernel_that_was_removed_from_the_sample_is_doubted(data):
    networks, ms = data
    kept = [i for i, n in enumerate(networks) if not any("LSTM" in kind for kind in n.kinds)]
    predictor = KernelPredictor(steps=20).fit([networks[i] for i in kept], ms[kept])
    (removed,) = islice((n for n in networks if n.family == "generic-lstm"), 1)
    (doubt,) = predictor.doubts([removed])
    assert "in kernels unlike those that were learned from, most in LSTM" in doubt.reason
    assert not doubt.is_lower_bound


def test_a_kernel_that_multiplies_nothing_is_known_where_it_is_small_whatever_its_shape(fitted):
    def doubt(shape):
        b = GraphBuilder("softmax")
        return fitted.doubts([b.build(b.softmax(b.input(shape)))])[0]

    assert doubt((1, 7, 3, 1, 2)) is None
    assert "most in Softmax" in doubt((1, 64, 2048, 2048)).reason


def product(rows, inner, columns, bias=False):
    """The features of a product with stored weights."""
    b = GraphBuilder("product")
    return KernelEncoder()([b.build(b.gemm(b.input((rows, inner)), columns, bias=bias))])[0]


def holds(known, kernel):
    return Domain.of([known], np.random.default_rng(0)).holds(kernel.kinds[0], kernel.features[0])


def test_a_bias_does_not_make_a_product_unlike_those_without():
    assert holds(product(8, 64, 64), product(8, 64, 64, bias=True))
    assert not holds(product(8, 64, 64), product(8, 64, 1024))


def test_weights_beyond_the_caches_may_be_much_larger_than_those_that_were_learned_from():
    known = product(1, 4096, 4096)
    assert holds(known, product(1, 24576, 4096))
    assert not holds(known, product(1, 2**16, 2**14))
    assert not holds(product(1, 1024, 1024), product(1, 6144, 1024))  # whose caches hold the known one
    assert not holds(product(64, 4096, 4096), product(64, 24576, 4096))  # computes for longer than it reads


def test_an_operator_without_a_rule_leaves_a_lower_bound(fitted):
    b = GraphBuilder("odd")
    x = b.conv(b.input((1, 16, 32, 32)), 32, 3)
    whole, odd = b.build(b.relu(x)), b.build(b.unary("NoSuchOperator", b.relu(x)))
    (doubt,) = fitted.doubts([odd])
    assert doubt.is_lower_bound
    assert "NoSuchOperator" in doubt.reason
    assert fitted.predict([odd])[0] > 0.5 * fitted.predict([whole])[0]
    assert np.isnan(node_ms(fitted, odd)[-1])


def node_ms(predictor, graph):
    rows = {row.operator: row.ms for row in operators_of(predictor, graph) if not row.inserted}
    return [rows[node.label] for node in graph.nodes]


def test_the_operators_and_the_moves_between_them_sum_to_the_network(fitted):
    graph = SPACE.graph((SPACE.families.index("residual"), 5))
    rows = operators_of(fitted, graph)
    assert any(row.inserted and row.op for row in rows)
    assert sum(row.ms for row in rows) == pytest.approx(fitted.predict([graph])[0])
    assert 0 < fitted.predict([graph])[0] - sum(row.ms for row in rows if row.op) < 0.1  # the start


def test_a_few_networks_calibrate_it_for_a_machine_that_is_slower_in_everything(fitted, data):
    networks, ms = data
    slower = deepcopy(fitted).calibrate(networks[:15], 1.5 * ms[:15])
    ratio = slower.predict(networks) / fitted.predict(networks)
    assert 1.2 < ratio.min() <= ratio.max() < 1.9


def test_calibrating_finds_what_is_slower_on_another_machine(fitted, data):
    """Moving bytes costs three times as much there, multiply-adds as before."""
    networks, _ = data
    members = [member.scaled(np.log([1, 1, 3, 1])) for member in fitted.members_]
    elsewhere = deepcopy(fitted)
    elsewhere.members_ = tuple(members)
    found = deepcopy(fitted).calibrate(networks[:40], elsewhere.predict(networks[:40]))
    macs, moved = (found.members_[0].logs - fitted.members_[0].logs)[0, :2]
    assert moved > macs + 0.2
    rest = networks[40:]
    error, before = (np.abs(np.log(p.predict(rest) / elsewhere.predict(rest))).mean() for p in (found, fitted))
    assert error < 0.6 * before


def test_intervals_become_wider_where_the_networks_of_the_other_machine_do_not_fit(fitted, data):
    networks, ms = data
    noisy = ms[:20] * np.exp(np.random.default_rng(0).normal(0, 1.0, 20))
    widths = [
        np.subtract(*np.log(deepcopy(fitted).calibrate(networks[:20], y).predict_interval(networks[:1])))[0]
        for y in (noisy, ms[:20])
    ]
    assert widths[0] < 2 * widths[1] < 0


def test_only_the_operator_without_known_work_has_no_time(fitted):
    b = GraphBuilder("odd")
    x = b.input((64, 64))
    of_three = b.node("Einsum", [x, x, x], (64, 64), equation="ij,ij,ij->ij")
    of_two = b.node("Einsum", [x, x], (64, 64), equation="ij,ij->ij")
    ms = node_ms(fitted, b.build(b.add(of_three, of_two)))
    assert np.isnan(ms).tolist() == [True, False, False]


def test_weights_come_from_memory_where_those_of_the_whole_network_are_more_than_a_cache_holds():
    kernel = product(1, 1024, 1024)  # 4.2 million bytes
    nothing = np.zeros((len(FEATURES), 1)), np.zeros((1, 1)), np.zeros(1), np.full((1, 3), -np.inf)
    member = Member(*nothing, start=0.0, memory=np.array([3.0, 25.0, np.log(0.05)]))

    def ms(network):
        return member.ms(Prepared.of(network, {}, np.zeros(len(FEATURES)), np.ones(len(FEATURES))))[0]

    assert ms(kernel) == pytest.approx(0, abs=1e-9)
    assert ms(replace(kernel, weight_bytes=2**28)) == pytest.approx(0.05 * 4.19, rel=0.01)


def blind(network):
    """The network in the eyes of one who cannot tell its kernels apart."""
    return replace(network, features=np.zeros_like(network.features), amounts=np.ones_like(network.amounts))


@pytest.fixture(scope="module")
def asking(data):
    """Its rules are blind; the runtime is not."""
    networks, ms = [replace(blind(network), executed=network) for network in data[0][:60]], data[1][:60]
    return KernelPredictor(steps=15).fit(networks, ms), networks, ms


def test_what_the_runtime_executes_is_used_where_it_predicts_families_left_out_better(asking):
    predictor, networks, ms = asking
    by_rules = [replace(network, executed=None) for network in networks]
    error, other = (np.abs(np.log(predictor.predict(X) / ms)).mean() for X in (networks, by_rules))
    assert error < 0.7 * other
    low, high = predictor.predict_interval(networks)
    wide_low, wide_high = predictor.predict_interval(by_rules)
    assert np.median(high / low) < np.median(wide_high / wide_low)


def test_an_operator_that_the_runtime_runs_as_many_loops_is_no_network_to_leave_out(data):
    def in_loops(network):
        n = 5
        return replace(
            network, kinds=tuple(f"{kind} {i}" for i in range(n) for kind in network.kinds), nodes=n * network.nodes,
            counts=np.tile(network.counts, n), features=np.tile(network.features, (n, 1)),
            amounts=np.tile(network.amounts, (n, 1)) / n,
        )  # fmt: skip

    networks = [replace(blind(network), executed=in_loops(network)) for network in data[0][:40]]
    predictor = KernelPredictor(steps=15).fit(networks, data[1][:40])
    assert predictor.by_runtime_ is not None
    assert sorted(predictor.by_runtime_.families_) == sorted(predictor.families_)


def test_a_runtime_that_tells_less_than_the_rules_is_not_asked_again(data):
    networks, ms = data
    told = [replace(network, executed=blind(network)) for network in networks[:60]]
    predictor = KernelPredictor(steps=15).fit(told, ms[:60])
    assert predictor.by_runtime_ is None
    assert np.isfinite(predictor.mape_by_runtime_)
    b = GraphBuilder("net")
    assert predictor.encode_with(b.build(b.relu(b.input((1, 4)))), pytest.fail)[0].executed is None


def test_a_runtime_is_asked_for_the_predictor_that_wants_it(asking):
    b = GraphBuilder("net")
    graph = b.build(b.relu(b.conv(b.input((1, 16, 8, 8)), 16, 3)))
    one_kernel = [ExecutedKernel("Conv", (0, 1))]
    (prediction,) = Trained(asking[0]).predict([graph], execute=lambda _graph: one_kernel, extrapolate=True)
    (unknown,) = Trained(asking[0]).predict([graph], execute=lambda _graph: None, extrapolate=True)
    (expected,) = asking[0].predict(asking[0].encode_with(graph, lambda _graph: one_kernel))
    assert prediction.latency_ms == expected
    assert unknown.latency_ms == asking[0].predict([graph])[0] != expected


def test_a_network_that_the_runtime_refuses_is_doubted(asking):
    b = GraphBuilder("net")
    graph = b.build(b.relu(b.conv(b.input((1, 16, 8, 8)), 16, 3)))

    def refuse(_graph):
        raise InputError("it cannot run this")

    (refused,) = Trained(asking[0]).predict([graph], execute=refuse)
    assert not refused.is_known
    assert refused.doubt == "the runtime refuses it: it cannot run this"
    (anyway,) = Trained(asking[0]).predict([graph], execute=refuse, extrapolate=True)
    assert anyway.latency_ms == asking[0].predict([graph])[0]


def test_the_rules_predict_a_network_whose_kernels_by_the_runtime_are_like_none(asking):
    predictor, networks, _ = deepcopy(asking)
    predictor.by_runtime_.domain_ = Domain({}, {}, {})
    predictor.mape_by_runtime_ = kernels.left_out_error(predictor.errors_).mape / 1.5
    by_rules = [replace(network, executed=None) for network in networks]
    np.testing.assert_array_equal(predictor.predict(networks), predictor.predict(by_rules))
    assert predictor.doubts(networks) == [None] * len(networks)


def test_rules_that_are_much_worse_do_not_predict_what_the_runtimes_kernels_do_not_know(asking):
    predictor, networks, _ = deepcopy(asking)
    predictor.by_runtime_.domain_ = Domain({}, {}, {})
    predictor.mape_by_runtime_ = kernels.left_out_error(predictor.errors_).mape / 3
    assert None not in predictor.doubts(networks)


def test_a_file_keeps_both_the_rules_and_the_runtimes_kernels(asking, tmp_path):
    predictor, networks, _ = asking
    files.save(predictor, tmp_path / "x.hwp")
    again = files.load(tmp_path / "x.hwp")
    for X in (networks, [replace(network, executed=None) for network in networks]):
        np.testing.assert_allclose(again.predict(X), predictor.predict(X), rtol=1e-6)
        np.testing.assert_allclose(again.predict_interval(X), predictor.predict_interval(X), rtol=1e-6)


def test_it_survives_its_file_which_is_small(fitted, data, tmp_path):
    files.save(fitted, tmp_path / "x.hwp")
    again = files.load(tmp_path / "x.hwp")
    networks, _ = data
    np.testing.assert_allclose(again.predict(networks), fitted.predict(networks), rtol=1e-6)
    assert [d is None for d in again.doubts(networks)] == [d is None for d in fitted.doubts(networks)]
    assert (tmp_path / "x.hwp").stat().st_size < 2**20


def test_the_same_seed_learns_the_same(data):
    networks, ms = data
    first, second = (KernelPredictor(seed=2, steps=10).fit(networks[:40], ms[:40]) for _ in range(2))
    np.testing.assert_array_equal(first.predict(networks), second.predict(networks))


def test_a_network_with_unknown_work_is_not_learned_from(data):
    networks, ms = data
    b = GraphBuilder("odd")
    odd = b.build(b.unary("NoSuchOperator", b.input((1, 4))))
    with pytest.raises(InputError, match="the work of NoSuchOperator in 'odd' is not known; leave it out"):
        KernelPredictor().fit([*networks[:10], odd], [*ms[:10], 1.0])


def test_all_operators_of_the_sample_have_a_kind(data):
    networks, _ = data
    single = {n.family.removeprefix("generic-") for n in networks}
    assert set(OPERATORS) <= single
