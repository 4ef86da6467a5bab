import pytest

from hwprof.errors import InputError
from hwprof.latency_table import LatencyTable
from tests.latency_table.tables import METADATA


def test_a_line_as_in_the_documentation_is_read(tmp_path):
    line = "{'op_name': 'skip', 'op_data_shape': (56, 28, 16, 24, 2), 'op_dtype': 'float16', 'op_latency': 1500.0}\n"
    (tmp_path / "lut.txt").write_text(line)
    table = LatencyTable.read("nni", tmp_path / "lut.txt", METADATA, unit="us")
    assert table.lookup("skip", w=56, h=28, cin=16, cout=24, stride=2, dtype="float16") == pytest.approx(1.5)


def test_a_line_that_calls_something_is_refused_with_its_number(tmp_path):
    (tmp_path / "lut.txt").write_text("\n__import__('os').getcwd()\n")
    with pytest.raises(InputError, match="line 2 is not a record"):
        LatencyTable.read("nni", tmp_path / "lut.txt", METADATA, unit="ms")
