import numpy as np
import pytest
import torch

from hwprof import metrics
from hwprof.predictors import files
from hwprof.predictors.embedding_gp import LENGTH_SQUARED, NOISE, EmbeddingPredictor, left_out


def latency_ms(arch):
    return 10 + 5 * arch[0] + 3 * arch[1]


@pytest.fixture(scope="module")
def fitted(architectures):
    return EmbeddingPredictor(hidden=12).fit(architectures[:60], [latency_ms(arch) for arch in architectures[:60]])


def test_architectures_that_differ_where_it_matters_are_told_apart(fitted, architectures):
    truth = np.array([latency_ms(arch) for arch in architectures[60:]])
    assert metrics.mape(truth, fitted.predict(architectures[60:])) < 8


def test_graphs_of_different_lengths_are_embedded(graphs):
    ms = np.array([1.0 + len(graph.nodes) for graph in graphs])
    predictor = EmbeddingPredictor(hidden=8, steps=60).fit(graphs[:45], ms[:45])
    assert metrics.spearman(ms[45:], predictor.predict(graphs[45:])) > 0.8


def test_leave_one_out_in_closed_form_is_a_refit():
    points = torch.nn.functional.normalize(torch.tensor([[1.0, 0.0], [1.0, 0.1], [1.0, 0.3]]), dim=1).double()
    target = torch.tensor([1.0, 2.0, -1.0]).double()
    gram = torch.exp(-((points[:, None] - points) ** 2).sum(2) / (2 * LENGTH_SQUARED))
    rest = gram[1:, 1:] + NOISE * torch.eye(2)
    mean = gram[0, 1:] @ torch.linalg.solve(rest, target[1:])
    variance = 1 + NOISE - gram[0, 1:] @ torch.linalg.solve(rest, gram[1:, 0])
    error, found = left_out(points, target)
    assert float(error[0]) == pytest.approx(float(1.0 - mean), rel=1e-4)
    assert float(found[0]) == pytest.approx(float(variance), rel=1e-4)


def test_a_file_brings_the_process_back(fitted, architectures, tmp_path):
    files.save(fitted, tmp_path / "x.hwp")
    assert files.load(tmp_path / "x.hwp").predict(architectures) == pytest.approx(fitted.predict(architectures))
