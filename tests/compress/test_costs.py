from itertools import islice

import pytest
import torch

from hwprof import cost, onnx_io
from hwprof.compress import costs
from hwprof.compress.choice import Choice
from hwprof.compress.choices import chosen_graph, kept_options
from hwprof.compress.method import SoftChoice
from hwprof.compress.networks import export
from hwprof.encoders.kernels import KernelEncoder
from hwprof.predictors.kernels import KernelPredictor
from hwprof.spaces.generic import SPACE
from tests.compress.board import network

FIRST, SECOND = kept_options(network())


@pytest.mark.parametrize("kept", [8, 13, 31])
def test_hard_choices_have_the_exact_costs_of_the_graph(kept):
    graph, choices = network(), {FIRST: Choice(kept=kept), SECOND: Choice(kept=16)}
    chosen = chosen_graph(graph, choices)
    assert float(costs.macs(graph)(choices)) == cost.of(chosen).macs
    assert float(costs.size_bytes(graph)(choices)) == 4 * cost.of(chosen).parameters


def test_the_bytes_are_those_of_the_file(opened, tmp_path):
    def of_file(made, name):
        export(made, tmp_path / name)
        return (tmp_path / name).stat().st_size

    counted = costs.size_bytes(opened.graph)
    small = opened.rewritten("int8")
    saved = of_file(opened, "a.onnx") - of_file(small, "b.onnx")
    whole = {node.label: Choice(bits=8) for node in opened.graph.nodes if node.op in ("Conv", "Gemm")}
    assert onnx_io.load(tmp_path / "b.onnx").digest == chosen_graph(opened.graph, whole).digest
    assert float(counted({}) - counted(whole)) == pytest.approx(saved, rel=0.15)  # the rest are names of operators


def test_a_soft_number_of_channels_has_a_gradient_of_the_next_channel():
    graph, kept = network(), torch.tensor(13.7, dtype=torch.float64, requires_grad=True)
    found = costs.macs(graph)({FIRST: SoftChoice(kept=kept)})
    fewer, more = (cost.of(chosen_graph(graph, {FIRST: Choice(kept=n)})).macs for n in (13, 14))
    assert found.item() == pytest.approx(fewer + 0.7 * (more - fewer))
    assert float(torch.autograd.grad(found, kept)[0]) == pytest.approx(more - fewer)


def test_a_soft_rank_is_between_the_ranks_around_it():
    graph, rank = network(), torch.tensor(7.5, dtype=torch.float64, requires_grad=True)
    found = costs.size_bytes(graph)({SECOND: SoftChoice(rank=rank)})
    assert float(torch.autograd.grad(found, rank)[0]) == 4 * (32 + 288)


@pytest.fixture(scope="module")
def predictor():
    """Learned from a formula: a million multiply-adds take 0.02 ms, a million bytes 0.1."""
    graphs = [SPACE.graph(arch) for arch in islice(SPACE.archs(3), 60)]
    encoded = KernelEncoder()(graphs)
    ms = [0.01 + float((n.amounts @ [0.02, 0.1]) @ n.counts) for n in encoded]
    return KernelPredictor(steps=60).fit(encoded, ms)


def test_a_predictor_prices_the_choices_of_a_network_that_was_never_measured(predictor):
    graph = network()
    cost_ms = costs.predicted_ms(graph, predictor.predict)
    whole, half = ({FIRST: Choice(kept=kept), SECOND: Choice(kept=kept)} for kept in (32, 16))
    assert float(cost_ms(half)) == pytest.approx(predictor.predict([chosen_graph(graph, half)])[0])
    assert float(cost_ms(half)) < float(cost_ms(whole))


@pytest.mark.parametrize(("field", "value"), [("kept", 20.5), ("rank", 7.5), ("bits", 16.0)])
def test_a_predicted_latency_has_a_gradient_in_soft_choices(predictor, field, value):
    soft = torch.tensor(value, dtype=torch.float64, requires_grad=True)
    found = costs.predicted_ms(network(), predictor.predict)({SECOND: SoftChoice(**{field: soft})})
    (slope,) = torch.autograd.grad(found, soft)
    assert torch.isfinite(slope)
    assert float(slope) != 0
