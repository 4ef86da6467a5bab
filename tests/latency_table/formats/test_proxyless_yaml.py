import pytest
import yaml

from hwprof.errors import InputError
from hwprof.latency_table import LatencyTable, Row
from tests.latency_table.tables import METADATA

# Entries of the published table of a Pixel 1.
PUBLISHED = """
Conv-input:224x224x3-output:112x112x32: {mean: 4.0, std: 0.1}
expanded_conv-input:112x112x16-output:56x56x24-expand:3-kernel:5-stride:2-idskip:0: {mean: 5.25, std: 0.2}
"""


def test_only_the_mean_of_a_published_entry_is_read(tmp_path):
    (tmp_path / "t.yaml").write_text(PUBLISHED)
    table = LatencyTable.read("proxyless-yaml", tmp_path / "t.yaml", METADATA)
    assert table.lookup("Conv", cout=32) == 4.0
    block = next(row for row in table.rows if row.op == "expanded_conv")
    assert (block.ms, block.low_ms, block.n) == (5.25, None, None)
    assert dict(block.attributes)["expand"] == 3


def test_a_row_is_written_as_its_mean(tmp_path):
    row = Row.of("Conv", {"h": 8, "w": 8, "cin": 3, "h_out": 4, "w_out": 4, "cout": 8}, 2.0, (1.9, 2.1), 10)
    with pytest.warns(UserWarning, match="intervals; sample counts"):
        LatencyTable(METADATA, (row,)).to("proxyless-yaml", tmp_path / "t.yaml")
    assert yaml.safe_load((tmp_path / "t.yaml").read_text()) == {"Conv-input:8x8x3-output:4x4x8": {"mean": 2.0}}


def test_another_unit_than_milliseconds_is_refused(tmp_path):
    (tmp_path / "t.yaml").write_text(PUBLISHED)
    with pytest.raises(InputError, match="latencies in ProxylessNAS's tables are in ms, not us"):
        LatencyTable.read("proxyless-yaml", tmp_path / "t.yaml", METADATA, unit="us")


def test_a_row_without_a_place_is_refused_by_name(tmp_path):
    with pytest.raises(InputError, match=r"Relu\(\) has no key in MIT's tables: it needs h, w, cin, cout"):
        LatencyTable(METADATA, (Row.of("Relu", {}, 1.0),)).to("proxyless-yaml", tmp_path / "t.yaml")


def test_attributes_without_a_place_are_refused_by_name(tmp_path):
    row = Row.of("Conv", {"h": 8, "w": 8, "cin": 3, "cout": 16, "kernel": 3, "padding": 1, "dtype": "float32"}, 1.0)
    with pytest.raises(InputError, match=r"no place for dtype, padding$"):
        LatencyTable(METADATA, (row,)).to("proxyless-yaml", tmp_path / "t.yaml")
