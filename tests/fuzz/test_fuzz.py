"""A short form of `make fuzz`: the same files each time."""

import pytest

from tests.fuzz.fuzzing import changed, fault_of
from tests.fuzz.kinds import every

FILES = 12


@pytest.fixture(scope="module")
def kinds(tmp_path_factory):
    return {kind.name: kind for kind in every(tmp_path_factory.mktemp("seeds"))}


NAMES = (
    "net.onnx", "predictor.hwp", "table.json", "table.parquet", "table.csv", "table.proxyless-yaml", "table.ofa-yaml",
    "table.fbnet-json", "table.halp", "table.haq", "table.netadapt", "table.nni", "dataset.toml", "graphs.jsonl",
    "measurements.parquet", "rows.csv", "rows.jsonl", "device.toml", "store.db",
)  # fmt: skip


def test_every_kind_is_named_here(kinds):
    assert set(kinds) == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.filterwarnings("ignore")
def test_a_valid_file_is_read(kinds, tmp_path, name):
    """Or what follows would only see errors."""
    for content in kinds[name].seeds:
        (tmp_path / name).write_bytes(content)
        kinds[name].read(tmp_path / name)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.filterwarnings("ignore")
def test_a_changed_file_gives_a_result_or_one_line(kinds, tmp_path, name):
    faults = [fault_of(kinds[name], changed(kinds[name], f"{name}-{i}"), tmp_path) for i in range(FILES)]
    assert not any(faults), [fault for fault in faults if fault]
