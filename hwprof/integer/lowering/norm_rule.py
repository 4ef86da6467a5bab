"""LayerNormalization and RMSNormalization over the last axis as one integer operation."""

from __future__ import annotations

import numpy as np

from hwprof.graph import Node
from hwprof.integer.lowering.symbol_table import Held, SymbolTable, refuse
from hwprof.integer.lowering.target import Target
from hwprof.integer.numerics.normalize import LONGEST_ROW, RESULT_BITS, WIDE_RESULT_BITS, gain_bits
from hwprof.integer.program.program import Normalization

_LARGEST_EPSILON = {"uint8": 2.0**44, "int16": 2.0**58}  # by the type of x
_RESULT_BITS = {"uint8": RESULT_BITS, "int16": WIDE_RESULT_BITS}
_LARGEST_GAIN, _LARGEST_BIAS = 2.0**31, 2.0**28  # as the operation holds them
_EPSILON = 1e-5  # ONNX's


def layer_norm(symbols: SymbolTable, node: Node, target: Target) -> Held:
    """A LayerNormalization over the last axis. Raises InputError where the operation does not support the node."""
    return _normalization(symbols, node, target, is_centred=True)


def rms_norm(symbols: SymbolTable, node: Node, target: Target) -> Held:
    """An RMSNormalization over the last axis. Raises InputError where the operation does not support the node."""
    return _normalization(symbols, node, target, is_centred=False)


def _normalization(symbols: SymbolTable, node: Node, target: Target, is_centred: bool) -> Held:
    x = symbols.plain(symbols.any_view(node, node.inputs[0]))
    n = x.shape[-1]
    if node.attribute("axis", -1) % len(x.shape) != len(x.shape) - 1:
        raise refuse(node, "only the last axis is supported")
    if n > LONGEST_ROW:
        raise refuse(node, f"rows of more than {LONGEST_ROW} elements are not supported")
    read = {name for reader in symbols.graph.nodes for name in reader.inputs} | set(symbols.graph.outputs)
    if any(name in read for name in node.outputs[1:]):
        raise refuse(node, "its mean or deviation is read; only the normalized values are supported")
    epsilon = float(node.attribute("epsilon", _EPSILON)) * n * n / x.grid.scale**2
    if not 0 <= epsilon <= _LARGEST_EPSILON[x.grid.dtype]:
        raise refuse(node, f"its epsilon is too large for the scale of its input, {x.grid.scale}")
    result_bits = _RESULT_BITS[target.grid.dtype]
    gain = _of_elements(symbols, node, 1, n, 1.0) / target.grid.scale * 2.0 ** gain_bits(result_bits)
    bias = (_of_elements(symbols, node, 2, n, 0.0) / target.grid.scale + target.grid.zero) * 2.0**result_bits
    if not (np.abs(gain).max() < _LARGEST_GAIN and np.abs(bias).max() < _LARGEST_BIAS):
        raise refuse(node, "its gain or bias does not fit the scale of its result")
    value = symbols.new_value(target.name, x.shape, target.grid.dtype)
    operation = Normalization(
        node.label, target.members, x.value, value,
        multiplier=np.minimum(np.rint(gain), 2.0**31 - 1).astype(np.int32),
        bias=np.rint(bias).astype(np.int32),
        epsilon=round(epsilon), zero_x=x.grid.zero, is_centred=is_centred,
        low=target.low, high=target.high, result_bits=result_bits,
    )  # fmt: skip
    symbols.operations.append(operation)
    return Held(value, target.grid, x.shape)


def _of_elements(symbols: SymbolTable, node: Node, index: int, n: int, default: float) -> np.ndarray:
    """float64 [n]: the stored input, or the default where the node does not have it."""
    if len(node.inputs) <= index or not node.inputs[index]:
        return np.full(n, default)
    reals = symbols.reals(node.inputs[index])
    if reals is None:
        raise refuse(node, f"its input {node.inputs[index]!r} is not stored")
    if not np.isfinite(reals).all() or reals.size not in (1, n):
        raise refuse(node, f"its input {node.inputs[index]!r} is not a finite number for each element of a row")
    return np.broadcast_to(reals.ravel(), (n,))
