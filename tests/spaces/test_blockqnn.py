import pytest

from hwprof import cost
from hwprof.errors import InputError
from hwprof.spaces.blockqnn import SPACE, BlockQnn

# two convolutions on the input, their sum; the input is read, both convolutions are read
RESIDUAL = "(1,1,3,0,0),(2,1,3,1,0),(3,5,0,0,2),(4,7,0,0,0)"
ONE_BLOCK = BlockQnn(blocks=1, channels=4, resolution=8)


def operators(text):
    graph = ONE_BLOCK.graph(ONE_BLOCK.parse(text))
    return [node.op for node in graph.nodes]


def test_multiply_adds_of_a_residual_block_are_those_worked_out_by_hand():
    stem, classifier = 27 * 4 * 64, 16 * 10
    stages = [2 * 9 * c * c * side**2 for c, side in [(4, 8), (8, 4), (16, 2)]]
    widening = 4 * 8 * 4**2 + 8 * 16 * 2**2  # 1x1 convolutions where a stage begins
    graph = ONE_BLOCK.graph(ONE_BLOCK.parse(RESIDUAL))
    assert cost.of(graph).macs == stem + sum(stages) + widening + classifier


def test_what_nobody_reads_is_concatenated():
    assert "Concat" not in operators(RESIDUAL)
    assert operators("(1,1,1,0,0),(2,2,3,0,0)").count("Concat") == 3  # one per stage


def test_a_sum_of_different_widths_gets_a_1x1_convolution():
    # layer 1 doubles the width by concatenation, layer 2 adds the input to it
    text = "(1,6,0,0,0),(2,5,0,1,0)"
    assert operators(text).count("Conv") == 1 + 3  # the stem and one in each stage's sum


def test_a_structure_code_survives_reading_and_writing():
    arch = SPACE.parse(RESIDUAL)
    assert arch == (1, 0, 0, 1, 1, 0, 8, 0, 2, 10, *(0,) * 14)
    assert SPACE.format(arch) == RESIDUAL
    assert SPACE.parse(f"[{RESIDUAL}]") == arch
    assert SPACE.parse(RESIDUAL.removesuffix(",(4,7,0,0,0)")) == arch


def test_the_empty_block_is_its_input():
    assert SPACE.parse("") == SPACE.parse("(1,7,0,0,0)")
    assert operators("").count("Conv") == 3


def test_a_block_may_use_all_its_layers():
    text = ",".join(f"({i},4,0,{i - 1},0)" for i in range(1, 9))
    assert SPACE.format(SPACE.parse(text)) == text


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("conv", "not a structure code"),
        ("(1,1,3,0)", "is not a 5-tuple that begins with its index 1"),
        ("(2,1,3,0,0)", "is not a 5-tuple that begins with its index 1"),
        ("1,2", "not a structure code"),
        ("(1,1,7,0,0)", r"no \(type, kernel\) is \(1, 7\)"),
        ("(1,1,3,1,0)", "position 1 is 1; choose an integer from 0 to 0"),
        (",".join(f"({i},4,0,0,0)" for i in range(1, 10)), "at most 8 layers in this space, not 9"),
    ],
)
def test_a_text_that_is_no_structure_code_is_refused(text, reason):
    with pytest.raises(InputError, match=reason):
        SPACE.parse(text)


def test_positions_that_change_nothing_are_set_to_0():
    arch = (1, 0, 0, 3, 1, 1, 10, 2, 2, *(5, 1, 2) * 5)
    repaired = SPACE.repair(arch)
    assert repaired == (1, 0, 0, 3, 1, 0, 10, *(0,) * 17)
    assert SPACE.graph(repaired) == SPACE.graph(arch)
