"""How a convolution's int8 weights are stored for the kernels: all eight bits, fewer bits, or only nonzero blocks.

LUT-Q (Cardinaux et al., arXiv 1911.04951) stores indices into a dictionary of 16 values, which may be powers of two;
ternary weights take 2 bits, binary ones 1; blocks of 32 outputs by 4 inputs that are 0 need not be stored. No format
changes a result. They save bytes; `tests/benchmarks/low_bit.py` measures what that is worth.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

import numpy as np

from hwprof.integer.program.program import Convolution, Program, WeightFormat

PANEL = 32  # columns of a matrix that are stored together
QUAD = 4  # adjacent elements that one dot product sums up
WORD = 32  # signs that are stored together
FORMATS: tuple[WeightFormat, ...] = (
    "int8", "int4", "dictionary-16", "dictionary-4", "dictionary-2", "sparse-32x4", "signs",
)  # fmt: skip
_HALF = PANEL * QUAD // 2
INT4_BITS = 4  # width of ONNX's type
_INT4_LIMIT = 7
_LARGEST_SUM = 2**27 - 1  # for int4: its sums are held sixteen times as large
_SPARSE_FROM = 0.5  # smallest share of zero blocks at which skipping them pays


def fits(op: Convolution, weight_format: WeightFormat) -> bool:
    """Whether the format can hold the weight with unchanged values."""
    if is_depthwise(op) or (op.sign_at is not None) != (weight_format == "signs"):
        return weight_format == "int8" and op.sign_at is None
    values = np.unique(op.weight)
    if weight_format == "int4":
        flat = np.abs(op.weight.reshape(len(op.weight), -1).astype(np.int64))
        sums = np.abs(op.bias.astype(np.int64)) + 2 * 255 * flat.sum(axis=1)  # however activations are held
        return bool(np.abs(values.astype(int)).max(initial=0) <= _INT4_LIMIT and sums.max(initial=0) <= _LARGEST_SUM)
    if weight_format.startswith("dictionary"):
        return len(values) <= int(weight_format.split("-")[1])
    return weight_format != "signs" or bool(np.isin(values, (-1, 1)).all())


def smallest(op: Convolution) -> WeightFormat:
    """The smallest format that fits, in bytes."""
    if op.sign_at is not None:
        return "signs"
    if not is_depthwise(op) and empty_share(op) >= _SPARSE_FROM:
        few: tuple[WeightFormat, ...] = ("dictionary-2", "dictionary-4", "sparse-32x4")
    else:
        few = ("dictionary-2", "dictionary-4", "int4", "dictionary-16")
    return _first(op, few)


def in_few_bits(op: Convolution, bits: int) -> Convolution:
    """The convolution with weights as narrow as in its file, 4 bits or fewer, where the kernels support that."""
    return replace(op, weight_format=smallest(op) if bits < INT4_BITS else _first(op, ("int4", "dictionary-16")))


def with_format(program: Program, choose: Callable[[Convolution], WeightFormat]) -> Program:
    """The program, in which `choose` sets the format of each convolution's weights."""
    operations = [
        replace(op, weight_format=choose(op)) if isinstance(op, Convolution) else op for op in program.operations
    ]
    return replace(program, operations=tuple(operations))


def plain(op: Convolution) -> WeightFormat:
    """Eight bits, where the operation has a choice of formats."""
    return "int8" if op.sign_at is None else "signs"


def _first(op: Convolution, formats: Iterable[WeightFormat]) -> WeightFormat:
    return next((weight_format for weight_format in formats if fits(op, weight_format)), "int8")


def empty_share(op: Convolution) -> float:
    """The share of blocks of PANEL outputs by QUAD inputs that are 0."""
    flat = op.weight.reshape(len(op.weight), -1)
    return 1 - float(_padded(flat, op.groups, QUAD).any(axis=(2, 4)).mean())


def is_depthwise(op: Convolution) -> bool:
    """Whether every channel is filtered separately."""
    return bool(op.groups == op.weight.shape[0] > 1 and op.weight.shape[3] == 1)


def stored(flat: np.ndarray, groups: int, weight_format: WeightFormat) -> tuple[np.ndarray, np.ndarray]:
    """flat: int8 [groups * columns, depth]. Returns the weight, int8 [n], and the kernels' additional data, uint8 [m].

    kernels/low_bit.inl documents the layout. The format must fit.
    """
    nothing = np.zeros(0, np.uint8)
    if weight_format == "signs":
        bits = np.packbits(_padded(flat > 0, groups, WORD), axis=-1, bitorder="little")
        return _ordered(bits), nothing
    if weight_format == "sparse-32x4":
        return _sparse(flat, groups)
    if weight_format == "int8":
        return quads(flat, groups).ravel(), nothing
    if weight_format == "int4":
        return _of_bits(flat, groups, 4), nothing
    count = int(weight_format.split("-")[1])
    values = np.unique(flat)
    dictionary = np.zeros(16, np.int8)
    dictionary[: len(values)] = values
    places = np.searchsorted(values, flat).astype(np.uint8)
    return _of_bits(places, groups, {16: 4, 4: 2, 2: 1}[count]), dictionary.view(np.uint8)


def quads(flat: np.ndarray, groups: int) -> np.ndarray:
    """flat: int8 [groups * columns, depth]. Returns int8 [groups * panels, quads, PANEL, QUAD], as `stored`."""
    padded = _padded(flat, groups, QUAD)
    words = padded.view(np.int32)[..., 0]  # a quad is moved as one number: byte by byte takes five times as long
    ordered = np.ascontiguousarray(words.swapaxes(2, 3))
    return ordered.view(flat.dtype).reshape(-1, padded.shape[3], PANEL, QUAD)


def _padded(flat: np.ndarray, groups: int, depth: int) -> np.ndarray:
    """[groups, panels, PANEL, blocks of `depth`, depth], padded with 0."""
    columns = len(flat) // groups
    panels, blocks = -(-columns // PANEL), -(-flat.shape[1] // depth)
    whole = np.zeros((groups, panels * PANEL, blocks * depth), flat.dtype)
    whole[:, :columns, : flat.shape[1]] = flat.reshape(groups, columns, flat.shape[1])
    return whole.reshape(groups, panels, PANEL, blocks, depth)


def _ordered(padded: np.ndarray) -> np.ndarray:
    """int8 [n]: the blocks of each panel in sequence, each of them column by column."""
    return np.ascontiguousarray(padded.transpose(0, 1, 3, 2, 4)).reshape(-1).view(np.int8)


def _of_bits(codes: np.ndarray, groups: int, bits: int) -> np.ndarray:
    """codes: of the shape of the weight; only the lowest bits count."""
    depth = 2 * QUAD if bits == 2 else QUAD
    padded = _padded(codes, groups, depth).view(np.uint8) & (2**bits - 1)
    groups_, panels, _, blocks, _ = padded.shape
    quads = padded.reshape(groups_, panels, PANEL, blocks, depth // QUAD, QUAD).transpose(0, 1, 3, 4, 2, 5)
    if bits == 1:
        return np.packbits(quads.reshape(-1, 8), axis=-1, bitorder="little").reshape(-1).view(np.int8)
    parts = quads.reshape(-1, 8 // bits, _HALF)
    packed = sum(parts[:, i] << (bits * i) for i in range(8 // bits))
    return np.ascontiguousarray(packed, np.uint8).reshape(-1).view(np.int8)


def _sparse(flat: np.ndarray, groups: int) -> tuple[np.ndarray, np.ndarray]:
    blocks = _padded(flat, groups, QUAD).transpose(0, 1, 3, 2, 4).reshape(-1, -(-flat.shape[1] // QUAD), PANEL, QUAD)
    panel, place = np.nonzero(blocks.any(axis=(2, 3)))
    starts = np.concatenate([[0], np.cumsum(np.bincount(panel, minlength=len(blocks)))])
    weight = blocks[panel, place].reshape(-1)
    return weight, np.concatenate([starts, place]).astype(np.int32).view(np.uint8)
