import numpy as np
import pytest
import torch

from hwprof.builder import GraphBuilder
from hwprof.compress import costs
from hwprof.compress.choice import Choice
from hwprof.compress.dmp import Dmp, DmpBlock, DmpWeight
from hwprof.compress.loop import compress
from hwprof.compress.networks import open_network
from hwprof.data.result import Met
from hwprof.onnx_io import load
from hwprof.testing import check_method
from hwprof.training import TrainSettings, evaluate, fit
from hwprof.variants.blocks import residual_blocks
from hwprof.variants.prune import prunable_groups
from tests.compress.board import DEVICE, job, latency_ns, network, task

TRAINED = TrainSettings(epochs=12, batch_size=16, rate=0.05, validation=None)


def residual():
    b = GraphBuilder("residual")
    x = b.relu(b.batch_norm(b.conv(b.input((1, 1, 8, 8)), 8, 3)))
    for _ in range(2):
        y = b.relu(b.batch_norm(b.conv(x, 16, 3)))
        x = b.relu(b.add(b.batch_norm(b.conv(y, 8, 3)), x))
    return b.build(b.gemm(b.flatten(b.global_average_pool(x)), 4))


def recurrent():
    b = GraphBuilder("rows")
    states = b.lstm(b.transpose(b.reshape(b.input((1, 1, 8, 8)), (1, 8, 8)), (1, 0, 2)), 24)
    return b.build(b.gemm(b.reshape(b.slice(states, 0, 7, 8), (1, 24)), 4))


def opened_as(graph, folder):
    return open_network(graph, task(), DEVICE, folder)


@pytest.mark.parametrize("graph", [network(16), residual(), recurrent()], ids=["plain", "residual", "recurrent"])
def test_the_contract_of_methods_holds(graph, tmp_path):
    check_method(Dmp, opened_as(graph, tmp_path))


def test_the_contract_holds_for_blocks(tmp_path):
    check_method(DmpBlock, opened_as(residual(), tmp_path))


def test_the_contract_holds_for_weights(tmp_path):
    check_method(DmpWeight, opened_as(network(16), tmp_path))


def test_a_sparsity_closes_the_masks_with_the_smallest_parameters(tmp_path):
    own, method = opened_as(network(16), tmp_path), DmpWeight()
    method.attach(own, costs.macs(own.graph))
    layer = next(iter(method.choices()))
    (name,) = method._layers[layer]
    parameters = method._masks[name].parameters
    with torch.no_grad():
        parameters.copy_(torch.linspace(-1, 2, len(parameters)))
    closed = method.finish({layer: Choice(sparsity=0.25)}).weights[name].ravel() == 0
    assert closed.nonzero()[0].tolist() == list(range(round(0.25 * len(parameters))))


def outputs(network):
    with torch.no_grad():
        return network.module.eval()(*(torch.from_numpy(array[0]) for array in network.examples.values())).numpy()


@pytest.mark.parametrize("graph", [network(16), residual(), recurrent()], ids=["plain", "residual", "recurrent"])
def test_closed_masks_compute_what_the_smaller_network_does(graph, tmp_path):
    own, method = opened_as(graph, tmp_path), Dmp()
    method.attach(own, costs.macs(graph))
    choices = {}
    for i, (name, masks) in enumerate(method._masks.items()):
        n = masks.parameters.numel()
        closed = np.random.default_rng(i).permutation(n)[: n // 2]
        with torch.no_grad():
            masks.parameters[closed] = -100.0
        choices[name] = Choice(kept=n - len(closed))
    small = method.finish(choices)
    channels = {group.name: group.channels for group in prunable_groups(small.graph)}
    assert channels == {name: choice.kept for name, choice in choices.items()}
    np.testing.assert_allclose(outputs(small), outputs(own), atol=1e-5)


def test_a_closed_block_computes_what_the_network_without_it_does(tmp_path):
    own, method = opened_as(residual(), tmp_path), DmpBlock()
    method.attach(own, costs.macs(own.graph))
    first = residual_blocks(own.graph)[0].name
    with torch.no_grad():
        method._masks[first].parameters.fill_(-100.0)
    small = method.finish({first: Choice(kept=0)})
    np.testing.assert_allclose(outputs(small), outputs(own), atol=1e-5)
    assert len(small.graph.nodes) == len(own.graph.nodes) - 6


@pytest.mark.parametrize("graph", [network(16), recurrent()], ids=["filters", "nodes"])
def test_masks_move_with_an_optimizer_of_their_own_until_they_are_nearly_0_or_1(graph, tmp_path):
    own, method = opened_as(graph, tmp_path), Dmp(strength=1.0, rate=0.1)
    hooks = method.attach(own, costs.macs(graph))
    (group,) = hooks.parameters()
    assert (group.optimizer, group.weight_decay) == ("adam", 0.0)
    fit(own.module, task(), TRAINED, [hooks])
    masks = np.concatenate([masks.held() for masks in method._masks.values()])
    assert 0 < np.mean(masks < 0.5) < 1
    assert np.mean(np.minimum(masks, 1 - masks)) < 0.2


def test_no_state_is_kept_before_the_masks_are_decided(opened):
    hooks = Dmp().attach(opened, costs.macs(opened.graph))
    hooks.penalty(0.3)
    assert not hooks.may_be_kept()
    hooks.penalty(0.9)
    assert hooks.may_be_kept()


def test_the_state_of_the_hooks_gives_the_same_masks_back(tmp_path):
    graph = network(16)
    first, second = Dmp(), Dmp()
    hooks = first.attach(opened_as(graph, tmp_path), costs.macs(graph))
    others = second.attach(opened_as(graph, tmp_path), costs.macs(graph))
    with torch.no_grad():
        next(iter(first._masks.values())).parameters[:4] = -0.3
    hooks.penalty(0.5)
    hooks.before_step(1)
    others.restore(hooks.state())
    for one, other in zip(first._masks.values(), second._masks.values(), strict=True):
        np.testing.assert_array_equal(one.held(), other.held())


def test_closed_channels_do_the_least_harm_and_go_first(opened):
    method = Dmp()
    method.attach(opened, costs.macs(opened.graph))
    name, masks = next(iter(method._masks.items()))
    weight = opened.graph.nodes[0].inputs[1]
    with torch.no_grad():
        masks.parameters[::4] = -50.0
    assert method.harm(name, Choice(kept=24)) == pytest.approx(0, abs=1e-6)
    open_mask = 1 / (1 + np.exp(-2.0))
    assert method.harm(name, Choice(kept=16)) == pytest.approx(-np.log(1 - 8 * open_mask / 32), rel=1e-5)
    stays = np.arange(32) % 4 > 0
    np.testing.assert_array_equal(
        method.finish({name: Choice(kept=24)}).weights[weight], opened.weights[weight][stays]
    )  # fmt: skip
    with torch.no_grad():
        masks.parameters.fill_(-50.0)
    assert method.harm(name, Choice(kept=8)) == pytest.approx(0, abs=1e-6)


def test_masks_of_channels_that_several_layers_make_count_for_each(tmp_path):
    own, method = opened_as(residual(), tmp_path), Dmp()
    method.attach(own, costs.macs(own.graph))
    stream, inner, _ = method.options(own.graph)
    harms = [method.harm(layer, Choice(kept=masks.parameters.numel() // 2)) for layer, masks in method._masks.items()]
    assert dict(zip(method._masks, harms, strict=True))[stream] == pytest.approx(3 * method.harm(inner, Choice(kept=8)))


def test_masked_weights_become_zeros(tmp_path):
    own, method = opened_as(network(16), tmp_path), DmpWeight(strength=1.0, rate=0.1)
    hooks = method.attach(own, costs.macs(own.graph))
    fit(own.module, task(), TRAINED, [hooks])
    choices = method.choices()
    small = method.finish(choices)
    for node in (n for n in small.graph.nodes if n.label in choices):
        zeros = np.mean(small.weights[node.inputs[1]] == 0)
        assert zeros == pytest.approx(choices[node.label].sparsity)
    assert any(choice.sparsity > 0.3 for choice in choices.values())
    assert evaluate(small.module, task()) == pytest.approx(evaluate(own.module, task()), abs=10)


def test_channels_that_the_masks_closed_make_the_target(tmp_path):
    made = compress(job(tmp_path), "dmp", 0.5 * latency_ns(network(16)) / 1e6)
    assert made.met is Met.YES
    assert all(set(choice) == {"kept"} for choice in made.result.choices.values())


def test_units_of_an_lstm_make_the_target(tmp_path):
    whole_ms = latency_ns(recurrent()) / 1e6
    made = compress(job(tmp_path, graph=recurrent()), "dmp", 0.7 * whole_ms)
    assert made.met is Met.YES
    assert [n.attribute("hidden_size") for n in load(made.path).nodes if n.op == "LSTM"] in ([8], [16])


def test_a_branch_goes_for_the_target(tmp_path):
    graph = residual()
    made = compress(job(tmp_path, graph=graph), "dmp_block", 0.7 * latency_ns(graph) / 1e6)
    assert made.met is Met.YES
    assert list(made.result.choices.values()) == [{"kept": 0}]


def test_sparse_weights_are_no_faster_on_dense_kernels(tmp_path):
    made = compress(job(tmp_path), "dmp_weight", 0.9 * latency_ns(network(16)) / 1e6)
    assert made.met is Met.NO
