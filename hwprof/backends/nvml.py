"""Sensors of an NVIDIA GPU through its management library (NVML): read, never set.

https://docs.nvidia.com/deploy/nvml-api
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any

import pynvml

from hwprof.measurement import DeviceState

# nvmlClocksEventReasons: bit -> meaning. Idleness and clocks that somebody set are not throttling.
_REASONS = {
    0x04: "power limit",
    0x08: "hardware slowdown",
    0x20: "overheated",
    0x40: "overheated",
    0x80: "power brake",
}
_MILLI = 1e-3
Error = pynvml.NVMLError


class GpuSensors:
    """The sensors of a GPU, by its UUID from CUDA. Raises pynvml.NVMLError where the library or GPU is missing."""

    def __init__(self, uuid: str) -> None:
        pynvml.nvmlInit()
        self._gpu = pynvml.nvmlDeviceGetHandleByUUID(f"GPU-{uuid.removeprefix('GPU-')}")

    def hardware(self) -> Mapping[str, Any]:
        """The GPU's fixed properties, without serial numbers."""
        memory_bytes = pynvml.nvmlDeviceGetMemoryInfo(self._gpu).total
        return {"gpu": str(pynvml.nvmlDeviceGetName(self._gpu)), "gpu_memory_gib": round(memory_bytes / 2**30)}

    def read(self) -> DeviceState:
        """The current readings; a virtual or older GPU may lack some of them."""
        return DeviceState(
            clock_mhz=_shown(pynvml.nvmlDeviceGetClockInfo, self._gpu, pynvml.NVML_CLOCK_SM),
            memory_clock_mhz=_shown(pynvml.nvmlDeviceGetClockInfo, self._gpu, pynvml.NVML_CLOCK_MEM),
            power_w=_shown(pynvml.nvmlDeviceGetPowerUsage, self._gpu, unit=_MILLI),
            temperature_c=_shown(pynvml.nvmlDeviceGetTemperature, self._gpu, pynvml.NVML_TEMPERATURE_GPU),
            throttled=throttle_causes(int(_shown(pynvml.nvmlDeviceGetCurrentClocksThrottleReasons, self._gpu) or 0)),
            energy_mj=_shown(pynvml.nvmlDeviceGetTotalEnergyConsumption, self._gpu),
        )


def throttle_causes(bits: int) -> tuple[str, ...]:
    """The causes in NVML's bit set that hold a clock down, in words, each once."""
    return tuple(dict.fromkeys(cause for bit, cause in _REASONS.items() if bits & bit))


def gpu_of(index: int) -> str:
    """The UUID of the GPU with CUDA's `index`, for runtimes that do not state it. Raises pynvml.NVMLError."""
    pynvml.nvmlInit()
    visible = [word.strip() for word in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if word.strip()]
    chosen = visible[index] if index < len(visible) else str(index)
    if not chosen.isdigit():
        return chosen
    return str(pynvml.nvmlDeviceGetUUID(pynvml.nvmlDeviceGetHandleByIndex(int(chosen))))


def driver_version() -> str | None:
    """None without a driver."""
    try:
        pynvml.nvmlInit()
        return str(pynvml.nvmlSystemGetDriverVersion())
    except pynvml.NVMLError:
        return None


def _shown(read: Callable[..., float], *arguments: object, unit: float = 1.0) -> float | None:
    try:
        return read(*arguments) * unit
    except pynvml.NVMLError:
        return None
