"""The predictors of any network that come with hwprof: one for each device and machine that it was measured on.

The hardware is part of a file's name, DEVICE-HARDWARE.hwp: a predictor of another CPU is not used by mistake.
`python -m tests.benchmarks.generic measure` makes them.
"""

from __future__ import annotations

from pathlib import Path

_SHIPPED = Path(__file__).parent.parent / "_predictors"  # in the wheel
_CHECKOUT = Path(__file__).parents[2] / "latency_data" / "predictors"  # in a source checkout


def folder() -> Path:
    """Where the predictors are."""
    return _CHECKOUT if _CHECKOUT.is_dir() else _SHIPPED


def path_of(device: str, hardware: str) -> Path:
    """Where the predictor of this device on this machine is, or would be."""
    return folder() / f"{device}-{hardware}.hwp"


def of_device(device: str) -> list[Path]:
    """The predictors of the device on any machine, sorted."""
    return sorted(path for path in folder().glob("*.hwp") if path.stem.rpartition("-")[0] == device)


def devices() -> list[str]:
    """The names of the devices that have one, on whichever machine."""
    return sorted({path.stem.rpartition("-")[0] for path in folder().glob("*.hwp")})
