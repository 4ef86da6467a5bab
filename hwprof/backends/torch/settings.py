"""The PyTorch settings of a device file, checked against the available hardware."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from hwprof.backends import options
from hwprof.device import Device
from hwprof.errors import EnvironmentUnfitError, InputError

_FLOATS = {
    "float32": torch.float32, "tf32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16,
}  # fmt: skip
_NEEDED_CAPABILITY = {"tf32": (8, 0), "bfloat16": (8, 0), "float16": (5, 3)}
_MODES = ("eager", "compile", "graph", "compile-graph")


@dataclass(frozen=True, slots=True)
class Options:
    """`mode`: eager, compile (torch.compile), graph (a captured CUDA graph of the eager calls) or compile-graph.
    `clock`: device or host. `caches`: hot or cold. `autotune`: let cuDNN and torch.compile try several kernels.
    `index`: number of the GPU."""

    mode: str = "eager"
    clock: str = "device"
    caches: str = "hot"
    channels_last: bool = False
    autotune: bool = False
    index: int = 0


@dataclass(frozen=True, slots=True)
class Settings:
    """`floats`: the type that replaces float32."""

    options: Options
    place: torch.device
    floats: torch.dtype
    has_tf32: bool

    @property
    def is_cuda(self) -> bool:
        return self.place.type == "cuda"

    @property
    def is_compiled(self) -> bool:
        return self.options.mode.startswith("compile")

    @property
    def is_captured(self) -> bool:
        return self.options.mode.endswith("graph")


def read(device: Device) -> Settings:
    """Raises InputError for settings that PyTorch or the kind of device does not support, EnvironmentUnfitError without
    the GPU."""
    chosen = options.read(Options, device)
    _one_of(device, "mode", chosen.mode, _MODES)
    _one_of(device, "clock", chosen.clock, ("device", "host"))
    _one_of(device, "caches", chosen.caches, ("hot", "cold"))
    if device.kind not in ("cpu", "cuda"):
        raise InputError(
            f"device {device.name!r} has kind {device.kind!r}, but backend 'torch' supports only cpu and cuda"
        )
    if device.precision not in _FLOATS:
        raise InputError(
            f"device {device.name!r} asks for precision {device.precision!r}, but backend 'torch' computes in "
            f"{', '.join(_FLOATS)}; for int8 give it a quantized graph"
        )
    is_cuda = device.kind == "cuda"
    if not is_cuda and (device.precision == "tf32" or chosen.mode.endswith("graph")):
        what = "precision 'tf32'" if device.precision == "tf32" else f"mode {chosen.mode!r}"
        raise InputError(f'device {device.name!r}: {what} exists only on NVIDIA GPUs; set kind = "cuda"')
    place = _gpu(device, chosen.index) if is_cuda else torch.device("cpu")
    return Settings(chosen, place, _FLOATS[device.precision], device.precision == "tf32")


def _one_of(device: Device, name: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise InputError(f"device {device.name!r}: option {name} must be one of {', '.join(known)}, not {value!r}")


def _gpu(device: Device, index: int) -> torch.device:
    """The GPU, after CUDA has started on it and its support for the precision is checked."""
    if torch.version.cuda is None:
        raise EnvironmentUnfitError(
            f"device {device.name!r} needs CUDA, but this PyTorch {torch.__version__} is built without it; "
            "install one with CUDA (https://pytorch.org/get-started)"
        )
    try:
        torch.cuda.init()  # type: ignore[no-untyped-call]
    except (RuntimeError, AssertionError) as error:  # no driver, an old driver, or no GPU
        reason = str(error).strip().partition("\n")[0]
        raise EnvironmentUnfitError(f"device {device.name!r}: CUDA does not start: {reason}") from None
    if not 0 <= index < torch.cuda.device_count():
        raise EnvironmentUnfitError(
            f"device {device.name!r}: there is no GPU {index}; CUDA finds {torch.cuda.device_count()}"
        )
    capability = torch.cuda.get_device_capability(index)
    if capability < _NEEDED_CAPABILITY.get(device.precision, (0, 0)):
        raise EnvironmentUnfitError(
            f"device {device.name!r}: {torch.cuda.get_device_name(index)} does not support {device.precision} "
            f"(compute capability {capability[0]}.{capability[1]})"
        )
    return torch.device("cuda", index)
