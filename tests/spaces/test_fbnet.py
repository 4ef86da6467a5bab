import pytest

from hwprof import cost
from hwprof.errors import InputError
from hwprof.spaces.fbnet import SPACE, FBNet

# FBNet-C as its authors release it (mobile-vision)
FBNET_C = (
    "ir_k3_e1|ir_k3_e6|skip|ir_k3_e1|ir_k3_e1|ir_k5_e6|ir_k5_e3|ir_k5_e6|ir_k3_e6|ir_k5_e6|ir_k5_e3|ir_k5_e6|ir_k5_e6"
    "|ir_k5_e6|ir_k5_e6|ir_k5_e6|ir_k5_e3|ir_k5_e6|ir_k5_e6|ir_k5_e6|ir_k5_e6|ir_k3_e6"
)


def test_fbnet_c_has_its_published_multiply_adds():
    # 378.2 M in the authors' release, which leaves the first 1x1 convolution of blocks with expansion 1 out
    # (one at 112 x 112 with 16 channels, two at 56 x 56 with 24); the paper's block has it
    left_out = 16 * 16 * 112**2 + 2 * 24 * 24 * 56**2
    assert abs(cost.of(SPACE.graph(SPACE.parse(FBNET_C))).macs - left_out - 378.2e6) < 0.1e6


def test_fbnet_c_has_its_published_parameters(learned_parameters):
    # 5.57 M: timm's fbnetc_100, whose blocks have all their 1x1 convolutions
    assert round(learned_parameters(SPACE.graph(SPACE.parse(FBNET_C))) / 1e6, 2) == 5.57


def test_a_grouped_block_costs_what_was_worked_out_by_hand():
    skips = ["skip"] * 22
    grouped = ["k5_e1_g2", *skips[1:]]
    space = FBNet(resolution=32)
    difference = cost.of(space.graph(space.parse("|".join(grouped)))).macs - cost.of(space.graph((8,) * 22)).macs
    # 16 channels at 16 x 16: two 1x1 convolutions in 2 groups, one 5x5 depthwise; the skip there is free
    assert difference == 256 * (2 * 16 * 8 + 16 * 25)


def test_a_block_string_survives_reading_and_writing():
    text = SPACE.format(SPACE.parse(FBNET_C))
    assert text.startswith("k3_e1|k3_e6|skip|k3_e1|")
    assert SPACE.parse(text) == SPACE.parse(FBNET_C)
    assert SPACE.parse(FBNET_C.replace("ir_k3_e1", "ir_k3_s2"))[0] == SPACE.parse("|".join(["k3_e1_g2"] * 22))[0]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("k3_e1|skip", "has 22 blocks between bars, 2 were given"),
        ("|".join(["k7_e1"] * 22), "no block is 'k7_e1'; choose one of: k3_e1, "),
    ],
)
def test_a_text_that_is_no_block_string_is_refused(text, reason):
    with pytest.raises(InputError, match=reason):
        SPACE.parse(text)


def test_every_published_latency_names_an_architecture(published):
    texts = published("fbnet_latency_ms", "arch_str")
    assert len(texts) == 5000
    assert all(SPACE.format(SPACE.parse(text)) == text for text in texts)
