import numpy as np
import onnxruntime
import pytest
import torch

from hwprof import cost
from hwprof.builder import GraphBuilder
from hwprof.compress.choice import Choice
from hwprof.compress.epitome import Epitome, EpitomeReuse, sampled
from hwprof.compress.loop import compress
from hwprof.compress.networks import export, open_network
from hwprof.onnx_io import load
from hwprof.tasks.digits import digits
from hwprof.testing import check_method
from hwprof.training import TrainSettings, evaluate, fit
from tests.compress.board import DEVICE, job, network

TRAINED = TrainSettings(epochs=4, batch_size=50, rate=0.1, validation=None)


@pytest.mark.parametrize("make", [Epitome, EpitomeReuse])
def test_the_contract_of_methods_holds(make, opened):
    check_method(make, opened)


def test_samples_are_linear_between_two_rows():
    epitome = torch.tensor([[0.0, 0], [1, 10], [4, 40], [9, 90]])
    made = sampled(epitome, torch.tensor([0.0, 0.25]), 2)
    np.testing.assert_allclose(made, [[[0, 0], [1, 10]], [[0.25, 2.5], [1.75, 17.5]]])


def test_gradients_of_epitome_and_places_are_those_of_differences():
    epitome = torch.randn(9, 2, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0), requires_grad=True)
    places = torch.tensor([0.3, 2.75, 4.5, 1.1], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda e, p: sampled(e, p, 3), (epitome, places))


def test_the_epitome_at_the_start_is_the_nearest_one(opened, no_cost):
    before = opened.weights
    method = EpitomeReuse()
    method.attach(opened, no_cost)
    name = method._sampled["Conv_2"].shape.weight.name
    left = before[name] - opened.weights[name]
    gradient = torch.autograd.grad(opened.module.tensor(name).mul(torch.from_numpy(left)).sum(),
                                   opened.module.original(name))[0]  # fmt: skip
    assert gradient.abs().max() < 1e-4
    assert np.square(left).sum() < np.square(before[name]).sum()


def convolutions():
    b = GraphBuilder("two wide convolutions")
    x = b.relu(b.batch_norm(b.conv(b.input((1, 1, 8, 8)), 8, 3, stride=2)))
    x = b.relu(b.batch_norm(b.conv(x, 32, 3)))
    x = b.relu(b.batch_norm(b.conv(x, 32, 3)))
    return b.build(b.gemm(b.flatten(b.global_average_pool(x)), 10))


@pytest.mark.parametrize("make", [Epitome, EpitomeReuse])
def test_the_exported_network_computes_what_was_trained_and_its_file_is_small(make, tmp_path, no_cost):
    task = digits()
    own, method = open_network(convolutions(), task, DEVICE, tmp_path), make()
    before = own.copy()
    hooks = method.attach(own, no_cost)
    places = [made.places.detach().clone() for made in method._sampled.values()]
    fit(own.module, task, TRAINED, [hooks])
    assert all(
        (made.places - first).abs().max() > 0.01 for made, first in zip(method._sampled.values(), places, strict=True)
    )
    assert evaluate(own.module, task) > 80
    paths = [tmp_path / "before.onnx", tmp_path / "small.onnx"]
    export(before, paths[0])
    small = export(method.finish(method.choices()), paths[1])
    assert small.digest == load(paths[1]).digest
    convolution_bytes = 4 * (8 * 32 * 9 + 32 * 32 * 9)
    saved = paths[0].stat().st_size - paths[1].stat().st_size
    assert saved > (0.75 if make is Epitome else 0.65) * convolution_bytes - 6000  # a few operators more
    session = onnxruntime.InferenceSession(paths[1], providers=["CPUExecutionProvider"])
    x = next(iter(task.examples("test").batches(8))).inputs
    computed = [session.run(None, {small.inputs[0].name: image[None].numpy()})[0][0] for image in x]
    with torch.no_grad():
        np.testing.assert_allclose(computed, own.module.eval()(x).numpy(), atol=1e-4)


def test_reused_features_need_fewer_multiply_adds_and_sampled_weights_as_many(opened, no_cost, tmp_path):
    macs = {}
    for make in (Epitome, EpitomeReuse):
        method = make()
        method.attach(opened.copy(), no_cost)
        macs[make] = cost.of(export(method.finish(method.choices()), tmp_path / f"{method.name}.onnx")).macs
    assert macs[Epitome] == cost.of(opened.graph).macs > 2.4 * macs[EpitomeReuse]


def test_a_layer_whose_filters_are_smaller_than_their_number_is_not_reused(no_cost, tmp_path):
    b = GraphBuilder("gray")
    x = b.relu(b.conv(b.input((1, 1, 8, 8)), 16, 3))  # 16 filters of 9 elements
    graph = b.build(b.gemm(b.flatten(b.global_average_pool(b.conv(x, 16, 3))), 10))
    method = EpitomeReuse()
    method.attach(open_network(graph, digits(), DEVICE, tmp_path), no_cost)
    assert method.choices() == {"Conv_2": Choice(rank=4)}


@pytest.mark.parametrize(("name", "verdict"), [("epitome", "slower"), ("epitome_reuse", "faster")])
def test_both_forms_are_measured(name, verdict, tmp_path):
    made = compress(job(tmp_path, graph=network(32)), name, 0.05)
    compared = made.result.measured["board"]
    assert compared.verdict in (verdict, "same")
