"""Lists the devices that networks can be measured on, and those that can run a network."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Unpack

from hwprof import plugins
from hwprof.device import Device, available
from hwprof.errors import HwprofError
from hwprof.jobs.inputs import Opening, Wanted, device_of, opened
from hwprof.measure.opening import require_runnable
from hwprof.measure.recording import Options


def list_devices() -> list[Device]:
    """The shipped devices, those in ./devices and in $HWPROF_DEVICES, by name."""
    return [Device.load(name) for name in available()]


def runnable(
    model: object,
    devices: Sequence[Device | str] | None = None,
    *,
    options: Options | None = None,
    **opening: Unpack[Opening],
) -> Iterator[tuple[Device, str]]:
    """Each device, all of them by default, with the reason for which it cannot run the model, given with `opening`
    as to `profile`; empty where it can. Each opens the network and runs it once; nothing is measured.

    Raises InputError for a model that no device could run, such as one that cannot be read.
    """
    wanted = Wanted(**opening)
    with opened(None, options) as (folder, _, asked):
        loaded = {wanted.as_onnx: wanted.load(model, folder)}  # a module is another network for other runtimes
        for device in [device_of(d) for d in devices] if devices else list_devices():
            try:
                its = wanted.on(device, asked)
                if its.as_onnx not in loaded:
                    loaded[its.as_onnx] = its.load(model, folder)
                graph = its.varied(loaded[its.as_onnx], folder, lambda _warning: None)
                require_runnable(graph, device, asked.limited_transport)
                yield device, ""
            except HwprofError as error:
                yield device, str(error)


def is_installed(device: Device) -> bool:
    """Whether the device's backend is installed; its libraries may still be missing."""
    return device.backend in plugins.names("backend")
