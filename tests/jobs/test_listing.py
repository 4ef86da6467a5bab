from dataclasses import replace

from hwprof.device import Device
from hwprof.jobs import listing


def test_the_shipped_devices_are_listed_and_their_backends_are_installed():
    devices = {d.name: d for d in listing.list_devices()}
    assert "cpu-1t" in devices
    assert listing.is_installed(devices["cpu-1t"])


def test_a_device_of_an_unknown_backend_is_not_installed():
    assert not listing.is_installed(replace(Device.load("cpu-1t"), backend="abacus"))
