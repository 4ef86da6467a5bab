import pytest

from hwprof import cost
from hwprof.errors import InputError
from hwprof.spaces.nasbench201 import SPACE, NasBench201

# parameters (M) and FLOPs (M) as NAS-Bench-201 states them for CIFAR-10; its FLOPs are multiply-adds and the
# classifier's 10 biases
ALL_3X3 = "|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|+|nor_conv_3x3~0|nor_conv_3x3~1|nor_conv_3x3~2|"
FOUR_3X3 = "|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_1x1~1|+|skip_connect~0|nor_conv_3x3~1|nor_conv_3x3~2|"
BENCHMARK = [(ALL_3X3, 1.531546, 220.11969), (FOUR_3X3, 1.073466, 153.27297)]


@pytest.mark.parametrize(("text", "parameters", "flops"), BENCHMARK)
def test_parameters_and_multiply_adds_are_the_benchmarks(text, parameters, flops, learned_parameters):
    graph = SPACE.graph(SPACE.parse(text))
    assert learned_parameters(graph) == round(parameters * 1e6)
    assert cost.of(graph).macs + 10 == round(flops * 1e6)


def test_an_arch_string_survives_reading_and_writing():
    text = "|none~0|+|skip_connect~0|nor_conv_1x1~1|+|nor_conv_3x3~0|avg_pool_3x3~1|none~2|"
    assert SPACE.parse(text) == (0, 1, 2, 3, 4, 0)
    assert SPACE.format(SPACE.parse(text)) == text


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "is not an arch string"),
        ("|none~0|+|none~0|none~1|+|none~0|none~2|none~1|", "is not an arch string"),
        ("|none~0|+|none~0|none~1|+|none~0|none~1|none~2|x", "is not an arch string"),
        ("|conv~0|+|none~0|none~1|+|none~0|none~1|none~2|", "no operation is 'conv'; choose one of: none, skip"),
    ],
)
def test_a_text_that_is_no_arch_string_is_refused(text, reason):
    with pytest.raises(InputError, match=reason):
        SPACE.parse(text)


def live_and_all(text):
    graph = NasBench201(cells=1).graph(SPACE.parse(text))
    return len(graph.live().nodes), len(graph.nodes)


def test_operators_that_no_output_depends_on_are_dead():
    # node 1 is read by nobody: its convolution (Relu, Conv, BatchNormalization) and the two `none` are dead
    live, everything = live_and_all("|nor_conv_3x3~0|+|nor_conv_3x3~0|none~1|+|skip_connect~0|none~1|skip_connect~2|")
    assert everything - live == 3 * (3 + 2)


def test_what_is_computed_from_a_zero_node_is_dead():
    # node 1 is zero: the convolution 1 -> 3 and the `none` that makes node 1 carry nothing
    live, everything = live_and_all(
        "|none~0|+|skip_connect~0|skip_connect~1|+|skip_connect~0|nor_conv_1x1~1|skip_connect~2|"
    )
    assert everything - live == 3 * (1 + 3)


def test_a_cell_without_a_path_is_a_live_multiplication_by_zero(run):
    graph = NasBench201(channels=4, cells=1).graph((0,) * 6)
    assert [node.op for node in graph.live().nodes].count("Mul") == 3  # one cell in each of three stages
    (scores,) = run(graph)
    assert scores.shape == (1, 10)


def test_cells_that_differ_in_dead_branches_only_are_one_live_graph():
    small = NasBench201(channels=4, cells=1)
    graph = small.graph(SPACE.parse("|nor_conv_1x1~0|+|none~0|none~1|+|skip_connect~0|none~1|nor_conv_3x3~2|"))
    assert graph != graph.live()
    assert graph.live() == small.graph((0, 0, 0, 1, 0, 0)).live()


def test_the_published_latencies_name_every_cell_of_the_space(published):
    archs = {SPACE.parse(text) for text in published("nb201_latency_ms", "arch")}
    assert len(archs) == 5**6
