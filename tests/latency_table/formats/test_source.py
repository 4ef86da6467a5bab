import pytest

from hwprof.errors import InputError
from hwprof.latency_table import LatencyTable
from tests.latency_table.tables import METADATA


@pytest.mark.parametrize("name", ["nni", "haq"])
def test_a_unit_that_the_file_does_not_state_is_asked_for(name, tmp_path):
    with pytest.raises(InputError, match="does not state its unit of time; give it"):
        LatencyTable.read(name, tmp_path / "table", METADATA)


def test_a_unit_against_the_format_is_refused(tmp_path):
    with pytest.raises(InputError, match="are in ms, not us"):
        LatencyTable.read("ofa-yaml", tmp_path / "table", METADATA, unit="us")
