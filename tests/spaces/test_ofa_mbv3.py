import pytest

from hwprof import cost
from hwprof.errors import InputError
from hwprof.spaces.ofa_mbv3 import SPACE

LARGEST = tuple(options - 1 for options in SPACE.choices)


def largest_by_hand():
    """Parameters and multiply-adds of kernel 7, expansion 6, depth 4 at 224 x 224, layer by layer."""
    parameters, macs, channels, side = 27 * 16 + 2 * 16, 27 * 16 * 112**2, 16, 112
    parameters += 9 * 16 + 2 * 16 + 16 * 16 + 2 * 16
    macs += (9 * 16 + 16 * 16) * 112**2
    for width, stride, gate in [(24, 2, 0), (40, 2, 1), (80, 2, 0), (112, 1, 1), (160, 2, 1)]:
        for block in range(4):
            inner, before = 6 * channels, side
            side = before // stride if block == 0 else before
            reduced = {144: 40, 240: 64, 480: 120, 672: 168, 960: 240}[inner] if gate else 0
            parameters += channels * inner + 49 * inner + inner * width + 2 * (2 * inner + width)
            parameters += (2 * inner * reduced + inner + reduced) * gate
            macs += channels * inner * before**2 + (49 * inner + inner * width) * side**2 + 2 * inner * reduced * gate
            channels = width
    parameters += 160 * 960 + 2 * 960 + 960 * 1280 + 1280 * 1000 + 1000
    return parameters, macs + 160 * 960 * 7**2 + 960 * 1280 + 1280 * 1000


def test_the_largest_network_is_the_one_worked_out_by_hand(learned_parameters):
    graph = SPACE.graph(LARGEST)
    assert (learned_parameters(graph), cost.of(graph).macs) == largest_by_hand()


def test_a_record_of_the_published_data_becomes_an_architecture_and_back():
    row = {"ks": [7, 3] * 10, "e": [6, 3, 4, 4] * 5, "d": [2, 3, 4, 3, 2], "r": 204}
    arch = SPACE.from_columns(row)
    assert arch[:4] == (2, 0, 0, 0)  # kernels 7, 3, then two blocks beyond the depth of 2
    assert arch[20:24] == (2, 0, 0, 0)
    assert arch[40:] == (0, 1, 2, 1, 0, 19)
    assert SPACE.parse(SPACE.format(arch)) == arch
    assert SPACE.from_columns({**row, "r": [204]}) == arch


def test_what_a_shorter_stage_leaves_out_changes_nothing():
    shallow = (*LARGEST[:40], 0, *LARGEST[41:])
    repaired = SPACE.repair(shallow)
    assert repaired != shallow
    assert SPACE.graph(repaired) == SPACE.graph(shallow)
    assert SPACE.repair(LARGEST) == LARGEST


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"ks": [4] * 20}, "no kernel is 4; choose one of: 3, 5, 7"),
        ({"e": [3] * 19}, "an architecture has 46 positions, 45 were given"),
        ({"d": [5] * 5}, "no depth is 5"),
        ({"r": 130}, "no resolution is 130"),
    ],
)
def test_a_record_of_another_space_is_refused(change, reason):
    row = {"ks": [3] * 20, "e": [3] * 20, "d": [2] * 5, "r": 224}
    with pytest.raises(InputError, match=reason):
        SPACE.from_columns({**row, **change})


def test_a_record_without_a_resolution_is_refused():
    with pytest.raises(InputError, match="needs ks, e, d and r; 'r' is missing"):
        SPACE.parse('{"ks": [], "e": [], "d": []}')


@pytest.mark.parametrize("text", ["ks", "[3, 5]"])
def test_a_text_that_is_no_record_is_refused(text):
    with pytest.raises(InputError, match="is not a JSON record"):
        SPACE.parse(text)


def test_every_published_latency_names_an_architecture(published):
    rows = published("ofa_latency_ms")
    assert len(rows) == 5000
    assert all(SPACE.repair(arch) == arch for arch in map(SPACE.from_columns, rows))
