from collections import Counter

import numpy as np
import pytest

from hwprof import cost
from hwprof.encoders.execution import HYPOTHESES, masks
from hwprof.errors import InputError
from hwprof.spaces.nasbench201 import SPACE, NasBench201

# parameters (M) and FLOPs (M) as NAS-Bench-201 states them for CIFAR-10; its FLOPs are multiply-adds and the
# classifier's 10 biases
SKIPS = "|skip_connect~0|+|skip_connect~0|skip_connect~1|+|skip_connect~0|skip_connect~1|skip_connect~2|"
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


def executed(text, hypothesis):
    """How often each operator runs under the hypothesis, in a network of one cell per stage."""
    graph = NasBench201(cells=1).graph(SPACE.parse(text))
    mask = masks(graph, np.ones(len(graph.nodes)))[HYPOTHESES.index(hypothesis)]
    return Counter(node.op for node, runs in zip(graph.nodes, mask, strict=True) if runs)


def test_every_edge_enters_the_sum_of_its_node():
    # per cell: two convolutions, two `none`, three sums of 1, 2 and 3 edges
    ops = executed("|nor_conv_3x3~0|+|nor_conv_3x3~0|none~1|+|skip_connect~0|none~1|skip_connect~2|", "every")
    nothing = executed(SKIPS, "every")
    assert ops - nothing == Counter(Conv=3 * 2, BatchNormalization=3 * 2, Relu=3 * 2, Mul=3 * 2)
    assert nothing["Add"] == 3 * (1 + 2) + 2  # and one in each of the two reductions


def test_what_only_a_multiplication_by_zero_reads_is_not_live():
    # node 1 goes into two `none` only: its convolution is not needed
    text = "|nor_conv_3x3~0|+|skip_connect~0|none~1|+|skip_connect~0|none~1|skip_connect~2|"
    assert executed(text, "every")["Conv"] - executed(text, "live")["Conv"] == 3


def test_a_convolution_of_a_zero_node_is_live_but_can_be_folded():
    text = "|none~0|+|skip_connect~0|skip_connect~1|+|skip_connect~0|nor_conv_1x1~1|skip_connect~2|"
    assert executed(text, "every")["Conv"] == executed(text, "live")["Conv"]
    assert executed(text, "live")["Conv"] - executed(text, "folded")["Conv"] == 3


def test_a_cell_without_a_path_runs(run):
    (scores,) = run(NasBench201(channels=4, cells=1).graph((0,) * 6))
    assert scores.shape == (1, 10)


def test_the_published_latencies_name_every_cell_of_the_space(published):
    archs = {SPACE.parse(text) for text in published("nb201_latency_ms", "arch")}
    assert len(archs) == 5**6
