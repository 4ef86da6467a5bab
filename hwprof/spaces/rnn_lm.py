"""Recurrent language models: LSTM layers over a sequence of words, optionally normalized, optionally with attention.

With neither, hidden sizes 200, 650 and 1500 and two layers are the small, medium and large models of
Zaremba et al. (arXiv 1409.2329) on the Penn Treebank.
"""

from __future__ import annotations

from collections.abc import Sequence

from hwprof.builder import GraphBuilder
from hwprof.graph import Graph
from hwprof.interfaces import Arch
from hwprof.spaces import checked
from hwprof.spaces.blocks import attend, causal_mask

NAME = "rnn_lm"
LAYERS = (1, 2, 3, 4)
HIDDEN = (128, 200, 256, 384, 512, 650, 1024, 1500)
SEQUENCE = (8, 16, 20, 35, 64, 128)


class RnnLanguageModel:
    """Positions: layers, hidden size, sequence length, layer normalization (no, yes), attention (no, yes)."""

    choices: Sequence[int] = (len(LAYERS), len(HIDDEN), len(SEQUENCE), 2, 2)

    def __init__(self, vocabulary: int = 10_000) -> None:
        self.vocabulary = vocabulary

    def graph(self, arch: Arch) -> Graph:
        """Words [sequence, 1] to scores [sequence, 1, vocabulary]. The embedding is as wide as the hidden state;
        attention is one causal head over all positions, added to what it reads.

        Raises InputError for an architecture outside of the space.
        """
        layers, hidden, sequence, normalizes, attends = checked(NAME, self.choices, arch)
        time, width = SEQUENCE[sequence], HIDDEN[hidden]
        b = GraphBuilder(NAME)
        x = b.embedding(b.input((time, 1), "int64"), self.vocabulary, width)
        for _ in range(LAYERS[layers]):
            x = b.lstm(x, width)
            x = b.layer_norm(x) if normalizes else x
        x = _attention(b, x) if attends else x
        return b.build(b.linear(x, self.vocabulary))


def _attention(b: GraphBuilder, x: str) -> str:
    time, _, width = b.shape(x)
    rows = b.transpose(x, (1, 0, 2))
    q, k, v = b.split(b.linear(rows, 3 * width), [width] * 3, axis=2)
    mixed = b.linear(attend(b, q, k, v, heads=1, mask=causal_mask(b, time)), width)
    return b.add(x, b.transpose(mixed, (1, 0, 2)))


SPACE = RnnLanguageModel()
