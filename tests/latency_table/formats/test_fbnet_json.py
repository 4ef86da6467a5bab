import json

import pytest

from hwprof.errors import InputError
from hwprof.latency_table import LatencyTable
from tests.latency_table.tables import METADATA

RECORD = {"op_type": "Int8ConvRelu", "input_shapes": [[1, 224, 224, 3], [32, 3, 3, 3], [32]], "input_dtypes": [1, 1, 2],
          "op_args": [], "run_time": [960.0]}  # fmt: skip


def read(tmp_path, *records):
    (tmp_path / "t.json").write_text(json.dumps(records))
    return LatencyTable.read("fbnet-json", tmp_path / "t.json", METADATA)


def test_microseconds_become_milliseconds(tmp_path):
    assert read(tmp_path, {**RECORD, "device": "pixel"}).lookup("Int8ConvRelu") == pytest.approx(0.96)


def test_records_of_another_device_are_left_out(tmp_path):
    table = read(tmp_path, {**RECORD, "device": "pixel"}, {**RECORD, "device": "other", "run_time": [5.0]})
    assert len(table.rows) == 1


def test_a_file_of_another_device_only_is_refused_with_its_devices(tmp_path):
    with pytest.raises(InputError, match="it has no record for device 'pixel'; known: other"):
        read(tmp_path, {**RECORD, "device": "other"})


def test_a_record_with_several_times_is_refused_with_its_number(tmp_path):
    with pytest.raises(InputError, match="record 1 has no op_type and single run_time"):
        read(tmp_path, {**RECORD, "device": "pixel"}, {**RECORD, "run_time": [1.0, 2.0]})
