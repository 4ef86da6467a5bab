"""LSTM language models as Zaremba et al. (arXiv 1409.2329, 2014) trained them on the Penn Treebank, 10 000 words."""

from __future__ import annotations

from hwprof.builder import GraphBuilder
from hwprof.graph import Graph

VOCABULARY = 10_000


def lstm_lm() -> Graph:
    """The paper's medium model: two layers of 650 units, 35 steps."""
    return lstm_language_model("lstm_lm", layers=2, hidden=650)


def lstm_lm_1024x1() -> Graph:
    """One layer of 1024 units, 35 steps."""
    return lstm_language_model("lstm_lm_1024x1", layers=1, hidden=1024)


def lstm_language_model(name: str, layers: int, hidden: int, steps: int = 35, vocabulary: int = VOCABULARY) -> Graph:
    """Words int64 [steps, 1] to logits [steps, 1, vocabulary]. Embedding and layers are `hidden` wide."""
    b = GraphBuilder(name)
    x = b.embedding(b.input((steps, 1), "int64", name="words"), vocabulary, hidden)
    for _ in range(layers):
        x = b.lstm(x, hidden)
    return b.build(b.linear(x, vocabulary))
