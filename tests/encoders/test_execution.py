import numpy as np

from hwprof.builder import GraphBuilder
from hwprof.encoders.execution import HYPOTHESES, after_last_input, masks


def executed(graph, hypothesis, weights=None):
    """Operators that run under the hypothesis, in order."""
    weights = np.ones(len(graph.nodes)) if weights is None else np.array(weights, float)
    mask = masks(graph, weights)[HYPOTHESES.index(hypothesis)]
    return [node.op for node, runs in zip(graph.nodes, mask, strict=True) if runs]


def with_dead_branch():
    b = GraphBuilder("dead branch")
    x = b.input((1, 4, 8, 8))
    y = b.relu(b.batch_norm(b.conv(x, 4, 3)))
    b.unary("Sigmoid", x)
    return b.build(y)


def test_every_operator_runs_eagerly_and_dead_branches_do_not_live():
    graph = with_dead_branch()
    assert executed(graph, "every") == ["Conv", "BatchNormalization", "Relu", "Sigmoid"]
    assert executed(graph, "live") == ["Conv", "BatchNormalization", "Relu"]


def test_normalization_and_activation_run_inside_of_the_convolution_before_them():
    assert executed(with_dead_branch(), "fused") == ["Conv"]


def test_an_activation_of_a_tensor_that_others_read_too_is_not_fused():
    b = GraphBuilder("two readers")
    y = b.conv(b.input((1, 4, 8, 8)), 4, 3)
    assert executed(b.build(b.add(b.relu(y), y)), "fused") == ["Conv", "Relu", "Add"]


def times_zero(b, x):
    return b.mul(x, b.constant([0.0], "float32", scalar=True))


def test_a_multiplication_by_zero_keeps_nothing_before_it_alive():
    b = GraphBuilder("zero")
    x = b.input((1, 4, 8, 8))
    graph = b.build(b.add(b.conv(times_zero(b, b.relu(x)), 4, 3), x))
    assert executed(graph, "live") == ["Mul", "Conv", "Add"]


def test_what_comes_only_out_of_zero_is_folded():
    b = GraphBuilder("zero")
    x = b.input((1, 4, 8, 8))
    graph = b.build(b.add(b.conv(times_zero(b, x), 4, 3), x))
    assert executed(graph, "folded") == ["Add"]


def test_what_is_computed_from_zero_runs_where_only_unread_results_are_dropped():
    b = GraphBuilder("zero")
    x = b.input((1, 4, 8, 8))
    b.conv(times_zero(b, x), 4, 3)
    b.unary("Tanh", x)
    assert executed(b.build(b.relu(x)), "zeros") == ["Conv", "Relu"]


def test_the_critical_path_takes_the_heavier_branch():
    b = GraphBuilder("branches")
    x = b.input((1, 4, 8, 8))
    graph = b.build(b.add(b.unary("Tanh", x), b.unary("Exp", b.unary("Sigmoid", x))))
    assert executed(graph, "path", [5, 1, 1, 1]) == ["Tanh", "Add"]
    assert executed(graph, "path", [1, 1, 1, 1]) == ["Sigmoid", "Exp", "Add"]


def test_what_depends_on_the_last_input_comes_after_it():
    b = GraphBuilder("two inputs")
    first, last = b.input((1, 4)), b.input((1, 4))
    graph = b.build(b.add(b.relu(first), last))
    assert after_last_input(graph).tolist() == [False, True]
