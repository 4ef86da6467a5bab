import pickle

import pytest

from hwprof.errors import InputError
from hwprof.latency_table import LatencyTable, NumericAttribute, Row
from tests.latency_table.tables import METADATA

LAYER = {"layer_type_str": "Conv2d", "kernel_size": (3, 3), "groups": 1, "latency": {(8, 16): 0.002, (8, 24): 0.003}}


def test_seconds_by_channels_become_a_staircase(tmp_path):
    (tmp_path / "t.pkl").write_bytes(pickle.dumps({"features.0": LAYER}))
    channels = (NumericAttribute("cin", 8), NumericAttribute("cout", 8))
    table = LatencyTable.read("netadapt", tmp_path / "t.pkl", METADATA, numeric=channels, allow_pickle=True)
    assert table(op="Conv2d", layer="features.0", cin=8, cout=17) == pytest.approx(3.0)


def test_properties_are_written_back_as_they_were(tmp_path):
    (tmp_path / "t.pkl").write_bytes(pickle.dumps({"features.0": LAYER}))
    table = LatencyTable.read("netadapt", tmp_path / "t.pkl", METADATA, allow_pickle=True)
    with pytest.warns(UserWarning, match="cannot hold: device pixel"):
        table.to("netadapt", tmp_path / "back.pkl")
    assert pickle.loads((tmp_path / "back.pkl").read_bytes()) == {"features.0": LAYER}


def test_rows_without_a_layer_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"need rows with layer, cin, cout: Conv\(\)"):
        LatencyTable(METADATA, (Row.of("Conv", {}, 1.0),)).to("netadapt", tmp_path / "t.pkl")
