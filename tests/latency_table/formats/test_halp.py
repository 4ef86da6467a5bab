import pickle

import pytest

from hwprof.errors import InputError
from hwprof.latency_table import LatencyTable, Row
from tests.latency_table.formats.test_formats import CONV
from tests.latency_table.tables import METADATA


def test_the_key_is_read_as_halp_writes_it(tmp_path):
    (tmp_path / "t.pkl").write_bytes(pickle.dumps({"256_64_128_28_3_2_1": 4.5}))
    table = LatencyTable.read("halp", tmp_path / "t.pkl", METADATA, allow_pickle=True)
    assert table.lookup("Conv", batch=256, cin=64, cout=128, h=28, w=28, kernel=3, stride=2, groups=1) == 4.5


def test_a_key_of_another_kind_is_refused(tmp_path):
    (tmp_path / "t.pkl").write_bytes(pickle.dumps({"64_128": 4.5}))
    with pytest.raises(InputError, match="key '64_128' is not batch_cin"):
        LatencyTable.read("halp", tmp_path / "t.pkl", METADATA, allow_pickle=True)


def test_rows_and_attributes_without_a_place_are_named(tmp_path):
    rows = (Row.of("Conv", {**CONV, "bias": 1}, 1.0), Row.of("Relu", {}, 0.5))
    with pytest.warns(UserWarning, match=r"1 of 2 rows \(Relu\); attributes bias"):
        LatencyTable(METADATA, rows).to("halp", tmp_path / "t.pkl")


def test_rows_that_would_fall_on_one_key_are_refused(tmp_path):
    rows = (Row.of("Conv", {**CONV, "bias": 1}, 1.0), Row.of("Conv", {**CONV, "bias": 0}, 0.9))
    with pytest.raises(InputError, match="cannot tell"):
        LatencyTable(METADATA, rows).to("halp", tmp_path / "t.pkl")


def test_a_table_without_convolutions_is_refused(tmp_path):
    with pytest.raises(InputError, match="no row of the table fits HALP's format"):
        LatencyTable(METADATA, (Row.of("Relu", {}, 0.5),)).to("halp", tmp_path / "t.pkl")
