"""The ARM cores that can be emulated: qemu's names for them, and the /proc/cpuinfo of Linux on them.

ONNX Runtime's kernel library chooses its kernels by the features and the part number of /proc/cpuinfo (its cpuinfo
library reads both). Parts: Arm's technical reference manuals, register MIDR_EL1; features: what Linux shows there.
"""

from __future__ import annotations

from dataclasses import dataclass

_V8_0 = "fp asimd evtstrm aes pmull sha1 sha2 crc32 cpuid"
_V8_2 = f"{_V8_0.replace(' cpuid', '')} atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop asimddp"


@dataclass(frozen=True, slots=True)
class Core:
    """`part`: the part number in MIDR_EL1. `has_dot`: whether it has SDOT, the product of four int8 pairs."""

    name: str
    part: int
    features: str

    @property
    def has_dot(self) -> bool:
        return "asimddp" in self.features.split()

    def cpuinfo(self) -> str:
        """/proc/cpuinfo of a machine with one such core."""
        return (
            f"processor\t: 0\nBogoMIPS\t: 108.00\nFeatures\t: {self.features}\nCPU implementer\t: 0x41\n"
            f"CPU architecture: 8\nCPU variant\t: 0x0\nCPU part\t: {self.part:#05x}\nCPU revision\t: 3\n\n"
        )


CORES = {
    core.name: core
    for core in (
        Core("cortex-a53", 0xD03, _V8_0),
        Core("cortex-a72", 0xD08, _V8_0),
        Core("cortex-a76", 0xD0B, _V8_2),
        Core("neoverse-n1", 0xD0C, _V8_2),
    )
}
