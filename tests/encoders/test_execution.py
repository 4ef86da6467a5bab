import numpy as np

from hwprof.builder import GraphBuilder
from hwprof.encoders.execution import HYPOTHESES, Execution, masks


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
    assert Execution(graph).after_last_input().tolist() == [False, True]


def residual(b, x):
    """A block that ends like most: an addition and an activation behind a convolution."""
    return b.relu(b.add(b.batch_norm(b.conv(x, 4, 3)), x))


def test_a_compiled_convolution_takes_one_addition_and_one_activation_along():
    b = GraphBuilder("residual")
    x = b.unary("Tanh", b.input((1, 4, 8, 8)))
    graph = b.build(b.relu(b.add(residual(b, x), x)))
    assert executed(graph, "compiled") == ["Tanh", "Conv", "Add", "Relu"]


def test_a_convolution_with_another_reader_takes_no_addition_along():
    b = GraphBuilder("two readers")
    y = b.conv(b.input((1, 4, 8, 8)), 4, 3)
    assert executed(b.build(b.mul(b.add(y, b.unary("Tanh", y)), y)), "compiled") == ["Conv", "Tanh", "Add", "Mul"]


def test_what_several_operators_compute_alike_is_compiled_once():
    b = GraphBuilder("common subexpression")
    x = b.input((1, 4, 8, 8))
    left, right = (b.unary("Exp", b.relu(x)) for _ in range(2))
    assert executed(b.build(b.add(left, right)), "compiled") == ["Relu", "Exp", "Add"]


def test_compiled_live_leaves_dead_branches_out():
    assert executed(with_dead_branch(), "compiled") == ["Conv", "Sigmoid"]
    assert executed(with_dead_branch(), "compiled live") == ["Conv"]


def reordered(graph, hypothesis):
    """Operators whose results change their layout, in order."""
    execution = Execution(graph)
    found = execution.reorders(execution.masks(np.ones(len(graph.nodes))), {"Conv"})[HYPOTHESES.index(hypothesis)]
    return [node.op for node, changes in zip(graph.nodes, found, strict=True) if changes]


def test_a_tensor_between_blocked_and_plain_kernels_is_reordered_once():
    b = GraphBuilder("layouts")
    y = b.conv(b.unary("Tanh", b.input((1, 4, 8, 8))), 4, 3)
    graph = b.build(b.add(b.unary("Exp", y), b.unary("Sin", y)))
    assert reordered(graph, "every") == ["Tanh", "Conv"]


def test_elementwise_operators_run_on_either_layout():
    b = GraphBuilder("layouts")
    y = residual(b, b.conv(b.input((1, 4, 8, 8)), 4, 3))
    assert reordered(b.build(b.conv(y, 4, 3)), "every") == []


def test_what_does_not_run_hands_on_the_layout():
    b = GraphBuilder("scaled")
    y = b.conv(b.input((1, 4, 8, 8)), 4, 3)
    graph = b.build(b.conv(b.mul(y, b.constant([2.0], "float32", scalar=True)), 4, 3))
    assert reordered(graph, "every") == ["Conv", "Mul"]
    assert reordered(graph, "compiled") == []


def moved_images(graph):
    execution = Execution(graph)
    return execution.moved_images([place[-1] for place in execution.places()])


def test_a_convolution_alone_moves_its_input_and_its_output_into_blocks_and_back():
    b = GraphBuilder("net")
    x = b.input((1, 16, 8, 8))
    y = b.conv(x, 16, 3)
    assert moved_images(b.build(y)) == [x, y]


def test_inside_of_a_network_images_stay_in_blocks():
    b = GraphBuilder("net")
    x = b.input((1, 3, 8, 8))  # too narrow for blocks: read as it is
    y = b.relu(b.conv(x, 16, 3))
    y = b.concat([b.conv(y, 16, 3, groups=16), b.pool("MaxPool", y, 3, 1, 1)])
    graph = b.build(b.gemm(b.flatten(b.global_average_pool(b.conv(y, 32))), 10))
    (last,) = moved_images(graph)
    assert graph.producers()[last].op == "GlobalAveragePool"


def test_a_convolution_of_narrow_groups_works_on_the_plain_layout():
    b = GraphBuilder("net")
    y = b.conv(b.input((1, 3, 8, 8)), 16, 3)
    z = b.conv(y, 16, 3, groups=4)
    assert moved_images(b.build(z)) == [y]
