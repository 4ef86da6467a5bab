"""The compiled kernels, through ctypes."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from functools import cache
from hashlib import sha256
from pathlib import Path

from hwprof.errors import EnvironmentUnfitError, InputError
from hwprof.integer.kernels.compile import BORDER, FOLDER, KERNELS
from hwprof.integer.run.packing import Arithmetic

AXES = 6  # of a copy
# The fastest first, except AMX: its instructions were never run, since no processor with them was at hand.
INSTRUCTION_SETS = ("avx512-vnni", "amx", "avx-vnni", "neon-sdot", "avx2", "scalar")
_INTEGERS = (
    "kind", "batch", "height", "width", "channels", "out_height", "out_width", "out_channels", "kernel_h", "kernel_w",
    "stride_h", "stride_w", "dilation_h", "dilation_w", "pad_top", "pad_left", "groups", "zero_x", "zero_x2", "zero_y",
    "low", "high", "factor", "factor2", "offset", "places", "counts_padding", "format", "is_centred",
    "resets_behind", "wide",
)  # fmt: skip
_POINTERS = ("x", "x2", "y", "weight", "bias", "multiplier", "shift", "table")
_FAULTS = {  # a word of the kernels' check -> the part of an operator
    "sizes": "its size", "depth": "the number of products in one of its sums", "source": "the size of its input",
    "second operand": "the size of its second input", "target": "the size of its result", "reach": "its window",
    "weight": "its weight", "modes": "its weight", "sign": "its weight", "format": "the format of its weight",
    "bias": "its bias", "constants": "a scale", "factors": "a scale", "bounds": "a bound of its result",
    "table": "its table", "type": "the type of a tensor", "kind": "its kind",
}  # fmt: skip


class Step(ctypes.Structure):
    """`Step` of kernels/plan.h, field by field."""

    _fields_ = (
        *((name, ctypes.c_int32) for name in _INTEGERS),
        *((name, ctypes.c_int64 * AXES) for name in ("extent", "from_", "to")),
        ("from_offset", ctypes.c_int64),
        ("to_offset", ctypes.c_int64),
        *((name, ctypes.c_void_p) for name in _POINTERS),
        *((name, ctypes.c_int64) for name in ("x_bytes", "x2_bytes", "y_bytes", "weight_bytes", "constants")),
    )


class Edge(ctypes.Structure):
    """`Edge` of kernels/border.cpp."""

    _fields_ = (
        ("real", ctypes.c_void_p),
        ("held", ctypes.c_void_p),
        ("batch", ctypes.c_int64),
        ("channels", ctypes.c_int64),
        ("pixels", ctypes.c_int64),
        ("scale", ctypes.c_float),
        ("zero", ctypes.c_int32),
        ("reals", ctypes.c_void_p),
        ("is_wide", ctypes.c_int32),
    )


class Library:
    """Both libraries of a folder, with the types of their functions. Raises EnvironmentUnfitError."""

    def __init__(self, folder: Path = FOLDER) -> None:
        self.kernels = _opened(folder / KERNELS)
        self.border = _opened(folder / BORDER)
        self.kernels.hwprof_check.restype = ctypes.c_char_p
        self.kernels.hwprof_open.restype = ctypes.c_void_p
        self.kernels.hwprof_multiply.restype = ctypes.c_int64
        self.kernels.hwprof_multiply.argtypes = (ctypes.c_char_p, ctypes.c_int64)
        self.kernels.hwprof_run_step.argtypes = (ctypes.c_void_p, ctypes.c_int32)
        self.kernels.hwprof_close.argtypes = (ctypes.c_void_p,)
        sizes = self.kernels.hwprof_step_bytes(), self.border.hwprof_edge_bytes()
        if sizes != (ctypes.sizeof(Step), ctypes.sizeof(Edge)):
            raise EnvironmentUnfitError(f"the integer kernels in {folder} have another version; install hwprof again")

    def runs(self, instruction_set: str) -> bool:
        """Whether it is in the library and this processor supports it."""
        return bool(self.kernels.hwprof_instruction_set(instruction_set.encode()) == 1)

    def arithmetic(self, instruction_set: str) -> Arithmetic:
        """How its kernels multiply, and so how weights are packed for them."""
        name = instruction_set.encode()
        sums_parts = hasattr(self.kernels, "hwprof_sums_parts") and self.kernels.hwprof_sums_parts(name)
        return Arithmetic(bool(self.kernels.hwprof_is_signed(name)), bool(sums_parts))

    def multiply(self, instruction_set: str, rounds: int) -> int:
        """Multiplies in registers only, at full speed. Returns the number of multiply-adds."""
        return int(self.kernels.hwprof_multiply(instruction_set.encode(), rounds))

    def check(self, step: Step) -> str:
        """The fault of a step, in a word; empty where there is none."""
        word = self.kernels.hwprof_check(ctypes.byref(step))
        return word.decode() if word else ""

    def available(self) -> list[str]:
        """The instruction sets that run here, the fastest first."""
        return [name for name in INSTRUCTION_SETS if self.runs(name)]


class Plan:
    """Steps opened for an instruction set and a number of threads. The caller keeps their memory alive."""

    def __init__(
        self, library: Library, steps: Sequence[Step], instruction_set: str, threads: int, names: Sequence[str] = ()
    ) -> None:
        """names: of the steps' operators, for errors. Raises InputError for a step that the kernels cannot run,
        EnvironmentUnfitError where memory or threads are missing."""
        for i, step in enumerate(steps):
            if word := library.check(step):
                raise InputError(
                    f"operator {names[i] if names else f'number {i}'!r} is beyond the limits of the integer kernels: "
                    f"{_FAULTS.get(word, word)} does not fit; make it smaller, or use the device 'integer-numpy', "
                    "whose times are not those of a device"
                )
        array = (Step * len(steps))(*steps)
        self._library = library
        self.handle = library.kernels.hwprof_open(array, len(steps), instruction_set.encode(), threads)
        if not self.handle:
            raise EnvironmentUnfitError(f"the integer kernels could not get memory or {threads} threads")

    def run_step(self, index: int) -> None:
        self._library.kernels.hwprof_run_step(self.handle, index)

    def close(self) -> None:
        self._library.kernels.hwprof_close(self.handle)
        self.handle = None


@cache
def load() -> Library:
    """The installed library. Raises EnvironmentUnfitError where hwprof was installed without a compiler."""
    return Library()


@cache
def digest(folder: Path = FOLDER) -> str:
    """Identifies the code of both libraries of a folder; empty where hwprof was installed without a compiler."""
    paths = [folder / name for name in (KERNELS, BORDER)]
    if not all(path.exists() for path in paths):
        return ""
    found = sha256()
    for path in paths:
        found.update(path.read_bytes())
    return found.hexdigest()[:12]


def _opened(path: Path) -> ctypes.CDLL:
    if not path.exists():
        raise EnvironmentUnfitError(
            "hwprof was installed without its integer kernels; install a C++ compiler and then hwprof again, "
            "or use the device 'integer-numpy', whose times are not those of a device"
        )
    return ctypes.CDLL(str(path))
