import json

import pytest

from hwprof.errors import InputError
from hwprof.latency_table import Correction, LatencyTable, Pattern
from tests.latency_table.tables import staircase


@pytest.mark.parametrize("name", ["lut.json", "lut.parquet"])
def test_a_table_survives_its_file(tmp_path, name):
    correction = Correction(0.1, 0.9, (Pattern("Conv", "Relu", -0.1),), ((0.5, 0.0), (0.9, 0.1)), 30, 0.02, 0.2, 1.0)
    table = staircase().with_correction(correction)
    table.save(tmp_path / name)
    assert LatencyTable.load(tmp_path / name) == table


def rewritten(path, change):
    staircase().save(path)
    record = json.loads(path.read_text())
    change(record)
    path.write_text(json.dumps(record))
    return path


def test_a_table_without_its_device_is_refused(tmp_path):
    path = rewritten(tmp_path / "lut.json", lambda r: r["metadata"].pop("device"))
    with pytest.raises(InputError, match="names no device"):
        LatencyTable.load(path)


def test_a_newer_table_is_refused(tmp_path):
    path = rewritten(tmp_path / "lut.json", lambda r: r.update(schema="hwprof.lut/9"))
    with pytest.raises(InputError, match=r"schema is 'hwprof.lut/9', this version reads 'hwprof.lut/1'"):
        LatencyTable.load(path)


def test_a_row_without_latency_is_refused_with_its_number(tmp_path):
    path = rewritten(tmp_path / "lut.json", lambda r: r["rows"][2].pop("ms"))
    with pytest.raises(InputError, match="row 2 cannot be read"):
        LatencyTable.load(path)


def test_a_latency_of_zero_is_refused_on_load(tmp_path):
    path = rewritten(tmp_path / "lut.json", lambda r: r["rows"][0].update(ms=0))
    with pytest.raises(InputError, match="must be positive"):
        LatencyTable.load(path)


@pytest.mark.parametrize("content", ["", "{", "[]", "{}"])
def test_a_file_that_is_no_table_is_refused(tmp_path, content):
    (tmp_path / "lut.json").write_text(content)
    with pytest.raises(InputError, match=r"lut\.json"):
        LatencyTable.load(tmp_path / "lut.json")


def test_another_suffix_is_sent_to_the_converters(tmp_path):
    with pytest.raises(InputError, match=r"LatencyTable\.read"):
        LatencyTable.load(tmp_path / "lut.yaml")
