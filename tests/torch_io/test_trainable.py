"""Graphs that train: in evaluation mode against ONNX Runtime on the written .onnx, after steps of training."""

import copy

import numpy as np
import onnxruntime
import pytest
import torch
from torch import nn

from hwprof import onnx_io, plugins, workloads
from hwprof.builder import GraphBuilder
from hwprof.errors import InputError, UnknownOperatorError
from hwprof.spaces import sampling
from hwprof.spaces.blockqnn import BlockQnn
from hwprof.spaces.darts import Darts
from hwprof.spaces.fbnet import FBNet
from hwprof.spaces.generic import GenericSpace
from hwprof.spaces.hat import Hat
from hwprof.spaces.nasbench201 import NasBench201
from hwprof.spaces.ofa_mbv3 import OfaMobileNetV3
from hwprof.spaces.resnet_shrink import ResNetShrink
from hwprof.spaces.rnn_lm import RnnLanguageModel
from hwprof.torch_io import as_tensor, trainable, weights_of
from hwprof.variants.quantize import quantize
from hwprof.variants.weights import load_weights, save_trained

SMALL = {
    "blockqnn": BlockQnn(layers=5, blocks=1, channels=4, resolution=8),
    "darts": Darts(channels=4, cells=3, resolution=8),
    "fbnet": FBNet(resolution=32, last_channels=16, classes=3),
    "generic": GenericSpace(),
    "hat": Hat(tokens=3, vocabulary=20),
    "nasbench201": NasBench201(channels=4, cells=1, resolution=8),
    "ofa_mbv3": OfaMobileNetV3(classes=3),
    "resnet_shrink": ResNetShrink((1, 1, 1, 1), resolution=8),
    "rnn_lm": RnnLanguageModel(vocabulary=20),
}
ALL_OPERATIONS = {
    "generic": (GenericSpace.families.index("residual"), 21),
    "nasbench201": (1, 2, 3, 4, 3, 2),
    "ofa_mbv3": None,
    "rnn_lm": (1, 0, 0, 1, 1),
}
# With operators that no space has; all others run by hand, at up to 30 s each.
WORKLOADS = [
    "bert_tiny", "light_shufflenet", "light_squeezenet", "lstm_lm", "mobilenet_v2", "separation_network",
    "super_resolution",
]  # fmt: skip


def arch_of(name):
    space = SMALL[name]
    (arch,) = sampling.random_archs(space, 1, np.random.default_rng(1))
    if name == "ofa_mbv3":
        return (*arch[:-1], 0)  # 128 x 128
    return ALL_OPERATIONS.get(name, arch)


def batch_of(graph, size, seed=0):
    """Random inputs, the batch of which is the axis of length 1."""
    inputs = []
    for i in range(size):
        arrays = onnx_io.random_inputs(graph, seed + i)
        inputs.append([as_tensor(arrays[t.name], t.dtype) for t in graph.inputs])
    return [torch.cat(parts, parts[0].shape.index(1)) for parts in zip(*inputs, strict=True)]


def outputs_of(network, inputs):
    outputs = network(*inputs)
    return outputs if isinstance(outputs, tuple) else (outputs,)


def train(network, steps=2, size=3, rate=1e-3):
    """Steps of SGD on random inputs and targets. Returns the names of parameters that no gradient reached; that of a
    shift may be 0, before a ReLU that lets nothing through."""
    network.train()
    generator = torch.Generator().manual_seed(0)
    optimizer = torch.optim.SGD(network.weights(), rate)
    targets = {}
    for step in range(steps):
        outputs = outputs_of(network, batch_of(network.graph, size, seed=10 * step))
        optimizer.zero_grad()
        sum(
            (y - targets.setdefault(i, torch.randn(y.shape, generator=generator))).square().mean()
            for i, y in enumerate(outputs)
        ).backward()
        torch.nn.utils.clip_grad_norm_(network.weights(), 1.0)
        optimizer.step()
    trained = [(name, p.grad) for name, p in network.named_parameters() if p.requires_grad]
    return [name for name, grad in trained if grad is None or not (grad.dim() == 1 or grad.any())]


def check_against_onnx_runtime(network, folder, tolerance=1e-4):
    """At batch 1, largest difference relative to the largest value."""
    graph = save_trained(network, folder / "trained.onnx")
    options = onnxruntime.SessionOptions()
    if any(node.op == "QuantizeLinear" for node in graph.nodes):  # optimized, its int8 saturates on x86 without VNNI
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(graph.source, options, providers=["CPUExecutionProvider"])
    wanted = session.run(None, onnx_io.random_inputs(graph))
    with torch.no_grad():
        got = outputs_of(network.eval(), batch_of(graph, 1))
    for expected, value in zip(wanted, got, strict=True):
        assert np.abs(value.numpy() - expected).max() < tolerance * np.abs(expected).max()


@pytest.mark.parametrize("name", plugins.names("space"))
def test_a_network_of_a_space_trains_and_runs_as_its_file_does(name, tmp_path):
    network = trainable(SMALL[name].graph(arch_of(name)))
    assert train(network) == []
    check_against_onnx_runtime(network, tmp_path)


@pytest.mark.parametrize("name", WORKLOADS)
def test_a_workload_trains_and_runs_as_its_file_does(name, tmp_path):
    graph = workloads.build(name)
    network = trainable(graph, load_weights(graph))
    assert train(network, steps=1, size=2) == []
    check_against_onnx_runtime(network, tmp_path)


def test_the_other_workloads_have_no_operator_of_their_own():
    tested = {n.op for name in WORKLOADS for n in workloads.build(name).nodes}
    tested |= {n.op for name, space in SMALL.items() for n in space.graph(arch_of(name)).nodes}
    others = {n.op for name in set(workloads.names()) - set(WORKLOADS) for n in workloads.build(name).nodes}
    assert others - tested <= {"LRN", "Sum", "HardSwish"}


@pytest.mark.parametrize("name", ["darts", "hat", "rnn_lm"])
def test_a_batch_gives_the_outputs_of_its_examples(name):
    network = trainable(SMALL[name].graph(arch_of(name))).eval()
    examples = [batch_of(network.graph, 1, seed) for seed in range(5)]
    axis = examples[0][0].shape.index(1)
    batch = [torch.cat(parts, axis) for parts in zip(*examples, strict=True)]
    with torch.no_grad():
        together = network(*batch)
        alone = torch.cat([network(*example) for example in examples], axis)
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)


# -- a network by hand -------------------------------------------------------------------------------


def block():
    """Convolution, batch norm, dropout, classifier; one weight that nothing reads."""
    b = GraphBuilder("block")
    x = b.relu(b.batch_norm(b.conv(b.input((1, 3, 4, 4)), 4, 3)))
    x = b.node("Dropout", [x, b.constant([0.5], "float32", scalar=True)], b.shape(x))
    b.weight((2,), name="unread")
    return b.build(b.gemm(b.flatten(b.global_average_pool(x)), 5))


def images(n=6, seed=0):
    return torch.randn(n, 3, 4, 4, generator=torch.Generator().manual_seed(seed))


def test_the_running_statistics_move_by_the_momentum_of_the_node():
    network = trainable(block())
    network(images())
    convolved = torch.conv2d(images(), network.tensor("w0"), padding=1)
    torch.testing.assert_close(network.tensor("w3"), 0.1 * convolved.mean((0, 2, 3)).detach())
    network.eval()(images())
    torch.testing.assert_close(network.tensor("w4"), 0.9 + 0.1 * convolved.var((0, 2, 3)).detach())


def test_dropout_drops_in_training_mode_only():
    network = trainable(block())
    with torch.no_grad():
        assert not torch.equal(network(images()), network(images()))
        network.eval()
        assert torch.equal(network(images()), network(images()))


def test_without_weights_they_are_drawn_by_the_seed_gains_1_and_shifts_0():
    first, again, other = (weights_of(trainable(block(), seed=seed)) for seed in (1, 1, 2))
    assert all(np.array_equal(first[name], again[name]) for name in first)
    assert not np.array_equal(first["w0"], other["w0"])
    assert [first[name].tolist() for name in ("w1", "w2", "w3", "w4")] == [[1] * 4, [0] * 4, [0] * 4, [1] * 4]


def test_weights_come_back_as_they_were_given():
    graph = block()
    given = load_weights(graph, seed=3)
    back = weights_of(trainable(graph, given))
    assert list(back) == [t.name for t in graph.weights]
    for name, array in back.items():
        assert array.dtype == given[name].dtype
        assert np.array_equal(array, given[name])


def test_weights_that_came_back_do_not_change_with_the_module():
    network = trainable(block())
    before = weights_of(network)
    kept = {name: array.copy() for name, array in before.items()}
    train(network, rate=0.1)
    assert all(np.array_equal(before[name], kept[name]) for name in before)
    assert not np.array_equal(before["w0"], weights_of(network)["w0"])


def test_a_weight_that_nothing_reads_and_statistics_do_not_train():
    network = trainable(block())
    learned = {t.name for t in network.graph.weights if network.tensor(t.name).requires_grad}
    assert learned == {"w0", "w1", "w2", "w6", "w7"}
    assert not network.tensor("unread").requires_grad


def test_a_mask_does_not_train():
    b = GraphBuilder("masked")
    scores = b.add(b.linear(b.input((1, 2, 4)), 2), b.weight((2, 2), name="mask"))
    graph = b.build(b.softmax(scores))
    mask = np.float32([[0, -1e9], [0, 0]])
    network = trainable(graph, {**load_weights(graph), "mask": mask})
    assert not network.tensor("mask").requires_grad
    assert len(network.weights()) == 2


def test_a_copy_has_its_own_weights():
    network = trainable(block())
    twin = copy.deepcopy(network)
    before = weights_of(network)
    train(twin, rate=0.1)
    assert all(np.array_equal(before[name], array) for name, array in weights_of(network).items())
    assert not np.array_equal(before["w3"], weights_of(twin)["w3"])


@pytest.mark.parametrize(
    ("weights", "fault"),
    [({}, "no value is given for weight 'w0' of 'block'"), ({"w0": np.zeros((4, 3))}, r"\[4, 3, 3, 3\], not \[4, 3\]")],
)
def test_weights_that_do_not_fit_are_refused(weights, fault):
    with pytest.raises(InputError, match=fault):
        trainable(block(), weights)


def test_an_operator_without_a_counterpart_is_named():
    b = GraphBuilder("odd")
    graph = b.build(b.node("Foo", [b.input((1, 4))], (1, 4)))
    with pytest.raises(UnknownOperatorError, match="operator Foo 'Foo_0' has no counterpart"):
        trainable(graph)


def test_channels_last_gives_the_same_gradients():
    """oneDNN 3.12 breaks the gradient of a strided 1x1 convolution of few channels in this format."""
    b = GraphBuilder("strided")
    graph = b.build(b.conv(b.relu(b.input((1, 4, 8, 8))), 2, 1, stride=2))
    x = torch.randn(8, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    plain, last = trainable(graph), trainable(graph).to(memory_format=torch.channels_last)
    for network, given in ((plain, x), (last, x.contiguous(memory_format=torch.channels_last))):
        network(given).square().sum().backward()
    torch.testing.assert_close(last.tensor("w0").grad, plain.tensor("w0").grad)


# -- recurrence --------------------------------------------------------------------------------------


@pytest.mark.parametrize("direction", ["forward", "bidirectional"])
def test_an_lstm_learns_in_the_layout_of_its_file(direction, tmp_path):
    ways = 2 if direction == "bidirectional" else 1
    b = GraphBuilder("lstm")
    weights = [b.weight(shape) for shape in ((ways, 16, 3), (ways, 16, 4), (ways, 32))]
    states = [b.weight((ways, 1, 4)) for _ in range(2)]
    shapes = [("float32", (5, ways, 1, 4)), ("float32", (ways, 1, 4)), ("float32", (ways, 1, 4))]
    inputs = [b.input((5, 1, 3)), *weights, "", *states]
    graph = b.build(*b.nodes("LSTM", inputs, shapes, hidden_size=4, direction=direction))
    network = trainable(graph, load_weights(graph))
    assert train(network, rate=0.1) == []
    check_against_onnx_runtime(network, tmp_path)


# -- quantized ---------------------------------------------------------------------------------------


def quantized():
    b = GraphBuilder("small")
    x = b.relu(b.batch_norm(b.conv(b.input((1, 3, 8, 8)), 8, 3)))
    return quantize(b.build(b.gemm(b.flatten(b.add(x, b.relu(b.conv(x, 8, 3)))), 5)))


def test_a_quantized_network_learns_its_integers(tmp_path):
    network = trainable(quantized(), load_weights(quantized()))
    before = weights_of(network)
    assert all(np.array_equal(before[name], load_weights(quantized())[name]) for name in before)
    assert {t.name for t in network.graph.weights if network.tensor(t.name).requires_grad} == set(before)
    assert train(network, rate=0.1) == []
    after = weights_of(network)
    assert after["w0_quantized"].dtype == np.int8
    assert not np.array_equal(after["w0_quantized"], before["w0_quantized"])
    # Integer kernels may round a tie the other way: steps of 8 bits.
    check_against_onnx_runtime(network, tmp_path, tolerance=0.03)


def test_operators_on_integers_do_not_train():
    b = GraphBuilder("integers")
    graph = b.build(b.node("QLinearSigmoid", [b.input((1, 4), "uint8", name="x")], (1, 4), "uint8"))
    with pytest.raises(UnknownOperatorError, match="operator QLinearSigmoid 'QLinearSigmoid_0' has no counterpart"):
        trainable(graph)


class _Doubled(nn.Module):
    def __init__(self):
        super().__init__()
        self.factor = nn.Parameter(torch.tensor(2.0))

    def forward(self, x):
        return self.factor * x


def test_an_inserted_module_changes_what_is_read_of_a_weight_and_of_a_result():
    b = GraphBuilder("net")
    hidden = b.relu(b.gemm(b.input((1, 4)), 3))
    graph = b.build(b.gemm(hidden, 2))
    plain, changed = trainable(graph), trainable(graph)
    weight = graph.nodes[-1].inputs[1]
    changed.insert(weight, _Doubled())
    changed.insert(hidden, _Doubled())
    changed.insert(hidden, _Doubled())
    x = torch.ones(2, 4)
    bias = plain.tensor(graph.nodes[-1].inputs[2])
    torch.testing.assert_close(changed(x) - bias, 8 * (plain(x) - bias))
    torch.testing.assert_close(weights_of(changed)[weight], weights_of(plain)[weight])
    assert len(list(changed.parameters())) == len(list(plain.parameters())) + 3
    with pytest.raises(InputError, match="'net' reads a tensor 'nope'"):
        changed.insert("nope", _Doubled())


class _Rows(nn.Module):
    """Each row of a matrix is the same."""

    def forward(self, row):
        return row.expand(3, -1)

    def right_inverse(self, matrix):
        return matrix.mean(0, keepdim=True)


def test_a_parametrized_weight_is_what_is_made_of_the_tensor_that_trains_in_its_place():
    b = GraphBuilder("net")
    graph = b.build(b.gemm(b.input((1, 4)), 3))
    network = trainable(graph)
    weight = graph.nodes[0].inputs[1]
    before = weights_of(network)[weight]
    network.parametrize(weight, _Rows())
    assert network.original(weight).shape == (1, 4)
    assert any(parameter is network.original(weight) for parameter in network.weights())
    np.testing.assert_allclose(weights_of(network)[weight], np.tile(before.mean(0), (3, 1)), atol=1e-6)
    with pytest.raises(InputError, match="'net' has no weight 'nope'"):
        network.parametrize("nope", _Rows())
