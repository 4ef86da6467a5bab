"""The memory layout of a program: one block, in which a value's place is free again after its last use."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from hwprof.integer.program.program import Program, Reshape, reads

_ALIGNMENT = 64  # bytes: a cache line


@dataclass(frozen=True, slots=True, eq=False)
class Memory:
    """`arrays`: each value's bytes, uint8 [n]; constants and integer inputs have their own memory."""

    arrays: Mapping[str, np.ndarray]
    arena_bytes: int


def place(program: Program) -> Memory:
    """Memory for every value of the program."""
    owner = _owners(program)
    kept = {e.value for e in program.entries if e.scale is None}
    arrays = {name: np.array(array).ravel().view(np.uint8) for name, array in program.constants.items()}
    arrays |= {name: np.zeros(program.values[name].size_bytes, np.uint8) for name in kept}
    spans = {name: span for name, span in _spans(program, owner).items() if name not in arrays}
    offsets, total = _offsets({name: program.values[name].size_bytes for name in spans}, spans)
    arena = aligned(total)
    for name, offset in offsets.items():
        arrays[name] = arena[offset : offset + program.values[name].size_bytes]
    return Memory({name: arrays[owner[name]] for name in program.values}, total)


def aligned(size: int) -> np.ndarray:
    """uint8 [size], zeros, aligned to a cache line: vectors that cross two lines are read more slowly."""
    whole = np.zeros(size + _ALIGNMENT, np.uint8)
    return whole[-whole.ctypes.data % _ALIGNMENT :][:size]


def aligned_copy(array: np.ndarray) -> np.ndarray:
    """array: [...]. Returns the same elements, [...], in memory from `aligned`."""
    copy: np.ndarray = aligned(array.nbytes).view(array.dtype).reshape(array.shape)
    copy[...] = array
    return copy


def _owners(program: Program) -> dict[str, str]:
    """For each value the one whose bytes it uses; a Reshape uses those of its input."""
    owner = {name: name for name in program.values}
    for operation in program.operations:
        if isinstance(operation, Reshape):
            owner[operation.y] = owner[operation.x]
    return owner


def _spans(program: Program, owner: Mapping[str, str]) -> dict[str, tuple[int, int]]:
    """The first and the last operation during which each owner must be kept."""
    spans = {owner[e.value]: (-1, -1) for e in program.entries}
    for i, operation in enumerate(program.operations):
        for name in (*reads(operation), operation.y):
            first, _ = spans.get(owner[name], (i, i))
            spans[owner[name]] = (first, i)
    for leaving in program.exits:
        first, _ = spans.get(owner[leaving.value], (-1, -1))
        spans[owner[leaving.value]] = (first, len(program.operations))
    return spans


def _offsets(sizes: Mapping[str, int], spans: Mapping[str, tuple[int, int]]) -> tuple[dict[str, int], int]:
    """For each value the lowest offset that is free over its whole span, large values first; and the total bytes."""
    placed: dict[str, tuple[int, int]] = {}  # -> begin and end, bytes
    for name in sorted(sizes, key=lambda n: -sizes[n]):
        size = -(-sizes[name] // _ALIGNMENT) * _ALIGNMENT
        taken = sorted(placed[other] for other in placed if _overlap(spans[name], spans[other]))
        begin = 0
        for low, high in taken:
            if begin + size <= low:
                break
            begin = max(begin, high)
        placed[name] = (begin, begin + size)
    return {name: begin for name, (begin, _) in placed.items()}, max((end for _, end in placed.values()), default=0)


def _overlap(a: tuple[int, int], b: tuple[int, int]) -> bool:
    return a[0] <= b[1] and b[0] <= a[1]
