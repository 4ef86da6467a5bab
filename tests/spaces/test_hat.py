import numpy as np
import pytest

from hwprof import cost
from hwprof.errors import InputError
from hwprof.spaces.hat import SPACE, Hat, settings

# HAT_wmt14ende_raspberrypi@6.9s_bleu@28.4, from the authors' release
RASPBERRY_PI = """
encoder-embed-dim-subtransformer: 512
decoder-embed-dim-subtransformer: 512

encoder-ffn-embed-dim-all-subtransformer: [3072, 3072, 3072, 3072, 3072, 3072]
decoder-ffn-embed-dim-all-subtransformer: [2048, 2048, 3072, 3072, 2048]

encoder-layer-num-subtransformer: 6
decoder-layer-num-subtransformer: 5

encoder-self-attention-heads-all-subtransformer: [8, 4, 8, 8, 8, 8]
decoder-self-attention-heads-all-subtransformer: [8, 8, 8, 4, 8]
decoder-ende-attention-heads-all-subtransformer: [4, 8, 8, 8, 8]

# for arbitrary encoder decoder attention. -1 means attending to last one encoder layer
decoder-arbitrary-ende-attn-all-subtransformer: [-1, 1, 1, 1, -1]
"""
SMALL = Hat(tokens=3, vocabulary=7)


def test_the_network_for_the_raspberry_pi_has_its_published_size(learned_parameters):
    arch = SPACE.parse(RASPBERRY_PI)
    embeddings = 512 * (7 + 2 * 3)  # the paper's 48 M leave them out
    assert learned_parameters(SMALL.graph(arch)) - embeddings == 48_331_264


def test_multiply_adds_are_those_worked_out_by_hand():
    # the smallest network: widths 512, inner width 512, 1 decoder layer, every memory 1; 3 tokens, 7 words
    attention = 4 * 512 * 512 * 3 + 2 * 3 * 3 * 512  # projections, scores and mixture
    layer = 2 * 512 * 512 * 3
    assert cost.of(SMALL.graph((0,) * 39)).macs == 6 * (attention + layer) + 2 * attention + layer + 3 * 512 * 7


def test_a_longer_memory_costs_keys_values_and_scores_of_more_tokens():
    longer = (0,) * 33 + (2,) + (0,) * 5
    difference = cost.of(SMALL.graph(longer)).macs - cost.of(SMALL.graph((0,) * 39)).macs
    assert difference == 2 * 512 * 512 * 6 + 2 * 3 * 6 * 512


def test_a_subtransformer_file_survives_reading_and_writing():
    arch = SPACE.parse(RASPBERRY_PI)
    assert settings(arch).memories == (1, 2, 2, 2, 1)
    assert settings(arch).cross_heads == (4, 8, 8, 8, 8)
    assert SPACE.parse(SPACE.format(arch)) == arch


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("decoder-layer-num-subtransformer: 5", "", "the line 'decoder-layer-num-subtransformer: ...' is missing"),
        ("encoder-layer-num-subtransformer: 6", "encoder-layer-num-subtransformer: 4", "6 layers in this space, not 4"),
        ("[8, 8, 8, 4, 8]", "[8, 8, 8, 3, 8]", "decoder-self-attention-heads-all is 3; choose one of: 2, 4, 8"),
        ("[-1, 1, 1, 1, -1]", "[-1, 1, 1, 1, 3]", "decoder-arbitrary-ende-attn-all is 3; choose one of: -1, 1, 2"),
        ("[8, 4, 8, 8, 8, 8]", "[8, 4, 8, 8, 8, 8, 8]", "has 7 values; at most 6"),
        ("[-1, 1, 1, 1, -1]", "[-1, 1, 1, 1]", "decoder-arbitrary-ende-attn-all has 4 values for 5 layers"),
        ("[8, 4, 8, 8, 8, 8]", "[8, 4]", "encoder-self-attention-heads-all has 2 values for 6 layers"),
        ("[8, 4, 8, 8, 8, 8]", "eight", "is not 'name: number'"),
    ],
)  # fmt: skip
def test_a_file_of_another_space_is_refused(old, new, reason):
    with pytest.raises(InputError, match=reason):
        SPACE.parse(RASPBERRY_PI.replace(old, new))


ROW = {
    "encoder_embed_dim": 640, "encoder_ffn_embed_dim_avg": 5888 / 6, "encoder_self_attention_heads_avg": 6.0,
    "decoder_embed_dim": 512, "decoder_layer_num": 4, "decoder_ffn_embed_dim_avg": 1920.0,
    "decoder_self_attention_heads_avg": 2.5, "decoder_ende_attention_heads_avg": 5.5,
    "decoder_arbitrary_ende_attn_avg": 1.5,
}  # fmt: skip


def test_a_record_of_averages_becomes_an_architecture_with_these_averages():
    found = settings(SPACE.from_columns({**ROW, "encoder_ffn_embed_dim_avg": 1962.6666666666667}))
    assert (found.encoder_width, found.decoder_width, found.decoder_layers) == (640, 512, 4)
    assert np.mean(found.encoder_inner) == pytest.approx(1962.6666666666667)
    assert np.mean(found.decoder_inner) == 1920
    assert np.mean(found.decoder_heads) == 2.5
    assert np.mean(found.cross_heads) == 5.5
    assert np.mean(found.memories) == 1.5


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"decoder_ffn_embed_dim_avg": 1921.0}, "no 4 values out of .* have the average 1921"),
        ({"decoder_ffn_embed_dim_avg": 4096.0}, "no 4 values out of .* have the average 4096"),
        ({"decoder_layer_num": 7}, "no number of decoder layers is 7"),
        ({"decoder_layer_num": 4.5}, "no number of decoder layers is 4.5"),
        ({"encoder_embed_dim": 256}, "no width is 256"),
    ],
)
def test_a_record_that_no_architecture_has_is_refused(change, reason):
    with pytest.raises(InputError, match=reason):
        SPACE.from_columns({**ROW, "encoder_ffn_embed_dim_avg": 1024.0, **change})


def test_a_record_without_a_column_is_refused():
    with pytest.raises(InputError, match="needs the column 'decoder_layer_num'"):
        SPACE.from_columns({})


def test_absent_decoder_layers_change_nothing():
    arch = (1, 0, *(1,) * 12, 2, *(1,) * 24)
    repaired = SPACE.repair(arch)
    assert repaired == (1, 0, *(1,) * 12, 2, *(1, 1, 1, 0, 0, 0) * 4)
    assert SMALL.graph(repaired) == SMALL.graph(arch)


def test_every_published_latency_has_an_architecture_with_its_averages(published):
    rows = published("hat_latency")
    assert len(rows) == 8000
    for row in rows:
        found = settings(SPACE.from_columns(row))
        assert np.mean(found.encoder_inner) == pytest.approx(row["encoder_ffn_embed_dim_avg"])
        assert np.mean(found.memories) == pytest.approx(row["decoder_arbitrary_ende_attn_avg"])
