import collections
import pickle

import pytest

from hwprof.errors import InputError
from hwprof.latency_table import LatencyTable, NumericAttribute
from tests.latency_table.tables import METADATA


def read(tmp_path, content):
    (tmp_path / "t.pkl").write_bytes(pickle.dumps(collections.OrderedDict(content)))
    numeric = (NumericAttribute("mid_channels"),)
    return LatencyTable.read("tfnas", tmp_path / "t.pkl", METADATA, numeric=numeric, allow_pickle=True)


def test_blocks_are_keyed_by_name_and_middle_channels(tmp_path):
    table = read(tmp_path, {"base": 3.0, "MBI_112_16_0_24_k3_s2_relu": {64: 1.0, 96: 2.0}})
    assert table.lookup("base") == 3.0
    assert table(op="block", name="MBI_112_16_0_24_k3_s2_relu", mid_channels=70) == 2.0


def test_negative_entries_are_refused_with_their_keys(tmp_path):
    with pytest.raises(InputError, match=r"not positive: MBI\[64\]=-0.25 ms; MBI\[96\]=0 ms"):
        read(tmp_path, {"MBI": {64: -0.25, 96: 0.0, 128: 1.0}})


def test_the_format_is_only_read(tmp_path):
    table = read(tmp_path, {"base": 3.0})
    with pytest.raises(InputError, match="only be read"):
        table.to("tfnas", tmp_path / "back.pkl")
