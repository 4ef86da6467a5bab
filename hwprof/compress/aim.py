"""Where the table is aimed next, by what it promised of a network and what was measured of it.

A table is off by some factor. A network that was measured too slow shows by which one, so the next network is looked
for within the table's latency times wanted / measured. A network that is much faster than wanted is smaller than it has
to be: a larger one is looked for once, by the same ratio, below the fastest of those that were too slow.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

TOLERANCE = 1.001  # relative: a network that is slower than its aim by less, by the table, has reached it
_SLACK = 0.85  # of the wanted latency: a network below it is smaller than it has to be


@dataclass(frozen=True, slots=True)
class Aim:
    """wanted_ms: the latency to reach, as it is measured. within_ms: the largest latency by the table that the next
    network may have. missed_ms: by the table, that of the fastest network which was too slow; infinite before there is
    one.

    A measured latency is nan where it is not known. Then it is neither too slow, nor reached, nor too fast.
    """

    wanted_ms: float
    within_ms: float
    missed_ms: float = math.inf

    @classmethod
    def at(cls, wanted_ms: float) -> Aim:
        """The first one, which trusts the table."""
        return cls(wanted_ms, wanted_ms)

    def is_missed(self, measured_ms: float) -> bool:
        return measured_ms > self.wanted_ms

    def is_reached(self, measured_ms: float) -> bool:
        return measured_ms <= self.wanted_ms

    def is_overshot(self, measured_ms: float) -> bool:
        """Whether the network is so fast that a larger one may be fast enough, too."""
        return measured_ms < _SLACK * self.wanted_ms

    def tightened(self, projected_ms: float, measured_ms: float) -> Aim:
        """After a network was missed. projected_ms: its latency by the table."""
        within_ms = min(self.within_ms, projected_ms) * self.wanted_ms / measured_ms
        return Aim(self.wanted_ms, within_ms, min(self.missed_ms, projected_ms))

    def loosened(self, projected_ms: float, measured_ms: float) -> Aim:
        """After a network was overshot: below all that were missed."""
        within_ms = min(projected_ms * self.wanted_ms / measured_ms, self.missed_ms / TOLERANCE)
        return Aim(self.wanted_ms, within_ms, self.missed_ms)
