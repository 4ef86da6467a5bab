from hwprof.latency_table import LatencyTable, Row
from hwprof.latency_table.formats import loss
from tests.latency_table.tables import METADATA


def test_only_what_a_table_holds_can_be_lost():
    table = LatencyTable(METADATA, (Row.of("Relu", {}, 1.0),))
    assert loss.of(table) == ["device pixel, runtime tflite, threads 1, batch 1, dtype float32"]


def test_intervals_and_counts_are_lost_unless_the_format_holds_them():
    table = LatencyTable(METADATA, (Row.of("Relu", {}, 1.0, (0.9, 1.1), 5),))
    assert loss.of(table)[1:] == ["intervals", "sample counts"]
    assert loss.of(table, holds=("interval", "n"))[1:] == []
