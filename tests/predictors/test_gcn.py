import numpy as np
import pytest
import torch

from hwprof import metrics
from hwprof.builder import GraphBuilder
from hwprof.errors import UnknownOperatorError
from hwprof.predictors import files
from hwprof.predictors.gcn import GraphPredictor, normalized_adjacency


@pytest.fixture(scope="module")
def fitted(graphs):
    return GraphPredictor(hidden=16, epochs=40).fit(graphs[:45], [1.0 + len(graph.nodes) for graph in graphs[:45]])


def test_latency_that_grows_with_the_graph_is_learned(fitted, graphs):
    truth = np.array([1.0 + len(graph.nodes) for graph in graphs[45:]])
    assert metrics.mape(truth, fitted.predict(graphs[45:])) < 10


def test_a_prediction_does_not_depend_on_its_neighbours_in_the_batch(fitted, graphs):
    assert fitted.predict(graphs)[:1] == pytest.approx(fitted.predict(graphs[:1]), rel=1e-4)


def test_a_file_brings_the_network_back(fitted, graphs, tmp_path):
    files.save(fitted, tmp_path / "x.hwp")
    assert files.load(tmp_path / "x.hwp").predict(graphs) == pytest.approx(fitted.predict(graphs))


def test_a_graph_with_an_unknown_operator_is_refused(fitted):
    b = GraphBuilder("tanh")
    with pytest.raises(UnknownOperatorError, match="'tanh' has 'Tanh'"):
        fitted.predict([b.build(b.unary("Tanh", b.input((1, 4))))])


def test_the_adjacency_of_a_chain_of_two_is_a_half_everywhere():
    dense = normalized_adjacency(torch.tensor([[0], [1]]), 2).to_dense()
    assert dense.flatten().tolist() == pytest.approx([0.5] * 4)
