"""The layers of two networks that compute the same, by the kernels that ran: sets of kernels that compute the same
operators in both. Every kernel is in exactly one layer, so that the differences of all layers add up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

from hwprof.measurement import OperatorTime
from hwprof.report.explanation import CONVERSIONS
from hwprof.report.operators import corresponding

Pair: TypeAlias = tuple[Sequence[OperatorTime], Sequence[OperatorTime]]  # the kernels of the first and second network


@dataclass(frozen=True, slots=True)
class Layer:
    """Kernels of both networks; one side may be empty. A kernel that only converts is a layer of its own."""

    before: tuple[OperatorTime, ...]
    after: tuple[OperatorTime, ...]

    @property
    def op(self) -> str:
        """The operator that takes most of its time, a float kernel and its integer counterpart by one name."""
        return corresponding(max(self.after or self.before, key=lambda kernel: kernel.ns).op)

    @property
    def is_conversion(self) -> bool:
        return all(kernel.op in CONVERSIONS for kernel in (*self.before, *self.after))

    @property
    def before_ns(self) -> float:
        return sum(kernel.ns for kernel in self.before)

    @property
    def after_ns(self) -> float:
        return sum(kernel.ns for kernel in self.after)

    @property
    def ns(self) -> float:
        """How much longer it takes in the second network."""
        return self.after_ns - self.before_ns

    def has(self, operator: str) -> bool:
        return any(operator == kernel.name or operator in kernel.members for kernel in self.after)

    def ns_in(self, one: Pair) -> float:
        """`ns` in another pass of both networks."""
        keys = [{(kernel.name, kernel.op) for kernel in side} for side in (self.before, self.after)]
        sums = [sum(k.ns for k in side if (k.name, k.op) in own) for side, own in zip(one, keys, strict=True)]
        return sums[1] - sums[0]


def layers(before: Sequence[OperatorTime], after: Sequence[OperatorTime]) -> list[Layer]:
    """The layers of both networks. Kernels belong together where one has the operator that gives the other its name:
    one without names of its own is often in two."""
    kernels = (*before, *after)
    root = {_name(kernel): _name(kernel) for kernel in kernels}

    def find(name: str) -> str:
        while root[name] != name:
            name = root[name]
        return name

    for kernel in kernels:
        for member in () if kernel.op in CONVERSIONS else kernel.members:
            if member in root:
                root[find(member)] = find(_name(kernel))
    found: dict[str, tuple[list[OperatorTime], list[OperatorTime]]] = {}
    for side, own in enumerate((before, after)):
        for kernel in own:
            found.setdefault(find(_name(kernel)), ([], []))[side].append(kernel)
    return [Layer(tuple(a), tuple(b)) for a, b in found.values()]


def _name(kernel: OperatorTime) -> str:
    """A conversion is often named as an operator that it is not part of."""
    return f"{kernel.op}: {kernel.name}" if kernel.op in CONVERSIONS else kernel.name
