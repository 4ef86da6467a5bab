"""A device's options, and the compilation target that they describe."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

from hwprof.backends import host_resources, options
from hwprof.backends.tvm.library import tvm
from hwprof.device import Device
from hwprof.errors import InputError

Target: TypeAlias = Any  # tvm.target.Target; the library is not typed


@dataclass(frozen=True, slots=True)
class Options:
    """`mcpu`, `mtriple` and `mattr` (comma-separated) are LLVM's names; if empty, those of this machine.

    For a remote device: `key` is its name at the tracker, `compiler` the C++ compiler that links for it, `wait_s` how
    long to wait for it when it is busy or lost, and `answer_s` how long it may take to answer (to run a block of
    inferences, to receive a network) before it counts as lost.
    """

    mcpu: str = ""
    mtriple: str = ""
    mattr: str = ""
    key: str = ""
    compiler: str = "g++"
    wait_s: float = 30.0
    answer_s: float = 300.0


def read(device: Device) -> Options:
    """Raises InputError for a bad option or precision, and for a remote device without a key or a target."""
    chosen = options.read(Options, device)
    options.require_float32(device)
    if device.remote and not (chosen.key and chosen.mcpu):
        raise InputError(
            f"device {device.name!r} is remote: it needs the options `key`, its name at the tracker, and `mcpu`"
        )
    if not chosen.answer_s > 0:
        raise InputError(f"device {device.name!r}: `answer_s` must be more than 0 s, not {chosen.answer_s:g}")
    if chosen.key and not device.remote:
        raise InputError(f'device {device.name!r} has a `key`, but no tracker; add remote = "HOST:PORT"')
    return chosen


def of(device: Device) -> Target:
    """The target. Raises InputError for a processor or triple that this TVM cannot build for."""
    chosen = read(device)
    described: dict[str, object] = {"kind": "llvm"}
    described["mcpu"] = chosen.mcpu or tvm.target.codegen.llvm_get_system_cpu()
    if chosen.mtriple:
        described["mtriple"] = chosen.mtriple
    if chosen.mattr:
        described["mattr"] = [word.strip() for word in chosen.mattr.split(",")]
    described["num-cores"] = chosen_cores(device)
    return _checked(device, described)


def chosen_cores(device: Device) -> int:
    """The device's number of threads. A remote device cannot be asked for its cores before there is a build."""
    if device.remote and not device.threads:
        raise InputError(f"device {device.name!r} is remote; set `threads`: 0 means the cores of this machine")
    return host_resources.threads(device)


def _checked(device: Device, described: dict[str, object]) -> Target:
    """LLVM takes an unknown processor for a generic one and crashes on an unknown triple, so both are checked first."""
    triple, cpu = str(described.get("mtriple", "")), described["mcpu"]
    architectures = tvm.target.codegen.llvm_get_targets()
    if triple and triple.partition("-")[0] not in architectures:
        raise InputError(
            f"device {device.name!r}: tvm cannot build for the triple {triple!r}; "
            f"its architecture must be one of {', '.join(map(str, architectures))}"
        )
    probe = {"kind": "llvm", **({"mtriple": triple} if triple else {})}
    known = tvm.target.codegen.llvm_get_cpu_archlist(tvm.target.Target(probe))
    if cpu not in known:
        of_triple = f" of {triple!r}" if triple else ""
        raise InputError(
            f"device {device.name!r}: tvm cannot build for the processor {cpu!r}{of_triple}; "
            f"it knows {', '.join(map(str, known))}"
        )
    return tvm.target.Target(described)
