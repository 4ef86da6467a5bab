import json
import zipfile

import numpy as np
import pytest

from hwprof.errors import InputError
from hwprof.predictors import files
from hwprof.predictors.lut import LutPredictor
from hwprof.predictors.physical import PhysicalPredictor
from hwprof.predictors.xgboost import XGBoostPredictor
from hwprof.spaces.nasbench201 import SPACE, NasBench201


@pytest.fixture
def saved(tmp_path, architectures):
    ms = [1.0 + sum(arch) for arch in architectures]
    files.save(LutPredictor().fit(architectures, ms), tmp_path / "lut.hwp")
    return tmp_path / "lut.hwp"


@pytest.mark.parametrize("make", [LutPredictor, lambda: XGBoostPredictor(trees=20)])
def test_predictions_and_intervals_survive_a_file(tmp_path, architectures, make):
    predictor = make().fit(architectures, [1.0 + sum(arch) for arch in architectures])
    files.save(predictor, tmp_path / "x.hwp")
    again = files.load(tmp_path / "x.hwp")
    assert type(again) is type(predictor)
    assert again.predict(architectures) == pytest.approx(predictor.predict(architectures))
    assert again.predict_interval(architectures)[1] == pytest.approx(predictor.predict_interval(architectures)[1])


@pytest.mark.parametrize("process", ["auto", "never"])
def test_a_physical_predictor_survives_with_and_without_its_process(tmp_path, graphs, process):
    sizes = np.array([len(graph.nodes) for graph in graphs], float)
    predictor = PhysicalPredictor(process=process, seed=5).fit(graphs, sizes)
    assert (predictor.process_ is not None) == (process == "auto")
    files.save(predictor, tmp_path / "x.hwp")
    again = files.load(tmp_path / "x.hwp")
    assert again.get_params() == {**predictor.get_params(), "hypotheses": list(predictor.hypotheses)}
    assert np.array_equal(again.predict(graphs), predictor.predict(graphs))


def test_the_space_is_saved_by_its_name(tmp_path):
    archs = [tuple(map(int, arch)) for arch in np.random.default_rng(0).integers(0, 5, (40, 6))]
    files.save(LutPredictor(SPACE).fit(archs, [1.0 + sum(arch) for arch in archs]), tmp_path / "x.hwp")
    assert files.load(tmp_path / "x.hwp").space is SPACE


def test_a_space_that_is_no_plug_in_cannot_be_saved(tmp_path):
    archs = [tuple(map(int, arch)) for arch in np.random.default_rng(0).integers(0, 5, (40, 6))]
    predictor = LutPredictor(NasBench201(channels=4)).fit(archs, [1.0 + sum(arch) for arch in archs])
    with pytest.raises(InputError, match="not an installed space"):
        files.save(predictor, tmp_path / "x.hwp")
    assert not list(tmp_path.iterdir())


def test_a_truncated_file_is_refused(saved):
    saved.write_bytes(saved.read_bytes()[:-100])
    with pytest.raises(InputError, match="not a predictor file, or only a part of one"):
        files.load(saved)


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(InputError, match=r"no predictor file '.*gone\.hwp'"):
        files.load(tmp_path / "gone.hwp")


def rewritten(path, **changes):
    with zipfile.ZipFile(path) as archive:
        contents = {name: archive.read(name) for name in archive.namelist()}
    head = json.loads(contents["predictor.json"]) | changes
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in {**contents, "predictor.json": json.dumps(head).encode()}.items():
            archive.writestr(name, content)
    return path


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"format": 2}, "has format 2; this hwprof reads format 1; upgrade hwprof"),
        ({"schema": "other"}, "holds 'other', not a predictor"),
        ({"predictor": "magic"}, "no predictor is named 'magic'; known: "),
        ({"parameters": {"magic": 1}}, "does not fit the predictor 'lut' installed here"),
        ({"settings": {}}, "does not fit the predictor 'lut' installed here"),
    ],
)
def test_a_file_of_another_version_or_make_is_refused(saved, changes, reason):
    with pytest.raises(InputError, match=reason):
        files.load(rewritten(saved, **changes))


def test_pickled_arrays_are_not_read(saved):
    with zipfile.ZipFile(saved, "a") as archive, pytest.warns(UserWarning, match="Duplicate name"):
        archive.writestr("arrays.npz", b"\x80\x04N.")
    with pytest.raises(InputError, match="not a predictor file"):
        files.load(saved)
