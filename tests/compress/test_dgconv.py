from dataclasses import replace
from itertools import product

import numpy as np
import pytest
import torch

from hwprof import cost
from hwprof.compress import costs
from hwprof.compress.choice import Choice
from hwprof.compress.dgconv import DGConv, relation
from hwprof.compress.loop import compress
from hwprof.compress.networks import open_network
from hwprof.data.result import Met
from hwprof.onnx_io import load
from hwprof.testing import check_method
from hwprof.training import fit
from hwprof.variants.group import diagonal_blocks
from tests.compress.board import DEVICE, SHORT, job, latency_ns, network, task


def test_the_contract_of_methods_holds(opened):
    check_method(DGConv, opened)


@pytest.mark.parametrize("gates", list(product((0.0, 1.0), repeat=3)))
def test_a_masked_convolution_computes_what_a_grouped_one_does(gates):
    rng = torch.Generator().manual_seed(0)
    weight, x = torch.randn(16, 8, 3, 3, generator=rng), torch.randn(2, 8, 6, 6, generator=rng)
    mask = relation(torch.tensor(gates), 16, 8)
    assert int(mask.sum()) == 2 ** (3 + sum(map(int, gates))) * 2  # a relation of 8 x 8, each place 2 x 1
    masked = torch.nn.functional.conv2d(x, weight * mask[:, :, None, None], padding=1)
    groups = int(2 ** (3 - sum(gates)))
    outputs, inputs = (_by_group(gates, n) for n in (16, 8))
    blocks = diagonal_blocks(weight[outputs][:, inputs].numpy(), groups)
    grouped = torch.nn.functional.conv2d(x[:, inputs], torch.from_numpy(blocks), padding=1, groups=groups)
    np.testing.assert_allclose(grouped.numpy(), masked[:, outputs].numpy(), atol=1e-5)


def _by_group(gates, channels):
    """The order in which channels of the same group follow each other: the bits of gates that are 0 come first."""
    side = 2 ** len(gates)
    order = np.argsort(gates, kind="stable")
    units = np.arange(side).reshape([2] * len(gates)).transpose(order).ravel()
    return (units[:, None] * (channels // side) + np.arange(channels // side)).ravel()


def test_ascending_gates_give_blocks_on_the_diagonal():
    for zeros in range(4):
        mask = relation(torch.tensor([0.0] * zeros + [1.0] * (3 - zeros)), 16, 8).numpy()
        expected = np.kron(np.eye(2**zeros), np.ones((16 // 2**zeros, 8 // 2**zeros)))
        np.testing.assert_array_equal(mask, expected)


LONG = replace(SHORT, epochs=10)


def learned(savings, tmp_path):
    """The groups that are learned where these numbers of groups save these shares of the latency."""
    own = open_network(network(16), task(), DEVICE, tmp_path)
    method = DGConv(strength=50.0, rate=0.06)

    def table(choices):
        (choice,) = choices.values() or [Choice()]
        return torch.tensor(1 - savings.get(choice.groups, 0.0))

    fit(own.module, task(), LONG, [method.attach(own, table)])
    return method.learned()


def test_the_table_decides_on_groups(tmp_path):
    slower = learned({2: -0.2, 4: -0.3, 8: -0.4, 16: -0.5}, tmp_path)
    assert slower == {}
    faster = learned({2: 0.2, 4: 0.3, 8: 0.4, 16: 0.5}, tmp_path)
    assert faster == {"Conv_2": Choice(groups=16)}
    some = learned({2: 0.2, 4: 0.4, 8: 0.1, 16: 0.0}, tmp_path)
    assert some == {"Conv_2": Choice(groups=4)}


def test_learned_groups_do_no_harm_and_are_exported_as_they_are(tmp_path):
    own = open_network(network(16), task(), DEVICE, tmp_path)
    method = DGConv()
    method.attach(own, costs.macs(own.graph))
    with torch.no_grad():
        method._grouped["Conv_2"].gates[:2] = -1.0
    assert method.learned() == {"Conv_2": Choice(groups=4)}
    assert method.harm("Conv_2", Choice(groups=4)) == pytest.approx(0)
    assert method.harm("Conv_2", Choice(groups=8)) == pytest.approx(np.log(2), rel=0.1)
    small = method.finish(method.learned())
    with torch.no_grad():
        x = torch.from_numpy(next(iter(own.examples.values()))[0])
        np.testing.assert_allclose(small.module.eval()(x).numpy(), own.module.eval()(x).numpy(), atol=1e-5)
    assert cost.of(small.graph).macs < cost.of(own.graph).macs


def test_a_network_is_grouped_where_the_device_rewards_it(tmp_path):
    made = compress(job(tmp_path), "dgconv", 0.6 * latency_ns(network(16)) / 1e6)
    assert made.met is Met.YES
    assert [n.attribute("group", 1) > 1 for n in load(made.path).nodes if n.op == "Conv"] == [False, True]
