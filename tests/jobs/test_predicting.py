import json
import zipfile
from importlib.metadata import EntryPoint

import numpy as np
import pytest

from hwprof import plugins
from hwprof.data import dataset
from hwprof.errors import InputError
from hwprof.jobs import predicting
from hwprof.predictors import files
from hwprof.spaces.nasbench201 import SPACE as NASBENCH201
from tests.tiny_space import SPACE

pytestmark = pytest.mark.usefixtures("tiny_spaces")
ARCH = (2, 1, 1, 0)


@pytest.fixture
def trained(collected):
    return predicting.train(collected, "physical")


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
        predicting.make("mean", None)


def test_a_predictor_says_what_it_learned_from(trained, collected):
    origin, data = trained.origin, dataset.read(collected)
    assert (origin.predictor, origin.data, origin.device) == ("physical", "tiny-noisy", "noisy")
    assert (origin.space, origin.evidence, origin.n) == ("space", "analytic", 32)
    assert (origin.least_ms, origin.most_ms) == (data.normalized_ms.min(), data.normalized_ms.max())
    assert 0 < origin.mape_low < origin.mape < origin.mape_high < 5


@pytest.mark.parametrize("name", ["physical", "lut", "xgboost"])
def test_every_sort_of_predictor_gets_what_it_takes_and_survives_its_file(collected, tmp_path, name):
    trained = predicting.train(collected, name)
    predicting.save(trained, tmp_path / "x.hwp")
    again = predicting.load(tmp_path / "x.hwp")
    assert again.origin == trained.origin
    assert predicting.predict(again, ["2,1,1,0"]) == predicting.predict(trained, ["2,1,1,0"])


def test_a_graph_and_its_architecture_are_predicted_alike(trained):
    by_arch, by_graph = predicting.predict(trained, ["2-1-1-0", SPACE.graph(ARCH)])
    assert by_arch.latency_ms == pytest.approx(by_graph.latency_ms)
    assert by_arch.latency_ms == pytest.approx(7, rel=0.05)  # 3 convolutions, 3 activations and a pool of 1 ms each
    assert by_arch.low_ms < by_arch.latency_ms < by_arch.high_ms


def test_the_interval_widens_with_its_coverage(trained):
    (narrow,), (wide,) = (predicting.predict(trained, ["2,1,1,0"], coverage) for coverage in (0.5, 0.95))
    assert wide.low_ms < narrow.low_ms < narrow.high_ms < wide.high_ms


def test_a_network_beyond_what_was_learned_from_is_marked(trained):
    inside, outside = predicting.predict(trained, ["2,1,1,0", NASBENCH201.graph((3,) * 6)])
    assert (inside.outside, outside.outside) == (False, True)


def test_a_predictor_of_a_variant_predicts_the_variant_of_an_architecture(collected, tmp_path):
    """Networks are labelled with their number of operators: the int8 ones have more."""
    data = dataset.read(collected)
    space = predicting.VariedSpace("space", "int8")
    entries = [dataset.Entry(float(len(space.graph(arch).nodes)), arch) for arch in data.archs]
    card = dataset.Card("int8", "counter", space="space", variant="int8")
    dataset.write(tmp_path / "int8", card, entries)
    predicting.save(predicting.train(tmp_path / "int8", "physical"), tmp_path / "x.hwp")
    (found,) = predicting.predict(predicting.load(tmp_path / "x.hwp"), ["2,1,1,0"])
    assert found.latency_ms == pytest.approx(len(space.graph(ARCH).nodes), rel=0.05)
    assert found.latency_ms > 1.5 * len(SPACE.graph(ARCH).nodes)


def test_transfer_learns_from_few_networks_and_another_device(collected, trained, tmp_path):
    found = predicting.train(collected, "transfer", n=5, sources=[trained.predictor])
    data = dataset.read(collected)
    assert found.predictor.predict(data.archs) == pytest.approx(data.normalized_ms, rel=0.05)
    predicting.save(found, tmp_path / "x.hwp")
    again = predicting.load(tmp_path / "x.hwp").predictor
    assert again.predict(data.archs) == pytest.approx(found.predictor.predict(data.archs))


def test_a_source_of_another_space_is_refused(trained, tmp_path):
    predicting.save(trained, tmp_path / "x.hwp")
    assert len(predicting.load_sources([tmp_path / "x.hwp"], "space")) == 1
    with pytest.raises(InputError, match="the predictor is of space 'space', not 'darts'"):
        predicting.load_sources([tmp_path / "x.hwp"], "darts")


def test_what_does_not_learn_from_other_devices_takes_no_sources(collected, trained):
    with pytest.raises(InputError, match="'lut' learns nothing from other devices"):
        predicting.train(collected, "lut", sources=[trained.predictor])


def test_a_number_of_networks_that_the_data_set_does_not_have_is_refused(collected):
    with pytest.raises(InputError, match="has 32 networks, not 33"):
        predicting.train(collected, "physical", n=33)


def test_fewer_samples_than_the_predictor_needs_are_refused(collected):
    with pytest.raises(InputError, match="4 samples are too few"):
        predicting.train(collected, "physical", n=4)


def test_a_constant_latency_is_refused(collected, tmp_path):
    entries = [dataset.Entry(2.0, arch) for arch in dataset.read(collected).archs]
    dataset.write(tmp_path / "x", dataset.Card("x", "d", space="space"), entries)
    with pytest.raises(InputError, match="all 32 latencies are 2"):
        predicting.train(tmp_path / "x", "physical")


def test_an_unknown_predictor_is_refused_with_the_known(collected):
    with pytest.raises(InputError, match="no predictor is named 'magic'; known: embedding_gp, gcn, lut"):
        predicting.train(collected, "magic")


@pytest.mark.parametrize(("space", "device"), [("darts", None), (None, "pixel")])
def test_a_data_set_or_predictor_of_another_space_or_device_is_refused(collected, trained, space, device):
    with pytest.raises(InputError, match=r"data set tiny-noisy is of (space|device) '(space|noisy)', not"):
        predicting.read_of(collected, space, device)
    with pytest.raises(InputError, match=r"the predictor is of (space|device) '(space|noisy)', not"):
        predicting.require(trained.origin, space, device)


def test_a_file_without_an_origin_predicts_graphs_but_no_architectures(trained, tmp_path):
    files.save(trained.predictor.set_params(space=None), tmp_path / "x.hwp")
    again = predicting.load(tmp_path / "x.hwp")
    assert again.origin is None
    assert predicting.predict(again, [SPACE.graph(ARCH)])[0].latency_ms == pytest.approx(7, rel=0.05)
    with pytest.raises(InputError, match="does not know the space of '2,1,1,0'"):
        predicting.predict(again, ["2,1,1,0"])


def test_an_origin_of_a_newer_version_is_read_and_a_damaged_one_refused(trained, tmp_path):
    predicting.save(trained, tmp_path / "x.hwp")
    assert rewritten(tmp_path / "x.hwp", {"mood": "good"}).origin == trained.origin
    with pytest.raises(InputError, match="its origin is damaged"):
        rewritten(tmp_path / "x.hwp", {"n": None}, drop="device")


def rewritten(path, changes, drop=""):
    with zipfile.ZipFile(path) as archive:
        contents = {name: archive.read(name) for name in archive.namelist()}
    origin = json.loads(contents["origin.json"]) | changes
    origin.pop(drop, None)
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in {**contents, "origin.json": json.dumps(origin).encode()}.items():
            archive.writestr(name, content)
    return predicting.load(path)


def test_the_python_interface_loads_it_for_graphs_and_architectures(trained, tmp_path):
    predicting.save(trained, tmp_path / "x.hwp")
    predictor = predicting.load_predictor(tmp_path / "x.hwp")
    assert predictor.predict([ARCH]) == pytest.approx(predictor.predict([SPACE.graph(ARCH)]))
    low, high = predictor.predict_interval([ARCH], coverage=0.9)
    assert np.all(low < high)
