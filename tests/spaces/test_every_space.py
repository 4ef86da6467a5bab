import numpy as np
import pytest

from hwprof import plugins
from hwprof.builder import GraphBuilder
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
from hwprof.testing import check_space

SMALL = [
    NasBench201(channels=4, cells=1, resolution=8),
    Darts(channels=4, cells=3, resolution=8),
    FBNet(resolution=32, last_channels=8, classes=3),
    OfaMobileNetV3(classes=3),
    ResNetShrink((1, 1, 1, 1), resolution=8),
    BlockQnn(layers=5, blocks=1, channels=4, resolution=8),
    RnnLanguageModel(vocabulary=20),
    Hat(tokens=3, vocabulary=20),
]


@pytest.mark.parametrize("name", plugins.names("space"))
def test_every_installed_space_keeps_the_contract(name):
    check_space(plugins.load("space", name))


@pytest.mark.parametrize("space", SMALL, ids=lambda space: type(space).__name__)
def test_random_architectures_run_in_onnx_runtime(space, run):
    for arch in sampling.random_archs(space, 2, np.random.default_rng(0)):
        graph = space.graph(arch)
        for name, values in zip(graph.outputs, run(graph), strict=True):
            assert values.shape == graph.shape(name)
            assert np.isfinite(values).all()


@pytest.mark.parametrize("space", [*SMALL, NasBench201(), GenericSpace()], ids=lambda space: type(space).__name__)
def test_networks_of_blocks_that_are_kept_are_those_that_are_built_anew(space, monkeypatch: pytest.MonkeyPatch):
    archs = sampling.random_archs(space, 10, np.random.default_rng(0))
    kept = [space.graph(arch).to_json() for arch in (*archs, *archs)]
    monkeypatch.setattr(GraphBuilder, "add_block", lambda b, build, x, sizes, named: build(b, x, *sizes, **named))
    assert kept == [space.graph(arch).to_json() for arch in archs] * 2


def test_every_built_in_space_is_run():
    classes = {type(plugins.load("space", name)) for name in plugins.names("space")}
    own = {kind for kind in classes if kind.__module__.startswith("hwprof.")}
    assert own - {GenericSpace} == {type(space) for space in SMALL}  # all families of that run in tests of its own
