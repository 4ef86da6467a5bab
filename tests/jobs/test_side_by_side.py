from pathlib import Path

import pytest

from hwprof.data.store import Store
from hwprof.device import Device
from hwprof.errors import InputError
from hwprof.jobs.side_by_side import on_each
from hwprof.measure.recording import Options

DEVICES = [Device(name, "roofline", threads=n) for n, name in enumerate("abc", 1)]


@pytest.mark.parametrize("machines", [1, 3])
def test_results_are_in_the_order_of_the_devices(tmp_path: Path, machines: int):
    with Store() as store:
        found = on_each(DEVICES, lambda device, _: device.name, store, Options(machines=machines), tmp_path)
    assert found == ["a", "b", "c"]


def test_each_device_of_a_fleet_has_a_connection_of_its_own_to_one_store(tmp_path: Path):
    def add(device: Device, own: Store) -> None:
        own.add_graph(device.name, "record")

    with Store(tmp_path / "s.db") as store:
        on_each(DEVICES, add, store, Options(machines=3), tmp_path)
        assert [store.graph(name) for name in "abc"] == ["record"] * 3


def test_an_error_is_raised_after_the_others_have_ended(tmp_path: Path):
    done = []

    def work(device: Device, _: Store) -> None:
        if device.name == "a":
            raise InputError("no")
        done.append(device.name)

    with Store(tmp_path / "s.db") as store, pytest.raises(InputError):
        on_each(DEVICES, work, store, Options(machines=3), tmp_path)
    assert sorted(done) == ["b", "c"]
