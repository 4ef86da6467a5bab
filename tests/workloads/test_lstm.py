"""LSTM language models against sums worked out by hand."""

from hwprof import cost
from hwprof.workloads import lstm


def test_the_medium_model_has_the_parameters_of_its_matrices_and_two_biases_per_gate():
    layer = 4 * 650 * (650 + 650) + 2 * 4 * 650
    decoder = 650 * 10_000 + 10_000
    assert cost.of(lstm.lstm_lm()).parameters == 10_000 * 650 + 2 * layer + decoder == 19_780_400


def test_every_step_multiplies_all_matrices_but_looks_the_embedding_up():
    assert cost.of(lstm.lstm_lm()).macs == 35 * (2 * 4 * 650 * (650 + 650) + 650 * 10_000)


def test_the_single_layer_model_is_wider():
    graph = lstm.lstm_lm_1024x1()
    assert cost.of(graph).macs == 35 * (4 * 1024 * 2048 + 1024 * 10_000)
    assert graph.shape(graph.outputs[0]) == (35, 1, 10_000)
