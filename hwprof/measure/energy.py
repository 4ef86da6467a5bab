"""Energy of the processor package from RAPL counters, where the machine has them and lets us read them."""

from __future__ import annotations

from pathlib import Path

_ROOT = Path("/sys/class/powercap")


class EnergyCounter:
    """Sums the package domains. `read_uj` is None where there is no counter: never a guess, never 0."""

    def __init__(self, root: Path = _ROOT) -> None:
        # intel-rapl:0 is a package; intel-rapl:0:1 is a part of it, already counted there.
        self._domains = [d for d in sorted(root.glob("intel-rapl:*")) if d.name.count(":") == 1]
        self._wrap_uj = {d: _number(d / "max_energy_range_uj") for d in self._domains}

    def read_uj(self) -> dict[Path, int] | None:
        readings = {d: _number(d / "energy_uj") for d in self._domains}
        known = {d: value for d, value in readings.items() if value is not None}
        return known if known and len(known) == len(readings) else None

    def used_mj(self, before: dict[Path, int] | None, after: dict[Path, int] | None) -> float | None:
        """Millijoules between two readings less than one wrap of the counters apart."""
        if before is None or after is None:
            return None
        used_uj = sum((after[d] - before[d]) % ((self._wrap_uj[d] or 2**62) + 1) for d in before)
        return used_uj / 1000


def _number(path: Path) -> int | None:
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return None
