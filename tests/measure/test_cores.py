import math
from dataclasses import replace
from pathlib import Path

import pytest

from hwprof.device import Device
from hwprof.errors import EnvironmentUnfitError, InputError
from hwprof.measure import cores

ONE = Device("one", "onnxruntime", threads=1)


def test_one_thread_gets_the_last_usable_core():
    assert cores.choose(ONE) == (cores.usable()[-1],)


def test_zero_threads_get_every_usable_core():
    assert cores.choose(replace(ONE, threads=0)) == tuple(cores.usable())


def test_named_cores_are_taken_as_named():
    first = cores.usable()[0]
    assert cores.choose(replace(ONE, cores=(first,))) == (first,)


def test_more_threads_than_cores_is_an_unfit_environment():
    with pytest.raises(EnvironmentUnfitError, match=r"asks for 999 threads; this process may use \d+ cores"):
        cores.choose(replace(ONE, threads=999))


def test_a_core_that_is_not_there_is_named():
    with pytest.raises(EnvironmentUnfitError, match="asks for core 4096"):
        cores.choose(replace(ONE, cores=(4096,)))


def test_more_threads_than_the_quota_grants_is_an_unfit_environment(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(cores, "quota_cpus", lambda: 0.5)
    with pytest.raises(EnvironmentUnfitError, match=r"the control group grants 0\.5 CPUs"):
        cores.choose(ONE)


def test_an_unknown_cluster_lists_the_known():
    with pytest.raises(InputError, match="'auto', 'big', 'little'"):
        cores.choose(replace(ONE, cores="fast"))


@pytest.mark.parametrize(("text", "cpus"), [("150000 100000", 1.5), ("max 100000", math.inf)])
def test_the_quota_is_read_from_the_control_group(tmp_path: Path, text: str, cpus: float):
    (tmp_path / "cpu.max").write_text(text)
    assert cores.quota_cpus(tmp_path) == cpus


def test_the_quota_of_version_1_control_groups_is_read(tmp_path: Path):
    (tmp_path / "cpu").mkdir()
    (tmp_path / "cpu/cpu.cfs_quota_us").write_text("200000")
    (tmp_path / "cpu/cpu.cfs_period_us").write_text("100000")
    assert cores.quota_cpus(tmp_path) == 2


def test_without_control_groups_there_is_no_quota(tmp_path: Path):
    assert cores.quota_cpus(tmp_path) == math.inf


def test_the_cores_of_a_remote_device_are_not_looked_for_here():
    remote = Device("board", "tvm", threads=4096, cores="big", remote="127.0.0.1:9190")
    assert cores.choose(remote) == tuple(cores.usable())
