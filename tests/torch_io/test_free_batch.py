"""Trainable graphs, built for a batch of 1, on other batches."""

import pytest
import torch

from hwprof.builder import GraphBuilder
from hwprof.errors import InputError
from hwprof.torch_io import trainable
from hwprof.torch_io.free_batch import Batch, landing


@pytest.mark.parametrize(
    ("shape", "batch", "target", "landed"),
    [
        ((1, 8, 1, 1), Batch(0), (1, 8), Batch(0)),
        ((1, 30, 512), Batch(0), (30, 512), Batch(0)),  # examples lead: [batch * 30, 512]
        ((30, 512), Batch(0), (1, 30, 512), Batch(0)),
        ((5, 1, 6), Batch(1), (5, 6), Batch(0, outside=5)),  # [5 * batch, 6]
        ((5, 6), Batch(0, outside=5), (5, 1, 6), Batch(1)),
        ((5, 1, 6), Batch(1), (5, 2, 3), Batch(1)),  # heads are led by examples: [5, batch * 2, 3]
        ((4, 6), Batch(0, outside=4), (2, 12), Batch(1, outside=2)),  # [2, 2 * batch * 6]
        ((3, 1, 4), Batch(1), (2, 6), None),
    ],
)
def test_the_batch_is_found_after_a_reshape(shape, batch, target, landed):
    assert landing(shape, batch, target, 1) == landed


def test_a_reshape_follows_a_batch_between_other_axes():
    b = GraphBuilder("time major attention")
    x = b.transpose(b.input((1, 5, 6)), (1, 0, 2))  # [time, batch, width]
    heads = b.transpose(b.reshape(x, (5, 2, 3)), (1, 0, 2))  # [batch * heads, time, size]
    mixed = b.matmul(b.softmax(b.matmul(heads, b.transpose(heads, (0, 2, 1)))), heads)
    rows = b.gemm(b.reshape(b.transpose(mixed, (1, 0, 2)), (5, 6)), 4)  # [time * batch, width]
    network = trainable(b.build(b.transpose(b.reshape(rows, (5, 1, 4)), (1, 0, 2))))
    x = torch.randn(3, 5, 6)
    torch.testing.assert_close(network(x), torch.cat([network(example[None]) for example in x]))


def test_a_class_token_is_repeated_for_each_example():
    b = GraphBuilder("tokens")
    graph = b.build(b.concat([b.weight((1, 1, 4), name="token"), b.input((1, 3, 4))], axis=1))
    network = trainable(graph)
    y = network(torch.randn(2, 3, 4))
    assert y.shape == (2, 4, 4)
    assert torch.equal(y[:, 0], network.tensor("token")[0].expand(2, -1))


def test_an_input_without_a_batch_is_named():
    b = GraphBuilder("two")
    graph = b.build(b.mul(b.input((1, 3), name="x"), b.input((3,), name="scale")))
    network = trainable(graph, batch_axes={"scale": None})
    assert network(torch.ones(2, 3), torch.arange(3.0)).tolist() == [[0, 1, 2]] * 2
    with pytest.raises(InputError, match=r"have batches of \[1, 3\], which must be equal"):
        trainable(graph)
    with pytest.raises(InputError, match="has no input 'scales'; known: x, scale"):
        trainable(graph, batch_axes={"scales": None})


@pytest.mark.parametrize(
    ("add", "fault"),
    [
        (lambda b, x: b.slice(x, 0, 0, 1), "at 'Slice_0', it has no batch"),
        (lambda b, x: b.add(x, b.matmul(x, b.reshape(x, (4, 1)))), "at 'MatMul_1'"),
    ],
)
def test_a_batch_that_gets_lost_is_refused(add, fault):
    b = GraphBuilder("lost")
    with pytest.raises(InputError, match=fault):
        trainable(b.build(add(b, b.input((1, 4)))))
