from pathlib import Path

import pytest

from hwprof.measure.energy import EnergyCounter


def domain(root: Path, name: str, uj: int, most_uj: int = 10_000) -> Path:
    folder = root / name
    folder.mkdir()
    (folder / "energy_uj").write_text(f"{uj}\n")
    (folder / "max_energy_range_uj").write_text(f"{most_uj}\n")
    return folder


def test_without_counters_there_is_no_reading(tmp_path: Path):
    counter = EnergyCounter(tmp_path)
    assert counter.read_uj() is None
    assert counter.used_mj(None, None) is None


def test_energy_is_summed_over_packages_and_not_over_their_parts(tmp_path: Path):
    packages = [domain(tmp_path, "intel-rapl:0", 1000), domain(tmp_path, "intel-rapl:1", 2000)]
    part = domain(tmp_path, "intel-rapl:0:1", 50)
    counter = EnergyCounter(tmp_path)
    before = counter.read_uj()
    for folder, uj in zip([*packages, part], (4000, 2500, 9999), strict=True):
        (folder / "energy_uj").write_text(str(uj))
    assert counter.used_mj(before, counter.read_uj()) == pytest.approx(3.5)


def test_a_counter_that_wraps_counts_on(tmp_path: Path):
    package = domain(tmp_path, "intel-rapl:0", 9_500, most_uj=10_000)
    counter = EnergyCounter(tmp_path)
    before = counter.read_uj()
    (package / "energy_uj").write_text("499")
    assert counter.used_mj(before, counter.read_uj()) == pytest.approx(1.0)


def test_a_counter_that_may_not_be_read_is_no_counter(tmp_path: Path):
    package = domain(tmp_path, "intel-rapl:0", 1000)
    (package / "energy_uj").unlink()
    assert EnergyCounter(tmp_path).read_uj() is None
