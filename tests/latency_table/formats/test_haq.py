import numpy as np
import pytest

from hwprof.errors import InputError
from hwprof.latency_table import LatencyTable, Row
from tests.latency_table.tables import METADATA


def test_a_row_is_found_by_its_bit_width_and_not_by_its_offset(tmp_path):
    cycles = np.arange(1, 2 * 8 * 8 + 1).reshape(2, 8, 8)
    np.save(tmp_path / "t.npy", cycles)
    table = LatencyTable.read("haq", tmp_path / "t.npy", METADATA, unit="cycles@1MHz")
    found = table.lookup("layer", layer=1, weight_bits=4, activation_bits=8)
    assert found == pytest.approx(cycles[1, 3, 7] / 1000)


def test_a_table_with_a_hole_is_refused(tmp_path):
    rows = tuple(Row.of("layer", {"layer": 0, "weight_bits": w, "activation_bits": w}, 1.0) for w in (1, 2))
    with pytest.raises(InputError, match="4 bit widths are needed, the table holds 2"):
        LatencyTable(METADATA, rows).to("haq", tmp_path / "t.npy")


def test_an_array_of_another_shape_is_refused(tmp_path):
    np.save(tmp_path / "t.npy", np.ones((2, 2)))
    with pytest.raises(InputError, match=r"shape \(2, 2\)"):
        LatencyTable.read("haq", tmp_path / "t.npy", METADATA, unit="ns")
