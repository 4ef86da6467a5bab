from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from hwprof import device as devices
from hwprof import plugins
from hwprof.device import Device
from hwprof.errors import InputError

SHIPPED = sorted((Path(__file__).parent.parent / "devices").glob("*.toml"))


def write(folder, name, text, schema='schema = "hwprof.device/1"\n'):
    folder.mkdir(exist_ok=True)
    (folder / f"{name}.toml").write_text(schema + text)
    return folder / f"{name}.toml"


@pytest.mark.parametrize("path", SHIPPED, ids=lambda p: p.stem)
def test_a_shipped_device_loads_by_its_name_and_has_a_backend(path):
    device = Device.load(path.stem)
    assert device.name == path.stem
    assert device.description
    assert device.backend in plugins.names("backend")


def test_the_cpu_devices_mean_one_thread_and_all_of_them():
    assert (Device.load("cpu-1t").backend, Device.load("cpu-1t").threads) == ("onnxruntime", 1)
    assert (Device.load("cpu-all").backend, Device.load("cpu-all").threads) == ("onnxruntime", 0)


def test_a_users_own_folder_comes_first(tmp_path, monkeypatch):
    write(tmp_path / "mine", "cpu-1t", 'backend = "openvino"\n')
    monkeypatch.setenv("HWPROF_DEVICES", str(tmp_path / "mine"))
    assert Device.load("cpu-1t").backend == "openvino"


def test_a_file_is_loaded_by_its_path(tmp_path):
    path = write(tmp_path, "board", 'backend = "b"\nthreads = 2\ncores = [0, 3]\n[options]\nspinning = false\n')
    assert Device.load(path) == Device("board", "b", threads=2, cores=(0, 3), options=(("spinning", False),))


def test_an_unknown_name_is_refused_with_the_known_ones():
    with pytest.raises(InputError, match=r"no device is named 'nope'; known: .*cpu-1t"):
        Device.load("nope")


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", "field 'backend' is missing"),
        ('backend = "b"\nthread = 2', "unknown field 'thread'; known: .*threads"),
        ('backend = "b"\nthreads = "two"', "'threads' must be int, not 'two'"),
        ('backend = "b"\nthreads = true', "'threads' must be int, not True"),
        ('backend = "b"\nthreads = -1', "threads must be >= 0"),
        ('backend = "b"\nbatch = 0', "batch >= 1"),
        ('backend = "b"\ncores = [-1]', "'cores' must be a word or a list of CPU numbers"),
        ('backend = "b"\n[options]\na = [1]', "option 'a' must be a string, number or boolean"),
        ("backend =", "device file .*board.toml"),
    ],
)
def test_a_bad_file_is_refused_by_name_and_field(tmp_path, text, fault):
    with pytest.raises(InputError, match=fault) as caught:
        Device.load(write(tmp_path, "board", text))
    assert "board.toml" in str(caught.value)


def test_another_schema_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"schema is 'hwprof\.device/9', but this version reads 'hwprof\.device/1'"):
        Device.load(write(tmp_path, "b", "", 'schema = "hwprof.device/9"\n'))


def test_a_file_without_a_schema_is_told_how_to_begin(tmp_path):
    (tmp_path / "mine.toml").write_text('backend = "onnxruntime"\n')
    with pytest.raises(InputError, match=r'the schema is missing; add the first line schema = "hwprof\.device/1"'):
        Device.load(tmp_path / "mine.toml")


def test_a_device_survives_its_record():
    device = Device("d", "b", cores=(1, 2), precision="float16").with_options(x=1.5)
    assert Device.from_record(device.to_record()) == device


def test_the_digest_sees_what_changes_a_latency_and_no_name():
    device = Device("d", "b")
    assert replace(device, name="e", description="other").digest == device.digest
    changed = [
        replace(device, threads=2), replace(device, cores=(0,)), replace(device, batch=2),
        replace(device, precision="float16"), replace(device, backend="c"), device.with_options(a=1),
    ]  # fmt: skip
    assert len({d.digest for d in (device, *changed)}) == 7


def test_the_names_on_the_search_path_are_listed_once(tmp_path, monkeypatch):
    write(tmp_path / "mine", "cpu-1t", "")
    write(tmp_path / "mine", "zz", "")
    monkeypatch.setenv("HWPROF_DEVICES", str(tmp_path / "mine"))
    names = devices.available()
    assert names == sorted(set(names))
    assert {"cpu-1t", "zz"} <= set(names)


def test_an_address_is_for_workers_and_in_nothing_that_is_kept():
    device = Device("d", "b")
    remote = replace(device, remote="10.0.0.7:9190")
    assert remote.digest == device.digest
    assert "10.0.0.7" not in str(remote.to_record())
    assert Device.from_record(remote.to_record(with_address=True)) == remote
