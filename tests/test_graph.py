import json
import math
import os
import subprocess
import sys
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hwprof import onnx_io
from hwprof.builder import GraphBuilder
from hwprof.errors import InputError
from hwprof.graph import Constant, Graph, Node, Tensor, captured, sort_nodes


def relu_chain(length: int, size: int = 4) -> Graph:
    b = GraphBuilder("chain")
    x = b.input((1, size))
    for _ in range(length):
        x = b.relu(x)
    return b.build(x)


def branch(output: str, read: str) -> Graph:
    return Graph((), (output,), (Node("Relu", (read,), (output,)),))


def conditional(then_reads: str = "x", else_reads: str = "x") -> Graph:
    bodies = (("then_branch", branch("t", then_reads)), ("else_branch", branch("e", else_reads)))
    inputs = (Tensor("x", "float32", (2,)), Tensor("z", "float32", (2,)), Tensor("c", "bool", ()))
    return Graph(inputs, ("y",), (Node("If", ("c",), ("y",), bodies),))


@st.composite
def networks(draw: st.DrawFn) -> Graph:
    """Small convolutional networks with branches, reshapes, clips and dead ends."""
    b = GraphBuilder("random")
    tensors = [b.input((1, draw(st.sampled_from([2, 4])), 6, 6))]
    for _ in range(draw(st.integers(1, 7))):
        x = draw(st.sampled_from(tensors))
        step = draw(st.sampled_from(["conv", "relu", "clip", "add", "concat", "pool", "norm", "transpose", "split"]))
        same = [t for t in tensors if b.shape(t) == b.shape(x)]
        if step == "conv":
            groups = draw(st.sampled_from([1, 2]))
            y = b.conv(x, draw(st.sampled_from([2, 4])), draw(st.sampled_from([1, 3])), groups=groups, bias=True)
        elif step == "clip":
            y = b.clip(x, -1.0, draw(st.sampled_from([1.0, 6.0])))
        elif step == "add":
            y = b.add(x, draw(st.sampled_from(same)))
        elif step == "concat":
            y = b.concat([x, draw(st.sampled_from(same))])
        elif step == "pool":
            y = b.pool(draw(st.sampled_from(["MaxPool", "AveragePool"])), x, 3, 1, 1)
        elif step == "transpose":
            y = b.transpose(x, (0, 1, 3, 2))
        elif step == "split":
            y = b.split(x, [1, b.shape(x)[1] - 1], 1)[0]
            y = b.concat([y, y])
        else:
            y = b.relu(x) if step == "relu" else b.batch_norm(x)
        tensors.append(y)
    last = tensors[-1]
    return b.build(b.gemm(b.reshape(last, (1, math.prod(b.shape(last)))), 3))


def renamed(graph: Graph, order: list[Node]) -> Graph:
    """The same network with every tensor, operator and the graph renamed, and the operators in another order."""
    names = sorted({t.name for t in (*graph.inputs, *graph.weights, *graph.constants)} | {
        o for n in graph.nodes for o in n.outputs
    })  # fmt: skip
    new = {name: f"renamed {i}" for i, name in enumerate(names)} | {"": ""}
    return replace(
        graph,
        inputs=tuple(replace(t, name=new[t.name]) for t in graph.inputs),
        outputs=tuple(new[o] for o in graph.outputs),
        nodes=tuple(
            replace(n, inputs=tuple(new[i] for i in n.inputs), outputs=tuple(new[o] for o in n.outputs), name="other")
            for n in order
        ),
        weights=tuple(replace(t, name=new[t.name]) for t in reversed(graph.weights)),
        constants=tuple(replace(t, name=new[t.name]) for t in reversed(graph.constants)),
        values=(),
        name="other",
        source="/other.onnx",
    )


# -- the digest --------------------------------------------------------------------------------------


@given(networks(), st.randoms(use_true_random=False))
@settings(max_examples=40, deadline=None)
def test_neither_names_nor_the_order_of_independent_operators_change_the_digest(graph, random):
    shuffled = list(graph.nodes)
    random.shuffle(shuffled)
    order = sort_nodes(shuffled, [t.name for t in (*graph.inputs, *graph.weights, *graph.constants)])
    other = renamed(graph, list(order))
    assert other.digest == graph.digest
    assert other == graph
    assert hash(other) == hash(graph)


@given(networks())
@settings(max_examples=40, deadline=None)
def test_writing_and_reading_a_file_keeps_digest_and_types(tmp_path_factory, graph):
    path = tmp_path_factory.mktemp("round") / "net.onnx"
    onnx_io.save(graph, path)
    back = onnx_io.load(path)
    assert back.digest == graph.digest
    assert {t.name: t for t in back.values} == {t.name: t for t in graph.values}


@given(networks())
@settings(max_examples=40, deadline=None)
def test_json_keeps_everything(graph):
    line = graph.to_json()
    back = Graph.from_json(line)
    assert "\n" not in line
    assert back.digest == graph.digest
    assert back.to_json() == line


def test_weight_values_do_not_change_the_digest(tmp_path, tiny_graph):
    digests = set()
    for seed in (0, 1):
        onnx_io.save(tiny_graph, tmp_path / "net.onnx", seed)
        digests.add(onnx_io.load(tmp_path / "net.onnx").digest)
    assert digests == {tiny_graph.digest}


PRINT_DIGEST = "import sys; from hwprof.graph import Graph; print(Graph.from_json(sys.stdin.read()).digest)"


@pytest.mark.parametrize("hash_seed", ["1", "4242"])
def test_the_digest_is_the_same_in_every_process(tiny_graph, hash_seed):
    done = subprocess.run(
        [sys.executable, "-c", PRINT_DIGEST],
        input=tiny_graph.to_json(), capture_output=True, text=True, check=True,
        env={**os.environ, "PYTHONHASHSEED": hash_seed},
    )  # fmt: skip
    assert done.stdout.strip() == tiny_graph.digest


def test_the_digest_of_a_known_graph_is_known():
    """Stored measurements are found by it; when this fails, every store loses its measurements."""
    assert relu_chain(1).digest == "fc062e97a5c2197f78dc625d18da5a7d"


def changed(graph: Graph, **node_change: object) -> Graph:
    return replace(graph, nodes=(replace(graph.nodes[0], **node_change), *graph.nodes[1:]))


def convolution() -> Graph:
    b = GraphBuilder("conv")
    return b.build(b.conv(b.input((1, 4, 8, 8)), 4, 3))


@pytest.mark.parametrize(
    "other",
    [
        replace(convolution(), inputs=(Tensor("input0", "float32", (2, 4, 8, 8)),)),
        replace(convolution(), inputs=(Tensor("input0", "float16", (1, 4, 8, 8)),)),
        replace(convolution(), weights=(Tensor("w0", "float32", (8, 4, 3, 3)),)),
        replace(convolution(), opsets=(("", 18),)),
        changed(convolution(), op="ConvInteger"),
        changed(convolution(), domain="my"),
        changed(convolution(), attributes=convolution().nodes[0].attributes[1:]),
    ],
    ids=["input shape", "input type", "weight shape", "opset", "operator", "domain", "attributes"],
)
def test_what_the_network_computes_changes_the_digest(other):
    assert other.digest != convolution().digest


def test_the_order_of_operands_counts():
    def difference(order: tuple[str, str]) -> Graph:
        inputs = tuple(Tensor(n, "float32", (2,)) for n in "ab")
        return Graph(inputs, ("y",), (Node("Sub", order, ("y",)),))

    assert difference(("a", "b")) != difference(("b", "a"))


def test_the_order_of_attributes_does_not_count():
    conv = convolution()
    assert changed(conv, attributes=conv.nodes[0].attributes[::-1]) == conv


def test_a_dead_branch_counts_since_eager_runtimes_execute_it():
    chain = relu_chain(2)
    assert replace(chain, nodes=(*chain.nodes, Node("Exp", ("input0",), ("dead",)))) != chain


@pytest.mark.parametrize(
    ("dtype", "counts"), [("int64", True), ("bool", True), ("float32", False), ("bfloat16", False)]
)
def test_integer_constants_count_with_values_and_floats_with_types_only(dtype, counts):
    def graph(value: int) -> Graph:
        constant = Constant("c", dtype, (1,), (value,))
        return Graph((Tensor("x", dtype, (1,)),), ("y",), (Node("Add", ("x", "c"), ("y",)),), constants=(constant,))

    assert (graph(0) != graph(1)) is counts


def test_float_attributes_count_as_a_file_holds_them_in_32_bits():
    def leaky(alpha: float) -> Graph:
        return changed(relu_chain(1), op="LeakyRelu", attributes=(("alpha", alpha),))

    assert leaky(0.1) == leaky(0.10000000149011612)
    assert leaky(0.1) != leaky(0.10001)


def test_what_a_control_flow_body_captures_counts():
    assert conditional("x", "x") == conditional("x", "x")
    assert conditional("x", "z") != conditional("x", "x")


def test_a_body_has_a_digest_without_the_graph_around_it():
    assert branch("t", "x") == branch("t", "x")
    assert branch("t", "x") != branch("t", "z")
    assert Graph((), ("x",), ()) != Graph((), ("z",), ())  # a branch that only hands on what it captures


def test_a_graph_is_not_equal_to_anything_else():
    assert relu_chain(1) != "chain"


# -- parts -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("dtype", "shape", "size_bytes"),
    [
        ("float32", (2, 3), 24),
        ("int4", (3,), 2),
        ("uint4", (4,), 2),
        ("bool", (7,), 7),
        ("float64", (), 8),
        ("int8", (0, 5), 0),
    ],
)
def test_sizes_round_up_to_whole_bytes(dtype, shape, size_bytes):
    assert Tensor("t", dtype, shape).size_bytes == size_bytes


def test_a_type_of_unknown_size_is_named():
    with pytest.raises(InputError, match="'t' has type 'string', whose size is unknown"):
        _ = Tensor("t", "string", (2,)).size_bytes


def test_an_attribute_that_is_not_set_has_the_default():
    node = Node("Conv", ("x",), ("y",), (("group", 4),))
    assert (node.attribute("group"), node.attribute("strides"), node.attribute("strides", (1, 1))) == (4, None, (1, 1))


def test_the_type_of_an_unknown_tensor_is_an_error_that_names_it():
    with pytest.raises(InputError, match="tensor 'lost' is not known in graph 'chain'"):
        relu_chain(1).shape("lost")


def test_weight_bytes_count_weights_and_constants():
    weight, constant = Tensor("w", "int8", (10,)), Constant("c", "int64", (2,), (1, 2))
    assert Graph((), (), (), (weight,), (constant,)).weight_bytes == 10 + 16


def test_producers_and_consumers_include_what_bodies_read():
    graph = conditional("x", "z")
    (node,) = graph.nodes
    assert captured(node) == {"x", "z"}
    assert graph.producers() == {"y": node}
    assert graph.consumers() == {"c": [node], "x": [node], "z": [node]}


def test_live_drops_what_no_output_depends_on():
    b = GraphBuilder("g")
    x = b.input((1, 4))
    y = b.relu(b.gemm(x, 2))
    b.gemm(b.clip(x, 0.0, 1.0), 8)
    live = b.build(y).live()
    assert [n.op for n in live.nodes] == ["Gemm", "Relu"]
    assert [t.shape for t in live.weights] == [(2, 4), (2,)]
    assert live.constants == ()
    assert len(live.values) == 2


def test_live_keeps_what_a_body_reads():
    b = replace(conditional("r", "x"), source="f.onnx")
    graph = replace(b, nodes=(Node("Exp", ("x",), ("r",)), *b.nodes))
    assert graph.live() is graph


def test_a_graph_that_lost_operators_is_not_its_source_any_more():
    chain = replace(relu_chain(1), source="f.onnx")
    assert replace(chain, nodes=(*chain.nodes, Node("Exp", ("input0",), ("d",)))).live().source is None


def test_a_new_name_leaves_the_source_unless_one_is_given():
    graph = replace(relu_chain(1), source="a.onnx")
    assert (graph.renamed("n").name, graph.renamed("n").source) == ("n", "a.onnx")
    assert graph.renamed("n", "b.onnx").source == "b.onnx"


def test_json_keeps_bodies_tensor_attributes_and_the_source():
    fill = Node("ConstantOfShape", ("s",), ("f",), (("value", Constant("", "float32", (1,), (0.5,))),))
    graph = replace(conditional(), constants=(Constant("s", "int64", (1,), (3,)),), source="f.onnx")
    graph = replace(graph, nodes=(*graph.nodes, fill))
    back = Graph.from_json(graph.to_json())
    assert back.digest == graph.digest
    assert back.nodes[1] == fill
    assert captured(back.nodes[0]) == {"x"}
    assert back.constants == graph.constants
    assert back.source == "f.onnx"


@pytest.mark.parametrize("text", ["", "{}", "[1]", "null", '{"inputs": 3}', json.dumps(relu_chain(1).to_json())])
def test_text_that_is_no_graph_is_refused(text):
    with pytest.raises(InputError, match="not a graph in JSON"):
        Graph.from_json(text)


# -- sorting -----------------------------------------------------------------------------------------


def test_json_does_not_lose_an_attribute_that_occurs_twice():
    graph = Graph((), ("y",), (Node("Relu", ("",), ("y",), (("a", 1), ("a", 2))),))
    with pytest.raises(InputError, match="operator Relu has an attribute twice"):
        graph.to_json()


def test_a_name_of_an_operator_that_is_not_utf_8_has_a_digest():
    def digest(op: str) -> str:
        return Graph((), ("y",), (Node(op, ("",), ("y",)),)).digest

    assert digest(b"\xff".decode("utf-8", "surrogateescape")) != digest("?")


def test_json_that_is_nested_200_000_deep_is_refused():
    with pytest.raises(InputError, match="not a graph in JSON"):
        Graph.from_json("[" * 200_000)


def test_operators_are_sorted_by_what_they_read_and_left_in_place_where_they_may():
    a, b, c = (Node("Relu", (i,), (o,)) for i, o in (("x", "a"), ("a", "b"), ("x", "c")))
    assert sort_nodes([b, a, c], ["x"]) == (a, c, b)
    assert sort_nodes([a, b, c], ["x"]) == (a, b, c)


def test_a_body_is_sorted_behind_what_it_captures():
    node = conditional("r").nodes[0]
    exp = Node("Exp", ("x",), ("r",))
    assert sort_nodes([node, exp], ["x", "c"]) == (exp, node)


def test_a_list_in_the_worst_order_is_sorted_in_one_walk():
    """20,000 operators took 87 s when each pass over them found one."""
    chain = [Node("Relu", (f"t{i}",), (f"t{i + 1}",)) for i in range(20_000)]
    assert list(sort_nodes(reversed(chain), {"t0"})) == chain


def test_the_sorted_order_is_that_of_repeated_passes():
    """Digests ignore the order, weights drawn in it do not."""
    late, early, free = Node("A", ("e",), ("l",)), Node("B", ("x",), ("e",)), Node("C", ("x",), ("f",))
    assert sort_nodes([late, early, free], {"x"}) == (early, free, late)


def test_a_cycle_is_an_error_that_names_an_operator_in_it():
    with pytest.raises(InputError, match="cycle through operator Add 'first'"):
        sort_nodes([Node("Add", ("x", "b"), ("a",), name="first"), Node("Relu", ("a",), ("b",))], ["x"])


def test_an_input_that_nothing_produces_is_an_error_that_names_it():
    with pytest.raises(InputError, match="operator Relu reads 'lost', which nothing produces"):
        sort_nodes([Node("Relu", ("lost",), ("y",))], ["x"])


def test_a_node_without_a_name_is_labelled_by_its_first_output():
    assert Node("Split", ("x",), ("", "y")).label == "y"
    assert Node("Split", ("x",), ("", "y"), name="split").label == "split"


def test_the_live_graph_keeps_the_types_of_outputs_that_nobody_reads():
    split = Node("Split", ("x",), ("a", "unread"), (("axis", 0),))
    dead = Node("Relu", ("x",), ("dead",))
    values = tuple(Tensor(name, "float32", (2,)) for name in ("a", "unread", "dead"))
    graph = Graph((Tensor("x", "float32", (4,)),), ("a",), (split, dead), values=values)
    assert [t.name for t in graph.live().values] == ["a", "unread"]
