"""The simulation gives the integers of the backend, and gradients that lead somewhere."""

import numpy as np
import pytest
import torch

from hwprof.builder import GraphBuilder
from hwprof.compress.integer.recurrent import SequenceClassifier
from hwprof.compress.integer.simulation import Simulation, observe
from hwprof.errors import InputError
from hwprof.integer.lowering import lowering
from hwprof.integer.run import border, reference
from hwprof.variants.weights import load_weights
from tests.integer.programs import run_kernels

SHAPE = (6, 5, 7)  # batch, steps, depth


def drawn(shape=SHAPE, seed=0, size=1.0):
    return size * torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def classifier(layers=1, units=9, gain=1.0):
    torch.manual_seed(layers)
    network = SequenceClassifier(SHAPE[1], SHAPE[2], units, classes=4, layers=layers)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.mul_(gain)
    return network


def simulation(**sizes):
    network = classifier(**sizes)
    return Simulation(network, observe(network, [drawn()]))


def of_reference(program, x):
    (entry,), (leaving,) = program.entries, program.exits
    return reference.evaluate(program, {entry.value: border.quantize(entry, x.numpy())})[leaving.value]


CASES = [{"layers": 1}, {"layers": 2, "units": 33}, {"gain": 6.0}, {"gain": 30.0}, {"gain": 0.01}]


@pytest.mark.parametrize("sizes", CASES, ids=str)
def test_its_integers_are_those_of_the_exported_network(sizes, tmp_path):
    simulated = simulation(**sizes)
    graph = simulated.export(tmp_path / "int8.onnx", batch=SHAPE[0])
    program = lowering.lower(graph, load_weights(graph))
    for seed, size in ((1, 1.0), (2, 5.0)):  # the second is far outside of what was calibrated
        x = drawn(seed=seed, size=size)
        np.testing.assert_array_equal(simulated.integers(x).numpy(), of_reference(program, x))


def test_its_outputs_are_those_of_the_kernels(kernels, instruction_set, tmp_path):
    simulated = simulation(layers=2, units=33)
    graph = simulated.export(tmp_path / "int8.onnx", batch=SHAPE[0])
    x = drawn(seed=1)
    program = lowering.lower(graph, load_weights(graph))
    (scores,) = run_kernels(program, {"x": x.numpy()}, kernels, instruction_set).values()
    with torch.no_grad():
        np.testing.assert_array_equal(simulated(x).numpy(), scores)


def test_the_batch_does_not_matter():
    simulated = simulation()
    x = drawn(seed=1)
    each = torch.cat([simulated.integers(row[None]) for row in x])
    assert torch.equal(simulated.integers(x), each)


def test_it_is_near_the_float_network_and_so_are_its_gradients():
    simulated, x = simulation(gain=2.0), drawn()
    labels = torch.tensor([0, 1, 2, 3, 0, 1])
    gradients = []
    for module in (simulated.network, simulated):
        simulated.zero_grad()
        torch.nn.functional.cross_entropy(module(x), labels).backward()
        gradients.append([p.grad.clone() for p in simulated.network.parameters()])
    with torch.no_grad():
        assert (simulated(x) - simulated.network(x)).abs().max() < 0.05 * simulated.network(x).abs().max()
    for exact, ours in zip(*gradients, strict=True):
        assert torch.cosine_similarity(exact.flatten(), ours.flatten(), dim=0) > 0.98
        assert 0.9 < ours.norm() / exact.norm() < 1.1


def test_no_gradient_passes_where_a_result_is_clipped():
    network = classifier()
    ranges = observe(network, [drawn()])
    torch.nn.init.constant_(network.head.bias, 10.0)
    simulated = Simulation(network, ranges)
    simulated(drawn()).sum().backward()
    assert not network.head.weight.grad.any()


def test_a_step_against_the_gradient_lowers_the_loss():
    simulated, x = simulation(gain=2.0), drawn()
    labels = torch.tensor([0, 1, 2, 3, 0, 1])
    optimizer = torch.optim.Adam(simulated.parameters(), 0.04)
    losses = []
    for _ in range(15):
        loss = torch.nn.functional.cross_entropy(simulated(x), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.8 * losses[0]


def test_an_operation_without_a_gradient_is_named():
    network = Gated()
    simulated = Simulation(network, observe(network, [drawn((2, 3))]))
    with pytest.raises(InputError, match="'Sigmoid_1' cannot be trained in integers"):
        simulated(drawn((2, 3)))


def test_ranges_need_data():
    with pytest.raises(InputError, match="at least one batch"):
        observe(classifier(), [])


class Gated(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = torch.nn.Linear(3, 4)

    def graph(self, batch):
        b = GraphBuilder("gated")
        return b.build(b.unary("Sigmoid", b.gemm(b.input((batch, 3), name="x"), 4)))

    def tensors(self):
        return {"w0": self.linear.weight, "w1": self.linear.bias}
