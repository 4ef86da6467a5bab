import copy
import json
import zipfile

import numpy as np
import pytest

from hwprof.builder import GraphBuilder
from hwprof.data import dataset
from hwprof.errors import InputError
from hwprof.jobs.predicting import load_predictor
from hwprof.predictors import files, learning
from hwprof.predictors.trained import Trained, load_sources
from hwprof.spaces.nasbench201 import SPACE as NASBENCH201
from hwprof.spaces.varied import VariedSpace
from tests.tiny_space import SPACE

pytestmark = pytest.mark.usefixtures("tiny_spaces")
ARCH = (2, 1, 1, 0)


def learned(folder, name="physical", **settings):
    return learning.learn(dataset.read(folder), name, **settings)


@pytest.mark.parametrize("name", ["physical", "lut", "xgboost"])
def test_every_sort_of_predictor_gets_what_it_takes_and_survives_its_file(collected, tmp_path, name):
    trained = learned(collected, name)
    trained.save(tmp_path / "x.hwp")
    again = Trained.load(tmp_path / "x.hwp")
    assert again.origin == trained.origin
    assert again.predict(["2,1,1,0"]) == trained.predict(["2,1,1,0"])


def test_a_graph_and_its_architecture_are_predicted_alike(trained):
    by_arch, by_graph = trained.predict(["2-1-1-0", SPACE.graph(ARCH)])
    assert by_arch.latency_ms == pytest.approx(by_graph.latency_ms)
    assert by_arch.latency_ms == pytest.approx(7, rel=0.05)  # 3 convolutions, 3 activations and a pool of 1 ms each
    assert by_arch.low_ms < by_arch.latency_ms < by_arch.high_ms


def test_the_interval_widens_with_its_coverage(trained):
    (narrow,), (wide,) = (trained.predict(["2,1,1,0"], coverage) for coverage in (0.5, 0.95))
    assert wide.low_ms < narrow.low_ms < narrow.high_ms < wide.high_ms


def test_a_network_beyond_what_was_learned_from_is_marked(trained):
    inside, outside = trained.predict(["2,1,1,0", NASBENCH201.graph((3,) * 6)])
    assert (inside.outside, outside.outside) == (False, True)
    assert (inside.is_known, outside.is_known) == (True, False)
    assert "which no network had that was learned from" in outside.doubt


def test_a_network_with_an_operator_without_a_rule_is_unknown_beside_the_others(trained):
    b = GraphBuilder("odd")
    odd = b.build(b.unary("NoSuchOperator", b.input((1, 4))))
    known, unknown = trained.predict([SPACE.graph(ARCH), odd])
    assert (known.is_known, unknown.is_known) == (True, False)
    assert "NoSuchOperator" in unknown.doubt


def test_a_predictor_of_a_variant_predicts_the_variant_of_an_architecture(collected, tmp_path):
    """Networks are labelled with their number of operators: the int8 ones have more."""
    data = dataset.read(collected)
    space = VariedSpace("space", "int8")
    entries = [dataset.Entry(float(len(space.graph(arch).nodes)), arch) for arch in data.archs]
    card = dataset.Card("int8", "counter", space="space", variant="int8")
    dataset.write(tmp_path / "int8", card, entries)
    learned(tmp_path / "int8", "physical").save(tmp_path / "x.hwp")
    (found,) = Trained.load(tmp_path / "x.hwp").predict(["2,1,1,0"])
    assert found.latency_ms == pytest.approx(len(space.graph(ARCH).nodes), rel=0.05)
    assert found.latency_ms > 1.5 * len(SPACE.graph(ARCH).nodes)


def test_transfer_learns_from_few_networks_and_another_device(collected, trained, tmp_path):
    found = learned(collected, "transfer", n=5, sources=[trained.predictor])
    data = dataset.read(collected)
    assert found.predictor.predict(data.archs) == pytest.approx(data.normalized_ms, rel=0.05)
    found.save(tmp_path / "x.hwp")
    again = Trained.load(tmp_path / "x.hwp").predictor
    assert again.predict(data.archs) == pytest.approx(found.predictor.predict(data.archs))


def test_a_source_of_another_space_is_refused(trained, tmp_path):
    trained.save(tmp_path / "x.hwp")
    assert len(load_sources([tmp_path / "x.hwp"], "space")) == 1
    with pytest.raises(InputError, match="the predictor has the space 'space', not 'darts'"):
        load_sources([tmp_path / "x.hwp"], "darts")


def test_a_file_without_an_origin_predicts_graphs_but_no_architectures(trained, tmp_path):
    files.save(copy.copy(trained.predictor).set_params(space=None), tmp_path / "x.hwp")
    again = Trained.load(tmp_path / "x.hwp")
    assert again.origin is None
    assert again.predict([SPACE.graph(ARCH)])[0].latency_ms == pytest.approx(7, rel=0.05)
    with pytest.raises(InputError, match="does not know the space of '2,1,1,0'"):
        again.predict(["2,1,1,0"])


def test_an_origin_of_a_newer_version_is_read_and_a_damaged_one_refused(trained, tmp_path):
    trained.save(tmp_path / "x.hwp")
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
    return Trained.load(path)


def test_the_python_interface_loads_it_for_graphs_and_architectures(trained, tmp_path):
    trained.save(tmp_path / "x.hwp")
    predictor = load_predictor(tmp_path / "x.hwp")
    assert predictor.predict([ARCH]) == pytest.approx(predictor.predict([SPACE.graph(ARCH)]))
    low, high = predictor.predict_interval([ARCH], coverage=0.9)
    assert np.all(low < high)


@pytest.mark.parametrize(("space", "device"), [("darts", None), (None, "pixel")])
def test_a_predictor_of_another_space_or_device_is_refused(trained, space, device):
    with pytest.raises(InputError, match=r"the predictor has the (space|device) '(space|noisy)', not"):
        trained.require(space, device)


def test_a_predictor_of_architectures_refuses_a_graph_by_name(collected):
    with pytest.raises(InputError, match="takes architectures of space; the graph 'tiny' was given"):
        learned(collected, "lut").predict([SPACE.graph(ARCH)])


def test_an_architecture_is_text_or_its_choices(trained):
    as_text, as_choices = trained.predict(["2,1,1,0", ARCH])
    assert as_text.latency_ms == as_choices.latency_ms
    assert as_choices.network == "2-1-1-0"


def test_no_network_has_no_prediction(trained):
    assert trained.predict([]) == []
