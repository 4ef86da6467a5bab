"""The content of a latency table's file: metadata, rows, numeric attributes and a correction."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from hwprof.errors import InputError
from hwprof.latency_table.correction import Correction
from hwprof.latency_table.operators import Attribute
from hwprof.latency_table.staircase import NumericAttribute

CHOICE = "choice"  # operator name of the rows of one choice at one position of a search space
_SHOWN = 5  # rows or values that an error lists before it only counts


@dataclass(frozen=True, slots=True)
class Metadata:
    """The device and settings that the latencies hold for. An empty text means "not known"; device, runtime and dtype
    must be known.

    `space` names the search space of a table of choices. `date` is UTC.
    """

    device: str
    runtime: str
    threads: int
    batch: int
    dtype: str
    runtime_version: str = ""
    hardware: str = ""
    date: str = ""
    protocol: str = ""
    space: str = ""
    source: str = ""
    licence: str = ""

    def __post_init__(self) -> None:
        for name in ("device", "runtime", "dtype"):
            if not str(getattr(self, name)).strip():
                raise InputError(f"a latency table needs its {name}; give it")
        if self.threads < 0 or self.batch < 1:
            raise InputError(f"threads must be >= 0 and batch >= 1, not {self.threads} and {self.batch}")


@dataclass(frozen=True, slots=True)
class Row:
    """`attributes` sorted by name. `low_ms` and `high_ms` bound the latency with 95 % confidence; n samples."""

    op: str
    attributes: tuple[tuple[str, Attribute], ...]
    ms: float
    low_ms: float | None = None
    high_ms: float | None = None
    n: int | None = None

    @classmethod
    def of(
        cls,
        op: str,
        attributes: Mapping[str, Attribute],
        ms: float,
        interval_ms: tuple[float, float] | None = None,
        n: int | None = None,
    ) -> Row:
        """The row with its attributes sorted, and without an interval that is not finite."""
        if not isinstance(op, str) or not (n is None or hasattr(n, "__index__")):
            raise TypeError(
                f"a row needs an operator's name and a whole number of samples, not {op!r:.40} and {n!r:.40}"
            )
        low, high = interval_ms if interval_ms and all(map(math.isfinite, interval_ms)) else (None, None)
        return cls(op, tuple(sorted(attributes.items())), ms, low, high, n)

    @property
    def title(self) -> str:
        return title(self.op, dict(self.attributes))


def title(op: str, attributes: Mapping[str, object]) -> str:
    """A key in the words of an error: Conv(kernel=3, cin=16)."""
    return f"{op}({', '.join(f'{k}={v}' for k, v in attributes.items())})"


@dataclass(frozen=True)
class Content:
    """Rows of one device. `numeric` names the attributes along which latency is a staircase."""

    metadata: Metadata
    rows: tuple[Row, ...]
    numeric: tuple[NumericAttribute, ...] = ()
    correction: Correction | None = None


def refuse(reason: str, titles: Sequence[str]) -> None:
    """Raises InputError naming the rows, if there are any."""
    if titles:
        more = f" and {len(titles) - _SHOWN} more" if len(titles) > _SHOWN else ""
        raise InputError(f"{reason}: {'; '.join(titles[:_SHOWN])}{more}")
