import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hwprof.errors import InputError
from hwprof.latency_table import LatencyTable, Row
from tests.latency_table.tables import METADATA, staircase


def test_a_reader_without_hwprof_finds_one_column_per_attribute(tmp_path):
    staircase().save(tmp_path / "lut.parquet")
    table = pq.read_table(tmp_path / "lut.parquet")
    assert table.column("key.cout").to_pylist() == [8, 16, 24, 8, 16, 24, 8]
    assert table.column("ms").to_pylist()[-1] == 7.0


def test_an_attribute_named_like_a_column_keeps_apart(tmp_path):
    table = LatencyTable(METADATA, (Row.of("MatMul", {"n": 8, "ms": 3}, 1.0, n=5),))
    table.save(tmp_path / "lut.parquet")
    assert LatencyTable.load(tmp_path / "lut.parquet") == table


def test_a_foreign_parquet_file_is_refused(tmp_path):
    pq.write_table(pa.table({"ms": [1.0]}), tmp_path / "lut.parquet")
    with pytest.raises(InputError, match="hwprof did not write it"):
        LatencyTable.load(tmp_path / "lut.parquet")


def test_an_attribute_that_mixes_numbers_and_text_is_refused(tmp_path):
    table = LatencyTable(METADATA, (Row.of("Conv", {"kernel": 3}, 1.0), Row.of("Conv", {"kernel": "1x7"}, 1.0)))
    with pytest.raises(InputError, match="mixes numbers and text"):
        table.save(tmp_path / "lut.parquet")
