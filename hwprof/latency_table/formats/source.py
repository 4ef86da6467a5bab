"""The facts about a foreign table that the user states in addition to its file."""

from __future__ import annotations

from dataclasses import dataclass

from hwprof.errors import InputError
from hwprof.latency_table.rows import Metadata
from hwprof.time_unit import ms_per


@dataclass(frozen=True, slots=True)
class Source:
    """`unit` is None where the user leaves it to the format. Pickles are read only where that is allowed."""

    metadata: Metadata
    unit: str | None = None
    allow_pickle: bool = False

    def stated_unit_ms(self, unit: str, name: str) -> float:
        """The number of ms in the unit that the format `name` states. Raises InputError when the user states
        another."""
        if self.unit not in (None, unit):
            raise InputError(f"latencies in {name} are in {unit}, not {self.unit}; leave the unit out")
        return ms_per(unit)

    def asked_unit_ms(self, name: str) -> float:
        """The number of ms in the user's unit. Raises InputError when the user states none, as the format `name`
        does."""
        if self.unit is None:
            raise InputError(f"{name} does not state its unit of time; give it (s, ms, us, ns or cycles@<clock>MHz)")
        return ms_per(self.unit)
