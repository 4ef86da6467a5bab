import numpy as np
import pytest

from hwprof import cost
from hwprof.builder import GraphBuilder
from hwprof.encoders.kernels import FEATURES, KernelEncoder
from hwprof.errors import InputError
from hwprof.graph import Graph, Node, Tensor
from hwprof.interfaces import ExecutedKernel, Work
from hwprof.spaces.nasbench201 import SPACE
from tests.integer.programs import Quantized


def encoded(graph):
    (found,) = KernelEncoder()([graph])
    return found


def network():
    b = GraphBuilder("net")
    x = b.input((1, 16, 8, 8))
    for _ in range(2):
        x = b.relu(b.batch_norm(b.conv(x, 16, 3)))
    return b.build(b.gemm(b.flatten(b.global_average_pool(x)), 10))


def test_images_that_change_their_layout_are_kernels_which_earlier_predictors_do_not_know():
    b = GraphBuilder("net")
    graph = b.build(b.conv(b.input((1, 16, 8, 8)), 16))
    found = encoded(graph)
    assert dict(zip(found.kinds, found.counts.tolist(), strict=True)) == {"pointwise": 1, "Reorder inserted": 2}
    (earlier,) = KernelEncoder(with_moves=False)([graph])
    assert earlier.kinds == ("pointwise",)


def test_kernels_that_are_equal_are_counted_and_views_are_none():
    found = encoded(network())
    counts = dict(zip(found.kinds, found.counts.tolist(), strict=True))
    assert counts["convolution"] == 2
    assert not any("Flatten" in kind for kind in found.kinds)
    assert sum(counts.values()) - counts["Reorder inserted"] == len(network().nodes) - 1


def test_all_work_of_the_graph_is_in_its_kernels():
    graph = network()
    (found,), whole = KernelEncoder(with_moves=False)([graph]), cost.of(graph)
    assert found.counts @ found.amounts == pytest.approx([whole.macs / 1e6, whole.moved_bytes / 1e6])
    np.testing.assert_allclose(
        found.counts @ (2 ** found.features[:, FEATURES.index("macs")] - 1), whole.macs, rtol=1e-9
    )


def test_the_kind_says_what_the_runtime_may_do_with_an_operator():
    kinds = encoded(network()).kinds
    assert {"convolution", "BatchNormalization fused", "Relu fused", "GlobalAveragePool", "linear row"} <= set(kinds)
    b = GraphBuilder("dead")
    x = b.input((1, 4, 8, 8))
    b.conv(x, 4)
    assert "pointwise dead" in encoded(b.build(b.relu(x))).kinds


@pytest.mark.parametrize(
    ("groups", "kernel", "kind"), [(1, 1, "pointwise"), (1, 3, "convolution"), (4, 3, "grouped"), (16, 3, "depthwise")]
)
def test_convolutions_are_told_apart(groups, kernel, kind):
    b = GraphBuilder("net")
    assert encoded(b.build(b.conv(b.input((1, 16, 8, 8)), 16, kernel, groups=groups))).kinds[0] == kind


def test_an_operator_without_a_rule_is_missing_and_the_others_are_there():
    b = GraphBuilder("odd")
    found = encoded(b.build(b.relu(b.unary("NoSuchOperator", b.input((1, 4))))))
    assert found.missing == ("NoSuchOperator",)
    assert found.kinds == ("Relu",)


def test_control_flow_whose_bodies_capture_is_missing_and_not_an_error():
    bodies = (("then_branch", branch("t")), ("else_branch", branch("e")))
    inputs = (Tensor("x", "float32", (2,)), Tensor("c", "bool", ()))
    found = encoded(Graph(inputs, ("y",), (Node("If", ("c",), ("y",), bodies),)))
    assert found.missing == ("If",)


def branch(output: str) -> Graph:
    return Graph((), (output,), (Node("Relu", ("x",), (output,)),))


def test_each_kernel_knows_its_nodes():
    graph = network()
    found = encoded(graph)
    for kind, nodes in zip(found.kinds, found.nodes, strict=True):
        if kind == "convolution":
            assert [graph.nodes[i].op for i in nodes] == ["Conv", "Conv"]


def test_anything_but_a_graph_is_refused():
    with pytest.raises(InputError, match="a graph is needed"):
        KernelEncoder()([(1, 2)])


def test_an_encoder_that_has_seen_other_networks_gives_the_same_bits():
    encoder = KernelEncoder()
    for arch in [(3, 1, 2, 4, 0, 3), (0, 0, 0, 0, 0, 0), (2, 2, 3, 3, 4, 1)]:
        graph = SPACE.graph(arch)
        as_read = Graph.from_json(graph.to_json())  # whose equal layers share no objects
        for found in encoder([graph, as_read]):
            fresh = encoded(as_read)
            assert (found.kinds, found.nodes, found.missing) == (fresh.kinds, fresh.nodes, fresh.missing)
            for name in ("counts", "features", "amounts"):
                assert getattr(found, name).tobytes() == getattr(fresh, name).tobytes()


def by_runtime(graph, *executed):
    (found,) = KernelEncoder()([graph], [[ExecutedKernel(*kernel) for kernel in executed]])
    return found


def test_the_runtime_tells_which_operator_a_kernel_is_named_after_and_which_it_absorbs():
    b = GraphBuilder("net")
    graph = b.build(b.relu(b.batch_norm(b.conv(b.input((1, 16, 8, 8)), 16, 3))))
    assert by_runtime(graph, ("Conv", (0, 1, 2))).kinds == (
        "convolution", "absorbed", "absorbed",
    )  # fmt: skip


def test_a_kernel_of_several_operators_without_a_product_is_named_after_the_runtimes_own():
    b = GraphBuilder("gelu")
    graph = b.build(b.gelu(b.input((1, 64))))
    kinds = by_runtime(graph, ("Gelu", tuple(range(len(graph.nodes))))).kinds
    assert kinds[0] == f"{encoded(graph).kinds[0].partition(' of ')[0]} in Gelu"
    assert set(kinds[1:]) == {"absorbed"}


def test_the_runtimes_implementation_of_a_product_is_part_of_its_kind():
    b = GraphBuilder("net")
    graph = b.build(b.relu(b.conv(b.input((1, 16, 8, 8)), 16, 3)))
    assert by_runtime(graph, ("Conv", (0, 1), "", "blocked")).kinds == ("convolution by blocked", "absorbed")
    executed = [ExecutedKernel("Conv", (0, 1), "", "blocked")]
    (earlier,) = KernelEncoder(with_choices=False)([graph], [executed])
    assert earlier.kinds == ("convolution", "Relu absorbed")


def test_where_the_runtime_tells_the_work_of_its_loops_that_of_the_operators_does_not_count():
    b = GraphBuilder("odd 1-2")
    graph = b.build(b.relu(b.unary("NoSuchOperator", b.input((1, 4)))))
    loop = Work("loop", {"macs": 3e6, "weight bytes": 1e6, "output bytes": 1e6})
    found = by_runtime(
        graph, ("border", (), "", "", Work("entry inserted", {"element operations": 4})), ("A", (0,), "", "", loop),
        ("A", (1,), "", "", loop),
    )  # fmt: skip
    assert (found.kinds, found.nodes, found.missing) == (("entry inserted", "loop"), ((), (0, 1)), ())
    assert found.counts.tolist() == [1, 2]
    assert found.amounts.tolist() == [[4e-6, 0], [3, 2]]
    assert found.features[1, FEATURES.index("macs")] == np.log2(1 + 3e6)


def test_an_earlier_predictor_sees_the_operators_where_the_runtime_tells_its_work():
    b = GraphBuilder("net")
    graph = b.build(b.relu(b.conv(b.input((1, 16, 8, 8)), 16, 3)))
    kernels = [ExecutedKernel("border", ()), ExecutedKernel("Convolution", (0, 1))]
    told = [kernel._replace(work=Work("loop", {"macs": 3})) for kernel in kernels]
    earlier = KernelEncoder(with_work=False)
    assert earlier([graph], [told])[0].kinds == earlier([graph], [kernels])[0].kinds


def test_sizes_of_a_loop_that_no_predictor_knows_are_refused():
    b = GraphBuilder("net")
    with pytest.raises(InputError, match="'loop' has sizes that are not known: flops"):
        by_runtime(b.build(b.relu(b.input((1, 4)))), ("A", (0,), "", "", Work("loop", {"flops": 3})))


def test_what_the_runtime_does_not_execute_is_no_kernel_and_its_work_need_not_be_known():
    b = GraphBuilder("odd")
    found = by_runtime(b.build(b.relu(b.unary("NoSuchOperator", b.input((1, 4))))), ("Relu", (1,)))
    assert (found.kinds, found.missing) == (("Relu",), ())


def test_a_kernel_that_the_runtime_inserted_moves_its_tensor():
    graph = network()
    name = graph.nodes[0].outputs[0]
    found = by_runtime(graph, ("Conv", (0,)), ("ReorderOutput", (), name))
    assert found.kinds == ("convolution", "ReorderOutput inserted")
    assert found.nodes == ((0,), ())
    assert found.amounts[1].tolist() == [0, 2 * 16 * 8 * 8 * 4 / 1e6]


def test_a_transposition_that_the_runtime_inserted_is_one_like_those_of_the_network():
    graph = network()
    assert by_runtime(graph, ("Transpose", (), graph.nodes[0].outputs[0])).kinds == ("Transpose",)


def test_a_view_that_the_runtime_inserted_moves_nothing():
    graph = network()
    found = by_runtime(graph, ("Reshape", (), graph.nodes[0].outputs[0]))
    assert found.kinds == ("Reshape inserted",)
    assert found.amounts.tolist() == [[0, 0]]


def test_a_kernel_of_integers_is_named_after_what_it_computes_and_not_after_its_conversions():
    b = Quantized("net", opset=21)
    x = b.q(b.relu(b.q(b.input((1, 64)))))
    graph = b.build(x)
    relu = next(i for i, node in enumerate(graph.nodes) if node.op == "Relu")
    found = by_runtime(graph, ("Table", (relu - 1, relu, relu + 1)))
    assert sorted(found.kinds)[0].startswith("Relu in Table")


def test_a_product_that_the_runtime_computes_with_integers_is_of_another_kind():
    b = Quantized("net", opset=21)
    graph = b.build(b.q(b.matmul(b.q(b.input((4, 8))), b.q(b.input((8, 8))))))
    found = by_runtime(graph, ("QLinearMatMul", tuple(range(len(graph.nodes)))))
    assert [kind for kind in found.kinds if kind != "absorbed"] == ["product quantized"]


def test_a_stored_matrix_multiplies_each_row_from_the_right_and_each_matrix_from_the_left():
    b = GraphBuilder("net")
    x = b.input((5, 8, 8))
    kinds = encoded(b.build(b.matmul(b.weight((8, 8)), x), b.matmul(x, b.weight((8, 8))))).kinds
    assert kinds == ("product", "linear")


def test_a_recurrence_in_two_directions_is_told_apart():
    b = GraphBuilder("net")
    x = b.input((5, 1, 8))
    weights = [b.weight((2, 32, 8)), b.weight((2, 32, 8))]
    (y,) = b.nodes("LSTM", [x, *weights], [("float32", (5, 2, 1, 8))], direction="bidirectional", hidden_size=8)
    whole = encoded(b.build(y))
    alone = GraphBuilder("net")
    one = encoded(alone.build(alone.lstm(alone.input((5, 1, 8)), 8)))
    groups = FEATURES.index("groups")
    assert whole.features[0, groups] == 1 > one.features[0, groups] == 0


def test_stored_integers_are_weights():
    b = Quantized("net", opset=21)
    graph = b.build(b.q(b.matmul(b.q(b.input((2, 64))), b.w((64, 40)))))
    assert any(kind.startswith("linear") for kind in encoded(graph).kinds)
    (earlier,) = KernelEncoder(with_moves=False)([graph])
    assert any(kind.startswith("product") for kind in earlier.kinds)
