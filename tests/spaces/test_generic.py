from itertools import islice

import numpy as np
import pytest

from hwprof import cost, onnx_io
from hwprof.backends import onnxruntime
from hwprof.device import Device
from hwprof.spaces.generic import FAMILIES, SPACE
from hwprof.spaces.generic_extremes import EXTREMES
from hwprof.spaces.generic_networks import NETWORKS
from hwprof.spaces.generic_operators import OPERATORS
from hwprof.testing import check_space


def drawn(n, seed=0):
    return list(islice(SPACE.archs(seed), n))


def test_it_fulfils_the_contract_of_spaces():
    check_space(SPACE)


def test_a_seed_draws_the_same_networks_for_ever():
    """Data sets keep the seed alone."""
    assert SPACE.graph((0, 12345)).digest == SPACE.graph((0, 12345)).digest
    assert [SPACE.graph((family, 1)).digest[:8] for family in (0, 17)] == ["bf5b62d9", "04f42dd6"]


def test_any_first_networks_are_a_balanced_sample():
    archs = drawn(7 * len(EXTREMES))
    counts = np.bincount([family for family, _ in archs], minlength=len(FAMILIES))
    operators, networks, extremes = np.split(counts, [len(OPERATORS), len(OPERATORS) + len(NETWORKS)])
    assert operators.sum() == networks.sum() == 3 * extremes.sum()
    for kind in (operators, networks, extremes):
        assert kind.max() - kind.min() <= 1
    assert drawn(5) == archs[:5]


def test_the_points_between_the_extremes_are_those_of_data_sets_without_extremes():
    first = len(FAMILIES) - len(EXTREMES)
    assert [arch for arch in drawn(12) if arch[0] < first][:4] == [
        (0, 1813382117), (17, 1627694685), (1, 903170592), (18, 556019487),
    ]  # fmt: skip


@pytest.mark.parametrize("family", FAMILIES)
def test_the_networks_of_each_family_differ_and_have_known_work(family):
    number = SPACE.families.index(family)
    graphs = [SPACE.graph((number, seed)) for seed in range(8)]
    assert len({graph.digest for graph in graphs}) == len(graphs)
    for graph in graphs:
        assert cost.of(graph).moved_bytes > 0
        assert max(t.numel for t in (*graph.inputs, *graph.weights, *graph.values)) < 2**27


@pytest.mark.parametrize("family", FAMILIES)
def test_a_runtime_runs_them_and_finds_the_same_shapes(family, tmp_path):
    number = SPACE.families.index(family)
    graphs = [SPACE.graph((number, seed)) for seed in range(100, 130)]
    graph = min(graphs, key=lambda graph: cost.of(graph).macs + cost.of(graph).moved_bytes)
    with onnxruntime.BACKEND.open(graph, Device.load("cpu-1t")) as timer:
        found = timer.outputs()
    assert {name: array.shape for name, array in found.items()} == {
        name: graph.type_of(name).shape for name in graph.outputs
    }
    onnx_io.save(graph, tmp_path / "x.onnx")
    assert onnx_io.load(tmp_path / "x.onnx").digest == graph.digest
