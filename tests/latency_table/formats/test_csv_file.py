import pytest

from hwprof.errors import InputError
from hwprof.latency_table import LatencyTable, Row
from tests.latency_table.tables import METADATA


def test_a_foreign_file_in_microseconds_is_read(tmp_path):
    (tmp_path / "t.csv").write_text("op,kernel,ms\nConv,3,1500\nRelu,,250\n")
    table = LatencyTable.read("csv", tmp_path / "t.csv", METADATA, unit="us")
    assert (table.lookup("Conv", kernel=3), table.lookup("Relu")) == (pytest.approx(1.5), pytest.approx(0.25))


def test_a_latency_that_is_no_number_is_refused_with_its_line(tmp_path):
    (tmp_path / "t.csv").write_text("op,kernel,ms\nConv,3,1.5\nConv,5,fast\n")
    with pytest.raises(InputError, match="line 3 cannot be read"):
        LatencyTable.read("csv", tmp_path / "t.csv", METADATA)


def test_text_that_would_come_back_as_a_number_is_named(tmp_path):
    with pytest.warns(UserWarning, match="the type of text attributes that look like numbers"):
        LatencyTable(METADATA, (Row.of("Conv", {"layer": "0"}, 1.0),)).to("csv", tmp_path / "t.csv")
