import math

import pytest

from hwprof.errors import InputError
from hwprof.latency_table import LatencyTable, Row
from tests.latency_table.tables import METADATA

# An entry of the published table of a Samsung Note 10.
PUBLISHED = """
expanded_conv-input:7x7x192-output:7x7x320-expand:6-kernel:5-stride:1-idskip:0:
  count: 154
  mean: 5.264772727272727
  var: 0.19495998666150827
"""


def test_a_published_entry_is_read_with_its_interval(tmp_path):
    (tmp_path / "t.yaml").write_text(PUBLISHED)
    table = LatencyTable.read("ofa-yaml", tmp_path / "t.yaml", METADATA)
    (row,) = table.rows
    assert table.lookup("expanded_conv", kernel=5, cin=192, cout=320) == 5.264772727272727
    assert row.n == 154
    assert row.high_ms - row.ms == pytest.approx(1.96 * math.sqrt(0.19495998666150827 / 154), rel=1e-4)


def test_a_negative_mean_is_refused_with_its_key(tmp_path):
    (tmp_path / "t.yaml").write_text("Conv-input:8x8x3-output:4x4x8:\n  mean: -1.0\n")
    with pytest.raises(InputError, match=r"Conv\(cin=3.*-1 ms"):
        LatencyTable.read("ofa-yaml", tmp_path / "t.yaml", METADATA)


def test_yaml_that_would_build_python_objects_is_refused(tmp_path):
    (tmp_path / "t.yaml").write_text("a: !!python/object/apply:os.system ['true']\n")
    with pytest.raises(InputError, match="an anchor, a merge key or a tag"):
        LatencyTable.read("ofa-yaml", tmp_path / "t.yaml", METADATA)


def test_an_asymmetric_interval_is_named_as_lost(tmp_path):
    row = Row.of("Conv", {"h": 8, "w": 8, "cin": 3, "h_out": 4, "w_out": 4, "cout": 8}, 2.0, (1.9, 2.5), 10)
    with pytest.warns(UserWarning, match="intervals that are asymmetric"):
        LatencyTable(METADATA, (row,)).to("ofa-yaml", tmp_path / "t.yaml")
