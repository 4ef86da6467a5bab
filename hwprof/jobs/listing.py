"""Lists the devices that networks can be measured on."""

from __future__ import annotations

from hwprof import plugins
from hwprof.device import Device, available


def list_devices() -> list[Device]:
    """The shipped devices, those in ./devices and in $HWPROF_DEVICES, by name."""
    return [Device.load(name) for name in available()]


def is_installed(device: Device) -> bool:
    """Whether the device's backend is installed; its libraries may still be missing."""
    return device.backend in plugins.names("backend")
