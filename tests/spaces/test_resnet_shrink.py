import pytest

from hwprof import cost
from hwprof.spaces.resnet_shrink import SPACE, WITHOUT_BOTH, WITHOUT_FIRST, WITHOUT_SECOND, ResNetShrink


@pytest.mark.parametrize(
    ("blocks", "parameters", "macs"),
    [((2, 2, 2, 2), 11_173_962, 555_422_720), ((3, 4, 6, 3), 21_282_122, 1_159_402_496)],
)
def test_the_teacher_is_the_resnet_of_the_literature(blocks, parameters, macs, learned_parameters):
    space = ResNetShrink(blocks)
    graph = space.graph(space.teacher)
    assert (learned_parameters(graph), cost.of(graph).macs) == (parameters, macs)


def test_a_narrower_teacher_has_its_own_channels():
    space = ResNetShrink((1, 1, 1, 1), channels=(4, 8, 8, 8))
    convolutions = [node for node in space.graph(space.teacher).nodes if node.op == "Conv"]
    assert max(space.graph(space.teacher).shape(node.outputs[0])[1] for node in convolutions) == 8


def student(block, removed, inner=9, skip=0):
    """The teacher with one block changed."""
    start = 4 + 3 * block
    return (*SPACE.teacher[:start], removed, inner, skip, *SPACE.teacher[start + 3 :])


def saved(arch):
    return cost.of(SPACE.graph(SPACE.teacher)).macs - cost.of(SPACE.graph(arch)).macs


CONV = 9 * 64 * 64 * 32 * 32  # every 3x3 convolution but the first of a stage costs this much


def test_removed_convolutions_save_what_they_cost():
    assert saved(student(0, WITHOUT_FIRST)) == CONV
    assert saved(student(0, WITHOUT_SECOND)) == CONV
    assert saved(student(0, WITHOUT_BOTH)) == 2 * CONV
    assert saved(student(2, WITHOUT_SECOND)) == CONV


def test_the_block_that_shrinks_the_image_keeps_its_first_convolution():
    assert SPACE.choices[4 + 3 * 2] == 2
    assert SPACE.choices[4 + 3 * 1] == 4


def test_half_of_the_inner_width_saves_half_of_the_block():
    assert saved(student(1, 0, inner=4)) == CONV


def test_a_skip_adds_one_addition_where_shapes_agree():
    def additions(arch):
        return [node.op for node in SPACE.graph(arch).nodes].count("Add")

    assert additions(student(0, 0, skip=1)) == additions(SPACE.teacher) + 1
    assert additions(student(2, 0, skip=1)) == additions(SPACE.teacher)
    assert additions(student(0, 0, inner=4, skip=1)) == additions(SPACE.teacher)


def test_positions_that_change_nothing_are_set_to_0():
    for arch in (student(2, 0, skip=1), student(0, WITHOUT_BOTH, skip=1), student(0, 0, inner=4, skip=1)):
        repaired = SPACE.repair(arch)
        assert repaired != arch
        assert SPACE.graph(repaired) == SPACE.graph(arch)
    assert SPACE.repair(SPACE.teacher) == SPACE.teacher
