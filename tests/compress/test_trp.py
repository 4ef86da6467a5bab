import numpy as np
import pytest
import torch

from hwprof.builder import GraphBuilder
from hwprof.compress.choice import Choice
from hwprof.compress.loop import compress
from hwprof.compress.networks import open_network
from hwprof.compress.trp import Trp, TrpSpatial, truncated
from hwprof.data.result import Met
from hwprof.tasks.digits import digits
from hwprof.testing import check_method
from hwprof.training import TrainSettings, evaluate, fit
from hwprof.variants.factorize import unfoldings
from tests.compress.board import DEVICE, job, latency_ns, network

TRAINED = TrainSettings(epochs=6, batch_size=50, rate=0.1, validation=None)


@pytest.mark.parametrize("make", [Trp, TrpSpatial])
def test_the_contract_of_methods_holds(make, opened):
    check_method(make, opened)


def test_a_matrix_is_truncated_to_the_lowest_rank_that_keeps_the_energy():
    rng = np.random.default_rng(0)
    u, _, vt = np.linalg.svd(rng.normal(size=(6, 9)), full_matrices=False)
    values = np.array([4.0, 3, 2, 1, 0.5, 0.1])  # squares: 16, 9, 4, 1, 0.25, 0.01, of 30.26 in all
    nearest, norm = truncated((u * values) @ vt, 0.9)
    np.testing.assert_allclose(nearest, (u[:, :3] * values[:3]) @ vt[:3], atol=1e-12)
    np.testing.assert_allclose(norm, u[:, :3] @ vt[:3], atol=1e-12)


def test_the_norm_is_the_gradient_of_the_nuclear_norm():
    matrix = torch.randn(5, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(0), requires_grad=True)
    torch.linalg.svdvals(matrix).sum().backward()
    np.testing.assert_allclose(truncated(matrix.detach().numpy(), 1.0)[1], matrix.grad.numpy(), atol=1e-12)


@pytest.mark.parametrize("scheme", ["channel", "spatial"])
def test_an_unfolded_weight_folds_back(scheme):
    for unfolding in unfoldings(network(), scheme).values():
        weight = np.random.default_rng(0).normal(size=unfolding.weight.shape)
        np.testing.assert_array_equal(unfolding.array(unfolding.matrix(weight)), weight)


def test_the_nuclear_norm_is_added_to_gradients_in_steps_with_a_decomposition(opened, no_cost):
    method = Trp(nuclear=0.5, period=2)
    hooks = method.attach(opened, no_cost)
    weight = opened.module.tensor(opened.graph.nodes[2].inputs[1])
    for step, added in enumerate([True, False, True]):
        hooks.before_step(step)
        weight.grad = torch.zeros_like(weight)
        hooks.after_backward(step)
        norms = torch.linalg.svdvals(weight.grad.reshape(32, -1))
        assert norms[0].item() == pytest.approx(0.5 if added else 0, abs=1e-5)


def convolutions():
    b = GraphBuilder("two wide convolutions")
    x = b.relu(b.batch_norm(b.conv(b.input((1, 1, 8, 8)), 8, 3, stride=2)))
    x = b.relu(b.batch_norm(b.conv(x, 32, 3)))
    x = b.relu(b.batch_norm(b.conv(x, 32, 3)))
    return b.build(b.gemm(b.flatten(b.global_average_pool(x)), 10))


def _cut(options, rank):
    return next(choice for choice in options[1:] if (choice.rank or choice.spatial_rank) <= rank)


@pytest.mark.parametrize(("make", "rank"), [(Trp, 8), (TrpSpatial, 24)])
def test_a_network_trained_for_low_rank_loses_less_when_it_is_cut(make, rank, tmp_path, no_cost):
    task, lost = digits(), {}
    for energy in (1.0, 0.8):  # with all of its energy a weight stays what it is: plain training
        method, own = make(energy=energy, nuclear=0.0), open_network(convolutions(), task, DEVICE, tmp_path)
        hooks = method.attach(own, no_cost)
        fit(own.module, task, TRAINED, [hooks])
        cut = {layer: _cut(some, rank) for layer, some in method.options(own.graph).items() if layer != "Gemm_11"}
        lost[energy] = evaluate(own.module, task) - evaluate(method.finish(cut).module, task)
    assert lost[0.8] < 0.5 * lost[1.0]
    assert lost[1.0] > 5


@pytest.mark.parametrize("name", ["trp", "trp_spatial"])
def test_ranks_are_those_that_the_table_asks_for(name, tmp_path):
    made = compress(job(tmp_path), name, 0.8 * latency_ns(network(16)) / 1e6)
    assert made.met is Met.YES
    field = "rank" if name == "trp" else "spatial_rank"
    assert {tuple(choice) for choice in made.result.choices.values()} == {(field,)}


def test_harm_is_the_energy_that_is_lost(opened, no_cost):
    method = Trp()
    method.attach(opened, no_cost)
    layer = "Conv_2"
    values = np.linalg.svd(opened.weights[opened.graph.nodes[2].inputs[1]].reshape(32, -1), compute_uv=False) ** 2
    assert method.harm(layer, Choice(rank=8)) == pytest.approx(-np.log(values[:8].sum() / values.sum()), rel=1e-4)
