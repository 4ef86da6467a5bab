"""HAT: encoder-decoder transformers whose layers differ in width, heads and memory (Wang et al., arXiv 2005.14187).

The choices are those of the published latency data for WMT (6 encoder layers, 1 to 6 decoder layers). An
architecture is the encoder's and the decoder's width, 6 inner widths and 6 head counts of the encoder, the
number of decoder layers, and 6 inner widths, 6 self-attention heads, 6 cross-attention heads and 6 memory
depths of the decoder. Layers beyond the decoder's depth change nothing: `repair` sets them to 0.

2026-11-20, one graph for translation: the encoder over the source and the decoder over the whole target at
once (as in training), because its multiply-adds are those of the token-by-token decoding with cached keys
that the data times, and no loop hides them. A sum over the decoder's operators at one token times the
length was the alternative; it needs two graphs for one architecture.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np

from hwprof.builder import GraphBuilder
from hwprof.errors import InputError
from hwprof.graph import Graph
from hwprof.interfaces import Arch
from hwprof.spaces import checked, index_of
from hwprof.spaces.blocks import attend, causal_mask

NAME = "hat"
WIDTHS = (512, 640)
INNER_WIDTHS = (512, 1024, 2048, 3072)
HEADS = (2, 4, 8)
LAYERS = 6  # of the encoder; the most of the decoder
MEMORIES = (1, 2, 3)  # how many of the encoder's last layers a decoder layer attends to
ATTENTION_WIDTH = 512  # of queries, keys and values, whatever the model's width
# the key in HAT's own files, and the options of each of its values, in the order of the architecture
FIELDS: tuple[tuple[str, Sequence[int], int], ...] = (
    ("encoder-embed-dim", WIDTHS, 1),
    ("decoder-embed-dim", WIDTHS, 1),
    ("encoder-ffn-embed-dim-all", INNER_WIDTHS, LAYERS),
    ("encoder-self-attention-heads-all", HEADS, LAYERS),
    ("decoder-layer-num", tuple(range(1, LAYERS + 1)), 1),
    ("decoder-ffn-embed-dim-all", INNER_WIDTHS, LAYERS),
    ("decoder-self-attention-heads-all", HEADS, LAYERS),
    ("decoder-ende-attention-heads-all", HEADS, LAYERS),
    ("decoder-arbitrary-ende-attn-all", MEMORIES, LAYERS),
)
_CODE_OF_MEMORY = {1: -1, 2: 1, 3: 2}  # as HAT's files write it
_SUFFIX = "-subtransformer"


@dataclass(frozen=True, slots=True)
class Settings:
    """One architecture in its own units; the decoder's lists have as many values as it has layers."""

    encoder_width: int
    decoder_width: int
    encoder_inner: tuple[int, ...]
    encoder_heads: tuple[int, ...]
    decoder_layers: int
    decoder_inner: tuple[int, ...]
    decoder_heads: tuple[int, ...]
    cross_heads: tuple[int, ...]
    memories: tuple[int, ...]


class Hat:
    """The space at a sentence length of 30 tokens, the average of WMT, and the joint vocabulary of WMT'14 En-De."""

    choices: Sequence[int] = tuple(len(options) for _, options, count in FIELDS for _ in range(count))

    def __init__(self, tokens: int = 30, vocabulary: int = 32768) -> None:
        self.tokens = tokens
        self.vocabulary = vocabulary

    def graph(self, arch: Arch) -> Graph:
        """Source and target tokens [1, tokens] to scores [tokens, vocabulary].

        The embedding is shared between encoder, decoder and output; where the two widths differ each side has
        its own. Positions are a weight, not computed. Raises InputError for an architecture outside of the space.
        """
        s = settings(arch)
        b = GraphBuilder(NAME)
        source = b.input((1, self.tokens), "int64", "source")
        target = b.input((1, self.tokens), "int64", "target")
        table = b.weight((self.vocabulary, s.decoder_width))
        shared = s.encoder_width == s.decoder_width
        source_table = table if shared else b.weight((self.vocabulary, s.encoder_width))
        memory = self._encode(b, self._embed(b, source, source_table), s)
        x = self._decode(b, self._embed(b, target, table), memory, s)
        features = b.reshape(x, (self.tokens, s.decoder_width))
        return b.build(b.node("Gemm", [features, table], (self.tokens, self.vocabulary), transB=1))

    def _embed(self, b: GraphBuilder, tokens: str, table: str) -> str:
        width = b.shape(table)[1]
        x = b.node("Gather", [table, tokens], (1, self.tokens, width), "float32", axis=0)
        scaled = b.mul(x, b.constant([width**0.5], "float32", scalar=True))
        return b.add(scaled, b.weight((self.tokens, width)))

    def _encode(self, b: GraphBuilder, x: str, s: Settings) -> list[str]:
        """The output of every encoder layer, the last one first."""
        outputs: list[str] = []
        for inner, heads in zip(s.encoder_inner, s.encoder_heads, strict=True):
            x = b.layer_norm(b.add(x, _self_attention(b, x, heads)))
            x = b.layer_norm(b.add(x, _feed_forward(b, x, inner)))
            outputs.insert(0, x)
        return outputs

    def _decode(self, b: GraphBuilder, x: str, memory: Sequence[str], s: Settings) -> str:
        mask = causal_mask(b, self.tokens)
        for inner, heads, cross, depth in zip(
            s.decoder_inner, s.decoder_heads, s.cross_heads, s.memories, strict=True
        ):  # fmt: skip
            x = b.layer_norm(b.add(x, _self_attention(b, x, heads, mask)))
            seen = memory[0] if depth == 1 else b.concat(memory[:depth], axis=1)
            x = b.layer_norm(b.add(x, _cross_attention(b, x, seen, cross)))
            x = b.layer_norm(b.add(x, _feed_forward(b, x, inner)))
        return x

    def repair(self, arch: Arch, _rng: np.random.Generator | None = None) -> Arch:
        """The same network with every position of an absent decoder layer at its first choice."""
        arch = checked(NAME, self.choices, arch)
        layers = settings(arch).decoder_layers
        start = len(arch) - 4 * LAYERS
        return tuple(0 if i >= start and (i - start) % LAYERS >= layers else choice for i, choice in enumerate(arch))

    def parse(self, text: str) -> Arch:
        """The architecture of a subtransformer file of HAT (`encoder-embed-dim-subtransformer: 512`, ...).

        Raises InputError when a line is missing or a value is none of the choices.
        """
        values = _read_lines(text)
        if (layers := values.get("encoder-layer-num", [LAYERS])) != [LAYERS]:
            raise InputError(f"{NAME}: the encoder has {LAYERS} layers in this space, not {layers[0]}")
        arch: list[int] = []
        for field, options, count in FIELDS:
            if field not in values:
                raise InputError(f"{NAME}: the line '{field}{_SUFFIX}: ...' is missing")
            arch += _choices(field, values[field], options, count)
        wanted = {"encoder": LAYERS, "decoder": settings(tuple(arch)).decoder_layers}
        for field, _, count in FIELDS:
            if count > 1 and len(values[field]) < wanted[field[:7]]:
                raise InputError(f"{NAME}: {field} has {len(values[field])} values for {wanted[field[:7]]} layers")
        return self.repair(tuple(arch))

    def format(self, arch: Arch) -> str:
        """The lines of HAT's subtransformer file; the decoder's lists have one value per layer."""
        arch = checked(NAME, self.choices, arch)
        layers = settings(arch).decoder_layers
        lines = [f"encoder-layer-num{_SUFFIX}: {LAYERS}"]
        for (field, options, count), choices in zip(FIELDS, _parts(arch), strict=True):
            used = choices[:layers] if count > 1 and field.startswith("decoder") else choices
            values = [_CODE_OF_MEMORY[options[c]] if options is MEMORIES else options[c] for c in used]
            lines.append(f"{field}{_SUFFIX}: {values if count > 1 else values[0]}")
        return "\n".join(lines) + "\n"

    def from_columns(self, row: Mapping[str, float]) -> Arch:
        """An architecture with the layer averages of a record of HAT's latency data.

        The data keep averages over layers only, so the layers' own values are chosen here: any with the right
        average, the largest first. Multiply-adds of the feed-forward layers are exact, since they are linear in
        the width. Raises InputError when a column is missing or no choice of values has the average.
        """
        depth = index_of(NAME, "number of decoder layers", _column(row, "decoder_layer_num"), range(1, LAYERS + 1))
        layers = depth + 1
        arch = [
            index_of(NAME, "width", _column(row, "encoder_embed_dim"), WIDTHS),
            index_of(NAME, "width", _column(row, "decoder_embed_dim"), WIDTHS),
            *_spread(_column(row, "encoder_ffn_embed_dim_avg"), INNER_WIDTHS, LAYERS),
            *_spread(_column(row, "encoder_self_attention_heads_avg"), HEADS, LAYERS),
            depth,
            *_spread(_column(row, "decoder_ffn_embed_dim_avg"), INNER_WIDTHS, layers),
            *_spread(_column(row, "decoder_self_attention_heads_avg"), HEADS, layers),
            *_spread(_column(row, "decoder_ende_attention_heads_avg"), HEADS, layers),
            *_spread(_column(row, "decoder_arbitrary_ende_attn_avg"), MEMORIES, layers),
        ]
        return self.repair(tuple(arch))


def settings(arch: Arch) -> Settings:
    """Raises InputError for an architecture outside of the space."""
    arch = checked(NAME, Hat.choices, arch)
    values = [
        tuple(options[choice] for choice in part) for (_, options, _), part in zip(FIELDS, _parts(arch), strict=True)
    ]
    (encoder,), (decoder,), inner, heads, (layers,), *per_layer = values
    return Settings(encoder, decoder, inner, heads, layers, *(part[:layers] for part in per_layer))


def _parts(arch: Arch) -> list[Arch]:
    """The architecture cut at the borders of `FIELDS`."""
    parts: list[Arch] = []
    for _, _, count in FIELDS:
        parts.append(arch[:count])
        arch = arch[count:]
    return parts


# -- layers ------------------------------------------------------------------------------------------


def _self_attention(b: GraphBuilder, x: str, heads: int, mask: str | None = None) -> str:
    width = b.shape(x)[2]
    q, k, v = b.split(b.linear(x, 3 * ATTENTION_WIDTH), [ATTENTION_WIDTH] * 3, axis=2)
    return b.linear(attend(b, q, k, v, heads, mask), width)


def _cross_attention(b: GraphBuilder, x: str, memory: str, heads: int) -> str:
    q, k, v = (b.linear(tensor, ATTENTION_WIDTH) for tensor in (x, memory, memory))
    return b.linear(attend(b, q, k, v, heads), b.shape(x)[2])


def _feed_forward(b: GraphBuilder, x: str, inner: int) -> str:
    return b.linear(b.relu(b.linear(x, inner)), b.shape(x)[2])


# -- reading -----------------------------------------------------------------------------------------


def _read_lines(text: str) -> dict[str, list[int]]:
    values: dict[str, list[int]] = {}
    for line in text.splitlines():
        content = line.partition("#")[0].strip()
        if not content:
            continue
        key, _, value = content.partition(":")
        try:
            number = json.loads(value)
        except ValueError:
            raise InputError(f"{NAME}: the line {line!r} is not 'name: number' or 'name: [numbers]'") from None
        values[key.strip().removesuffix(_SUFFIX)] = number if isinstance(number, list) else [number]
    return values


def _choices(field: str, values: Sequence[int], options: Sequence[int], count: int) -> list[int]:
    """The choices of one line, filled up with 0 to `count`."""
    if len(values) > count:
        raise InputError(f"{NAME}: {field} has {len(values)} values; at most {count} are possible")
    if options is MEMORIES:
        codes = list(_CODE_OF_MEMORY.values())
        found = [index_of(NAME, field, value, codes) for value in values]
    else:
        found = [index_of(NAME, field, value, options) for value in values]
    return found + [0] * (count - len(found))


def _column(row: Mapping[str, float], name: str) -> float:
    try:
        return float(row[name])
    except KeyError:
        raise InputError(f"{NAME}: a record of HAT's latency data needs the column {name!r}") from None


def _spread(average: float, options: Sequence[int], layers: int) -> list[int]:
    """Choices of `layers` layers whose options have the average, filled up to LAYERS with 0."""
    total = round(average * layers)
    found = _with_sum(total, tuple(options), layers) if abs(average * layers - total) < 1e-3 * total else None
    if found is None:
        raise InputError(f"{NAME}: no {layers} values out of {tuple(options)} have the average {average}")
    return [*found, *[0] * (LAYERS - layers)]


@cache
def _with_sum(total: int, options: tuple[int, ...], count: int) -> tuple[int, ...] | None:
    """`count` indices of options that add up to the total, the largest first; None where there are none."""
    if count == 0:
        return () if total == 0 else None
    for index in reversed(range(len(options))):
        rest = total - options[index]
        if count * options[0] <= total <= count * options[-1] and rest >= 0:
            found = _with_sum(rest, options, count - 1)
            if found is not None:
                return (index, *found)
    return None


SPACE = Hat()
