"""BERT against the published parameter counts and multiply-adds worked out by hand."""

from hwprof import cost
from hwprof.workloads import bert


def test_parameters_are_the_published_ones():
    assert cost.of(bert.bert_base()).parameters == 109_482_240  # Hugging Face's BertModel, bert-base-uncased
    assert cost.of(bert.bert_tiny()).parameters == 4_385_920  # google/bert_uncased_L-2_H-128_A-2


def test_multiply_adds_are_four_projections_two_attention_products_and_the_feed_forward():
    projections, feed_forward = 4 * 128 * 768 * 768, 2 * 128 * 768 * 3072
    attention = 2 * 12 * 128 * 128 * 64
    pooler = 768 * 768
    assert cost.of(bert.bert_base()).macs == 12 * (projections + feed_forward + attention) + pooler


def test_an_embedding_table_is_stored_whole_and_read_by_the_row():
    graph = bert.bert_tiny()
    (words,) = [node for node in graph.nodes if "input_ids" in node.inputs]
    lookup = cost.of_node(graph, words)
    assert lookup.parameters == 30_522 * 128
    assert lookup.read_bytes == 128 * (128 * 4 + 8)


def test_heads_are_split_so_that_scores_are_tokens_by_tokens():
    graph = bert.bert("small", layers=1, width=8, heads=2, tokens=5, vocabulary=11)
    (softmax,) = [node for node in graph.nodes if node.op == "Softmax"]
    assert graph.shape(softmax.outputs[0]) == (1, 2, 5, 5)
