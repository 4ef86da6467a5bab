import shutil
from importlib.metadata import EntryPoint

import numpy as np
import pytest

from hwprof import plugins
from hwprof.data import dataset
from hwprof.encoders.physical import PhysicalEncoder
from hwprof.errors import InputError
from hwprof.predictors import learning
from hwprof.predictors.base import LatencyPredictor
from tests.tiny_space import SPACE

pytestmark = pytest.mark.usefixtures("tiny_spaces")


def learned(folder, name="physical", **settings):
    return learning.learn(dataset.read(folder), name, **settings)


class Mean:
    """Of the right shape, but no LatencyPredictor."""

    def fit(self, X, y):
        return self

    def predict(self, X):
        return np.ones(len(X))


def test_a_plug_in_that_is_no_predictor_is_refused_by_name(monkeypatch):
    point = EntryPoint("mean", f"{__name__}:Mean", "hwprof.predictors")
    monkeypatch.setattr(plugins, "entry_points", lambda **_: [point])
    with pytest.raises(
        InputError, match=r"'mean' is a Mean; derive it from hwprof\.predictors\.base\.LatencyPredictor"
    ):
        learning.make("mean", None)


def test_a_predictor_says_what_it_learned_from(trained, collected):
    origin, data = trained.origin, dataset.read(collected)
    assert (origin.predictor, origin.data, origin.device) == ("physical", "tiny-noisy", "noisy")
    assert (origin.space, origin.evidence, origin.n) == ("space", "analytic", 32)
    assert (origin.least_ms, origin.most_ms) == (data.normalized_ms.min(), data.normalized_ms.max())
    assert 0 < origin.mape_low < origin.mape < origin.mape_high < 5


def test_a_second_training_builds_one_network_to_see_that_the_space_is_the_same_and_encodes_none(
    collected, tmp_path, monkeypatch
):
    folder = shutil.copytree(collected, tmp_path / "kept")
    first, built, build = learned(folder), [], type(SPACE).graph
    monkeypatch.setattr(type(SPACE), "graph", lambda *args: built.append(args) or build(*args))
    monkeypatch.delattr(PhysicalEncoder, "transform")
    second = learned(folder)
    assert len(built) == 1
    assert second.origin == first.origin
    assert second.predictor.errors_.tolist() == first.predictor.errors_.tolist()


def test_only_the_networks_whose_encoding_is_not_kept_are_encoded(collected, tmp_path, monkeypatch):
    folder = shutil.copytree(collected, tmp_path / "kept")
    (folder / "encodings-physical.npz").unlink(missing_ok=True)
    learned(folder, n=20)
    encoded = []
    real = PhysicalEncoder.transform
    monkeypatch.setattr(PhysicalEncoder, "transform", lambda self, X: encoded.extend(X) or real(self, X))
    learned(folder)
    assert len(encoded) == 12


def test_what_does_not_learn_from_other_devices_takes_no_sources(collected, trained):
    with pytest.raises(InputError, match="'lut' cannot learn from other devices"):
        learned(collected, "lut", sources=[trained.predictor])


def test_a_number_of_networks_that_the_data_set_does_not_have_is_refused(collected):
    with pytest.raises(InputError, match="has 32 networks, not 33"):
        learned(collected, "physical", n=33)


def test_fewer_samples_than_the_predictor_needs_are_refused(collected):
    with pytest.raises(InputError, match="4 samples are too few"):
        learned(collected, "physical", n=4)


def test_a_constant_latency_is_refused(collected, tmp_path):
    entries = [dataset.Entry(2.0, arch) for arch in dataset.read(collected).archs]
    dataset.write(tmp_path / "x", dataset.Card("x", "d", space="space"), entries)
    with pytest.raises(InputError, match="all 32 latencies are 2"):
        learned(tmp_path / "x", "physical")


def test_an_unknown_predictor_is_refused_with_the_known(collected):
    with pytest.raises(InputError, match="no predictor is named 'magic'; known: embedding_gp, gcn, kernels, lut"):
        learned(collected, "magic")


@pytest.mark.parametrize(("space", "device"), [("darts", None), (None, "pixel")])
def test_a_data_set_of_another_space_or_device_is_refused(collected, space, device):
    with pytest.raises(InputError, match=r"data set tiny-noisy has the (space|device) '(space|noisy)', not"):
        learning.opened(collected, space, device)


@pytest.mark.parametrize(("name", "reason"), [("lut", "LutPredictor takes architectures"), ("mlp", "MlpPredictor")])
def test_networks_of_no_space_are_refused_where_architectures_are_needed(collected, tmp_path, name, reason):
    graphs = dataset.read(collected).graphs(SPACE)
    entries = [dataset.Entry(1.0 + i, digest=graph.digest, graph=graph) for i, graph in enumerate(graphs)]
    data = dataset.write(tmp_path / "x", dataset.Card("x", "d"), entries)
    with pytest.raises(InputError, match=f"{reason}.*data set x do not belong to a search space: use physical or gcn"):
        learning.learn(data, name)


class Silent(LatencyPredictor):
    """It does not say what it takes."""


def test_a_predictor_that_does_not_say_what_it_takes_is_told_to(monkeypatch, collected):
    point = EntryPoint("silent", f"{__name__}:Silent", "hwprof.predictors")
    monkeypatch.setattr(plugins, "entry_points", lambda **_: [point])
    data = dataset.read(collected)
    with pytest.raises(InputError, match="Silent does not say what it takes; give the class an attribute takes ="):
        learning.encoded(data, None, learning.make("silent", None))
