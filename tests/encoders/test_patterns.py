from hwprof.backends.onnxruntime import BACKEND
from hwprof.builder import GraphBuilder
from hwprof.device import Device
from hwprof.encoders.patterns import places


def found(graph):
    return [(graph.nodes[i].op, place) for i, place in sorted(places(graph).items())]


def gelu():
    b = GraphBuilder("gelu")
    return b.build(b.gelu(b.input((1, 4, 32))))


def silu():
    b = GraphBuilder("silu")
    x = b.relu(b.input((1, 4, 32)))
    return b.build(b.mul(x, b.unary("Sigmoid", x)))


def before_normalization():
    b = GraphBuilder("sum")
    x, y = b.relu(b.input((1, 4, 32))), b.relu(b.input((1, 4, 32)))
    return b.build(b.layer_norm(b.add(x, y)))


def biased():
    b = GraphBuilder("bias")
    return b.build(b.relu(b.linear(b.input((1, 4, 32)), 32)))


def test_a_gelu_is_five_operators():
    assert found(gelu()) == [(op, "of GELU") for op in ("Div", "Erf", "Add", "Mul", "Mul")]


def test_a_gelu_in_the_order_of_another_exporter_is_found():
    b = GraphBuilder("gelu")
    x = b.relu(b.input((1, 4, 32)))
    one, half, root = (b.constant([v], "float32", scalar=True) for v in (1.0, 0.5, 0.7071))
    y = b.add(b.unary("Erf", b.mul(x, root)), one)
    graph = b.build(b.mul(b.mul(x, y), half))
    assert found(graph) == [(op, "of GELU") for op in ("Mul", "Erf", "Add", "Mul", "Mul")]


def test_a_silu_is_two_operators():
    assert found(silu()) == [("Sigmoid", "of SiLU"), ("Mul", "of SiLU")]


def test_a_sigmoid_times_another_tensor_is_no_silu():
    b = GraphBuilder("gate")
    x, y = b.input((1, 4, 32)), b.input((1, 4, 32))
    assert not places(b.build(b.mul(y, b.unary("Sigmoid", x))))


def test_sums_biases_and_activations_beside_norms_and_products():
    assert found(before_normalization()) == [("Add", "before normalization")]
    assert found(biased()) == [("Add", "of a bias")]
    b = GraphBuilder("norm")
    assert found(b.build(b.relu(b.batch_norm(b.input((1, 4, 8, 8)))))) == [("Relu", "after normalization")]


def test_a_result_with_other_readers_ends_a_pattern():
    b = GraphBuilder("norm")
    x = b.batch_norm(b.input((1, 4, 8, 8)))
    assert not places(b.build(b.add(x, b.relu(x))))


def test_onnx_runtime_runs_a_gelu_as_one_kernel():
    """The comparison that these patterns come from."""
    kernels = BACKEND.executed(gelu(), Device.load("cpu-1t"))
    assert [kernel.nodes for kernel in kernels] == [tuple(range(5))]


def test_onnx_runtime_adds_before_a_normalization_in_its_kernel():
    kernels = BACKEND.executed(before_normalization(), Device.load("cpu-1t"))
    assert [kernel.nodes for kernel in kernels if kernel.nodes][-1] == (2, 3)
