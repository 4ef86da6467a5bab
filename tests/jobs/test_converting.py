import csv

import pytest

from hwprof.builder import GraphBuilder
from hwprof.errors import InputError
from hwprof.jobs import converting
from hwprof.jobs.converting import Stated
from hwprof.latency_table import LatencyTable, Row, operators
from tests.latency_table.tables import METADATA, choices

STATED = Stated("pixel", "tflite", 1, 1, "float32")


def test_a_table_goes_to_another_format_and_back(tmp_path):
    choices([[1.0, 2.0]]).save(tmp_path / "t.json")
    lost = converting.convert_table(tmp_path / "t.json", tmp_path / "t.csv", to_format="csv")
    assert lost == ["csv cannot hold: device pixel, runtime tflite, threads 1, batch 1, dtype float32"]
    assert converting.convert_table(tmp_path / "t.csv", tmp_path / "back.json", "csv", stated=STATED) == []
    assert LatencyTable.load(tmp_path / "back.json") == choices([[1.0, 2.0]])


def test_what_the_format_does_not_say_is_asked_for(tmp_path):
    choices([[1.0, 2.0]]).save(tmp_path / "t.json")
    converting.convert_table(tmp_path / "t.json", tmp_path / "t.csv", to_format="csv")
    with pytest.raises(InputError, match=r"give --runtime --threads --batch --dtype$"):
        converting.convert_table(tmp_path / "t.csv", tmp_path / "u.json", "csv", stated=Stated("phone"))


def test_a_known_device_says_the_rest(tmp_path):
    choices([[1.0, 2.0]]).save(tmp_path / "t.json")
    converting.convert_table(tmp_path / "t.json", tmp_path / "t.csv", to_format="csv")
    converting.convert_table(tmp_path / "t.csv", tmp_path / "u.json", "csv", stated=Stated("cpu-1t"))
    assert LatencyTable.load(tmp_path / "u.json").metadata.runtime == "onnxruntime"


@pytest.mark.parametrize(("source", "target", "option"), [("t.txt", "t.json", "--from"), ("t.json", "t.txt", "--to")])
def test_another_tool_s_file_needs_its_format(tmp_path, source, target, option):
    with pytest.raises(InputError, match=f"is not hwprof's own format .*give {option} csv"):
        converting.convert_table(tmp_path / source, tmp_path / target)


def test_the_rows_of_a_network_s_layers_are_found_in_a_table_of_operators(tmp_path):
    b = GraphBuilder("net")
    graph = b.build(b.relu(b.gemm(b.input((4, 16)), 8)))
    rows = [Row.of(one.op, one.attributes, 2.0) for one in operators.of(graph)]
    LatencyTable(METADATA, tuple(rows)).save(tmp_path / "t.json")
    converting.convert_table(tmp_path / "t.json", tmp_path / "t.csv", to_format="modelopt", networks=[graph])
    with (tmp_path / "t.csv").open() as file:
        (record,) = csv.DictReader(file)
    assert (record["group_pattern"], record["recipe_id"], record["m"]) == ("Gemm_0", "NONE", "4")
    assert float(record["latency_us"]) == 2000


def test_networks_are_not_taken_for_hwprof_s_own_format(tmp_path):
    choices([[1.0, 2.0]]).save(tmp_path / "t.json")
    with pytest.raises(InputError, match=r"networks are for another tool's format; give --to"):
        converting.convert_table(tmp_path / "t.json", tmp_path / "u.json", networks=["bert_tiny"])
