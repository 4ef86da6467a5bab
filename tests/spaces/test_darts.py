import numpy as np
import pytest

from hwprof import cost
from hwprof.errors import InputError
from hwprof.spaces.darts import EDGES, OPERATIONS, SPACE, Darts

DARTS_V2 = """Genotype(normal=[('sep_conv_3x3', 0), ('sep_conv_3x3', 1), ('sep_conv_3x3', 0), ('sep_conv_3x3', 1),
    ('sep_conv_3x3', 1), ('skip_connect', 0), ('skip_connect', 0), ('dil_conv_3x3', 2)], normal_concat=[2, 3, 4, 5],
    reduce=[('max_pool_3x3', 0), ('max_pool_3x3', 1), ('skip_connect', 2), ('max_pool_3x3', 1), ('max_pool_3x3', 0),
    ('skip_connect', 2), ('skip_connect', 2), ('max_pool_3x3', 1)], reduce_concat=[2, 3, 4, 5])"""
PC_DARTS = """Genotype(normal=[('sep_conv_3x3', 1), ('skip_connect', 0), ('sep_conv_3x3', 0), ('dil_conv_3x3', 1),
    ('sep_conv_5x5', 0), ('sep_conv_3x3', 1), ('avg_pool_3x3', 0), ('dil_conv_3x3', 1)], normal_concat=range(2, 6),
    reduce=[('sep_conv_5x5', 1), ('max_pool_3x3', 0), ('sep_conv_5x5', 1), ('sep_conv_5x5', 2), ('sep_conv_3x3', 0),
    ('sep_conv_3x3', 3), ('sep_conv_3x3', 1), ('sep_conv_3x3', 2)], reduce_concat=range(2, 6))"""


def test_darts_v2_has_the_parameters_that_its_training_script_prints(learned_parameters):
    assert learned_parameters(SPACE.graph(SPACE.parse(DARTS_V2))) == 3_349_342


def test_pc_darts_has_its_published_parameters(learned_parameters):
    assert round(learned_parameters(SPACE.graph(SPACE.parse(PC_DARTS))) / 1e6, 2) == 3.63


def test_multiply_adds_of_a_cell_of_skips_are_those_worked_out_by_hand():
    # one cell of 4 channels at 8 x 8: stem 3 -> 12 (3x3), two 1x1 from 12 to 4, classifier 16 -> 10
    skips = tuple(OPERATIONS.index("skip_connect") if source < 2 else 0 for source, _ in EDGES) * 2
    graph = Darts(channels=4, cells=2, resolution=8).graph(skips)
    # cells // 3 = 0 and 2 * cells // 3 = 1: both cells reduce, to 4 x 4 with 8 and 2 x 2 with 16 channels.
    # Cell 1: 12 -> 8 twice at 8 x 8, then 8 skips of 8 -> 8 at 4 x 4 (half of the channels twice).
    # Cell 2: before is 12 x 8 x 8, last 32 x 4 x 4: 12 -> 16 factorized at 4 x 4, 32 -> 16 at 4 x 4, 8 skips at 2 x 2.
    stem = 27 * 12 * 64
    first = 2 * 12 * 8 * 64 + 8 * 8 * 8 * 16
    second = 12 * 16 * 16 + 32 * 16 * 16 + 8 * 16 * 16 * 4
    assert cost.of(graph).macs == stem + first + second + 64 * 10


@pytest.mark.parametrize("text", [DARTS_V2, PC_DARTS])
def test_a_genotype_survives_reading_and_writing(text):
    arch = SPACE.parse(text)
    assert SPACE.parse(SPACE.format(arch)) == arch
    assert sum(choice != 0 for choice in arch) == 16


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "not a genotype like"),
        ("__import__('os').getcwd()", "'normal' is missing"),
        ("Genotype(normal=__import__('os').listdir())", "not a genotype like"),
        (DARTS_V2.replace("normal_concat=[2, 3,", "normal_concat=["), "normal_concat must be the nodes 2 to 5"),
        (DARTS_V2.replace("('dil_conv_3x3', 2)", "('dil_conv_3x3', 0)"), "node 5 has the input 0 twice"),
        (DARTS_V2.replace("('dil_conv_3x3', 2)", "('dil_conv_3x3', 5)"), "input 5 of node 5 must be .* 0 to 4"),
        (DARTS_V2.replace("dil_conv_3x3", "conv_7x7"), "no operation is 'conv_7x7'"),
        (DARTS_V2.replace("('dil_conv_3x3', 2)", "'dil_conv_3x3'"), "a cell has pairs"),
        (DARTS_V2.replace(", ('dil_conv_3x3', 2)", ""), "a cell has 8 .* pairs, not 7"),
    ],
)  # fmt: skip
def test_a_text_that_is_no_genotype_is_refused(text, reason):
    with pytest.raises(InputError, match=reason):
        SPACE.parse(text)


def test_a_relaxed_point_has_a_graph_but_no_genotype(run):
    relaxed = tuple(range(8)) * 3 + (0, 0, 0, 0)
    (scores,) = run(Darts(channels=4, cells=3, resolution=8).graph(relaxed))
    assert np.isfinite(scores).all()
    with pytest.raises(InputError, match="two inputs per node"):
        SPACE.format(relaxed)


def test_repair_leaves_two_inputs_per_node_and_a_derived_architecture_alone():
    rng = np.random.default_rng(0)
    for arch in rng.integers(8, size=(50, 28)).tolist():
        repaired = SPACE.repair(tuple(arch), rng)
        inputs = [sum(repaired[i] != 0 for i, (_, node) in enumerate(EDGES) if node == n) for n in range(4)]
        assert inputs == [2, 2, 2, 2]
        assert SPACE.repair(repaired, rng) == repaired


def test_repair_drops_every_edge_equally_often():
    rng = np.random.default_rng(0)
    kept = np.mean([np.array(SPACE.repair((4,) * 28, rng)) != 0 for _ in range(500)], axis=0)
    expected = [2 / (node + 2) for _, node in EDGES] * 2
    np.testing.assert_allclose(kept, expected, atol=0.09)  # four standard deviations of 500 draws


def test_a_resolution_that_cannot_be_halved_twice_is_refused():
    with pytest.raises(InputError, match="resolution that 4 divides, not 10"):
        Darts(channels=4, cells=3, resolution=10).graph((3,) * 28)
