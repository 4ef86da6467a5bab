from hwprof import cost
from hwprof.spaces.rnn_lm import HIDDEN, LAYERS, SEQUENCE, SPACE, RnnLanguageModel


def arch(layers, hidden, sequence, norm=0, attention=0):
    return (LAYERS.index(layers), HIDDEN.index(hidden), SEQUENCE.index(sequence), norm, attention)


def test_the_medium_model_of_zaremba_has_its_size():
    graph = SPACE.graph(arch(2, 650, 35))
    embedding, output = 10_000 * 650, 10_000 * 650 + 10_000
    lstm = 4 * 650 * (650 + 650) + 8 * 650  # ONNX keeps two biases per gate
    assert cost.of(graph).parameters == embedding + 2 * lstm + output  # 19.8 M


def test_multiply_adds_of_the_medium_model_are_those_worked_out_by_hand():
    assert cost.of(SPACE.graph(arch(2, 650, 35))).macs == 35 * (2 * 4 * 650 * 1300 + 650 * 10_000)


def test_attention_costs_four_projections_and_two_products_more():
    with_attention = cost.of(SPACE.graph(arch(1, 128, 16, attention=1))).macs
    assert with_attention - cost.of(SPACE.graph(arch(1, 128, 16))).macs == 4 * 128 * 128 * 16 + 2 * 16 * 16 * 128


def test_every_layer_is_normalized():
    graph = SPACE.graph(arch(3, 128, 8, norm=1))
    assert [node.op for node in graph.nodes].count("LayerNormalization") == 3


def test_the_scores_are_one_row_per_word():
    graph = RnnLanguageModel(vocabulary=50).graph(arch(1, 128, 8, attention=1))
    assert graph.shape(graph.outputs[0]) == (8, 1, 50)
