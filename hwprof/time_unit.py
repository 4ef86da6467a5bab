"""Units of time that foreign files use, in milliseconds."""

from __future__ import annotations

import re

from hwprof.errors import InputError

_MS_PER_UNIT = {"s": 1e3, "ms": 1.0, "us": 1e-3, "ns": 1e-6}
_CYCLES = re.compile(r"cycles@(\d+(?:\.\d+)?)(MHz|GHz)")


def ms_per(unit: str) -> float:
    """The milliseconds in one unit: s, ms, us, ns, or cycles of a clock ("cycles@200MHz").

    Raises InputError for any other unit.
    """
    if match := _CYCLES.fullmatch(unit):
        khz = float(match[1]) * (1e3 if match[2] == "MHz" else 1e6)
        if khz > 0:
            return 1 / khz
    if unit not in _MS_PER_UNIT:
        raise InputError(f"no unit of time is named {unit!r}; known: {', '.join(_MS_PER_UNIT)}, cycles@<clock>MHz")
    return _MS_PER_UNIT[unit]
