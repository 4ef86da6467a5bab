"""Which elements an operation moves: axis by axis, where each is read and where it is written."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import singledispatch
from itertools import accumulate

from hwprof.errors import InputError
from hwprof.integer.program.program import Concatenate, Expand, Operation, Pad, Program, Slice, Transpose
from hwprof.integer.run.library import AXES


@dataclass(frozen=True, slots=True)
class Copy:
    """y[to_offset + i . to] = x[from_offset + i . strides] for each i below the extents. All in bytes, without axes of
    one element, with adjacent axes merged where that changes nothing."""

    x: str
    y: str
    extents: tuple[int, ...]
    strides: tuple[int, ...]
    to: tuple[int, ...]
    from_offset: int = 0
    to_offset: int = 0


@singledispatch
def copies(op: Operation, program: Program) -> list[Copy]:  # noqa: ARG001 -- of the operations that move elements
    """Returns what the operation copies; nothing for one that does not move elements. Raises InputError where the
    kernels have too few axes."""
    return []


@copies.register
def _(op: Transpose, program: Program) -> list[Copy]:
    strides, shape = dense_strides(program.shape(op.x)), program.shape(op.y)
    return [_copy(program, op.x, op.y, shape, [strides[axis] for axis in op.order], dense_strides(shape))]


@copies.register
def _(op: Concatenate, program: Program) -> list[Copy]:
    to, at, found = dense_strides(program.shape(op.y)), 0, []
    for name in op.xs:
        shape = program.shape(name)
        found.append(_copy(program, name, op.y, shape, dense_strides(shape), to, to_offset=at * to[op.axis]))
        at += shape[op.axis]
    return found


@copies.register
def _(op: Slice, program: Program) -> list[Copy]:
    strides, shape = dense_strides(program.shape(op.x)), program.shape(op.y)
    offset = sum(start * stride for start, stride in zip(op.starts, strides, strict=True))
    steps = [step * stride for step, stride in zip(op.steps, strides, strict=True)]
    return [_copy(program, op.x, op.y, shape, steps, dense_strides(shape), from_offset=offset)]


@copies.register
def _(op: Pad, program: Program) -> list[Copy]:
    shape, to = program.shape(op.x), dense_strides(program.shape(op.y))
    offset = sum(before * stride for before, stride in zip(op.before, to, strict=True))
    spread = [step * stride for step, stride in zip(op.steps or (1,) * len(to), to, strict=True)]
    return [_copy(program, op.x, op.y, shape, dense_strides(shape), spread, to_offset=offset)]


@copies.register
def _(op: Expand, program: Program) -> list[Copy]:
    shape, given = program.shape(op.y), program.shape(op.x)
    strides = [0 if n == 1 else s for n, s in zip(given, dense_strides(given), strict=True)]
    return [_copy(program, op.x, op.y, shape, [0] * (len(shape) - len(given)) + strides, dense_strides(shape))]


def _copy(
    program: Program, x: str, y: str, shape: Sequence[int], strides: Sequence[int], to: Sequence[int],
    from_offset: int = 0, to_offset: int = 0,
) -> Copy:  # fmt: skip
    """shape, strides, to: [n_axes], in elements, as are the offsets."""
    size = program.values[x].size_bytes // math.prod(program.shape(x))  # of an element, which is an axis of its own
    extents, strides, to = merged(
        [*shape, size], [*(size * stride for stride in strides), 1], [*(size * stride for stride in to), 1]
    )
    if len(extents) > AXES:
        raise InputError(f"moving {x!r} takes {len(extents)} axes; the integer kernels support {AXES}")
    return Copy(x, y, tuple(extents), tuple(strides), tuple(to), size * from_offset, size * to_offset)


def dense_strides(shape: Sequence[int]) -> list[int]:
    """The strides of a row-major array, in elements."""
    return [*accumulate(reversed(shape[1:]), lambda a, b: a * b, initial=1)][::-1] if shape else []


def broadcast_strides(name: str, a: Sequence[int], b: Sequence[int]) -> tuple[list[int], list[int]]:
    """Three extents that cover `a`, and the strides of `b` along them, 0 where b is broadcast.

    Raises InputError where three axes are not enough.
    """
    strides = [0 if n == 1 else s for n, s in zip(b, dense_strides(b), strict=True)]
    extents, steps, _ = merged(a, strides, [0] * len(a), dense_strides(a))
    if not steps or steps[-1] not in (0, 1):
        extents, steps = [*extents, 1], [*steps, 0]
    if len(extents) > 3:
        raise InputError(
            f"operator {name!r} broadcasts {tuple(b)} to {tuple(a)}, which the integer kernels do not support"
        )
    missing = 3 - len(extents)
    return [*(1,) * missing, *extents], [*(0,) * missing, *steps]


def merged(
    shape: Sequence[int], strides: Sequence[int], to: Sequence[int], more: Sequence[int] | None = None
) -> tuple[list[int], list[int], list[int]]:
    """The extents without axes of size 1, with adjacent axes merged where all strides allow it."""
    third = more if more is not None else to
    kept = [axis for axis in zip(shape, strides, to, third, strict=True) if axis[0] != 1]
    found: list[tuple[int, int, int, int]] = []
    for n, *steps in kept:
        if found and all(last == step * n for last, step in zip(found[-1][1:], steps, strict=True)):
            n *= found.pop()[0]  # noqa: PLW2901 - the axis grows
        found.append((n, *steps))  # type: ignore[arg-type]  # three strides
    return [m[0] for m in found], [m[1] for m in found], [m[2] for m in found]
