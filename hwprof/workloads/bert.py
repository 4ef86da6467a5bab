"""BERT (Devlin et al., NAACL 2019): embeddings, transformer encoder and pooler, as Hugging Face exports `BertModel`.

There is no attention mask: one sequence without padding needs none.
"""

from __future__ import annotations

import math

from hwprof.builder import GraphBuilder
from hwprof.graph import Graph

VOCABULARY = 30_522
POSITIONS = 512
SEGMENTS = 2


def bert_base() -> Graph:
    """12 layers, 768 wide, 12 heads, 128 tokens."""
    return bert("bert_base", layers=12, width=768, heads=12)


def bert_tiny() -> Graph:
    """2 layers, 128 wide, 2 heads, 128 tokens: the smallest of Turc et al. (arXiv 1908.08962, 2019)."""
    return bert("bert_tiny", layers=2, width=128, heads=2)


def bert(name: str, layers: int, width: int, heads: int, tokens: int = 128, vocabulary: int = VOCABULARY) -> Graph:
    """input_ids and token_type_ids, int64 [1, tokens], to the hidden state [1, tokens, width] and the
    pooled first token [1, width]. The feed-forward layers are four times as wide."""
    b = GraphBuilder(name)
    words = b.embedding(b.input((1, tokens), "int64", name="input_ids"), vocabulary, width)
    segments = b.embedding(b.input((1, tokens), "int64", name="token_type_ids"), SEGMENTS, width)
    positions = b.slice(b.weight((POSITIONS, width)), axis=0, start=0, stop=tokens)
    x = b.layer_norm(b.add(b.add(words, segments), positions))
    for _ in range(layers):
        x = b.layer_norm(b.add(_attention(b, x, heads), x))
        x = b.layer_norm(b.add(_feed_forward(b, x, 4 * width), x))
    first = b.reshape(b.slice(x, axis=1, start=0, stop=1), (1, width))
    return b.build(x, b.unary("Tanh", b.gemm(first, width)))


def _attention(b: GraphBuilder, x: str, heads: int) -> str:
    """x: [batch, tokens, width]."""
    batch, tokens, width = b.shape(x)
    depth = width // heads

    def split_heads(order: tuple[int, ...]) -> str:
        return b.transpose(b.reshape(b.linear(x, width), (batch, tokens, heads, depth)), order)

    query, value = split_heads((0, 2, 1, 3)), split_heads((0, 2, 1, 3))
    key = split_heads((0, 2, 3, 1))
    scale = b.constant([math.sqrt(depth)], "float32", scalar=True)
    weights = b.softmax(b.binary("Div", b.matmul(query, key), scale))
    merged = b.reshape(b.transpose(b.matmul(weights, value), (0, 2, 1, 3)), (batch, tokens, width))
    return b.linear(merged, width)


def _feed_forward(b: GraphBuilder, x: str, hidden: int) -> str:
    return b.linear(b.gelu(b.linear(x, hidden)), b.shape(x)[-1])
