"""Element-wise functions of one integer or boolean input, such as a padding mask and the operators that build it.

An input with few values makes every function of it a table: all operators from the input to the next QuantizeLinear
are computed when the network is loaded.
"""

from __future__ import annotations

import numpy as np

from hwprof.graph import Node
from hwprof.integer.lowering import embedding_rule, folding
from hwprof.integer.lowering.symbol_table import Code, Held, SymbolTable, refuse
from hwprof.integer.numerics.grid import Grid
from hwprof.integer.program.program import Embedding
from hwprof.onnx_io.proto import numpy_dtype

_BY_ELEMENT = {
    "Add", "And", "Cast", "Div", "Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Mul", "Neg", "Not", "Or",
    "Sub", "Where",
}  # fmt: skip
_MOVES = {"Flatten", "Identity", "Reshape", "Squeeze", "Unsqueeze"}


def apply(symbols: SymbolTable, node: Node) -> bool:
    """Records the result of the node where it is a function of one input's integers. Returns whether it is."""
    if node.domain or node.op not in _BY_ELEMENT | _MOVES:
        return False
    codes = {name: code for name in node.inputs if (code := of(symbols, name)) is not None}
    if len({code.input for code in codes.values()}) != 1:
        return False
    (out,), code = node.outputs, next(iter(codes.values()))
    if symbols.graph.type_of(out).numel != symbols.graph.type_of(code.input).numel:
        return False
    values = code.values if node.op in _MOVES else _worked_out(symbols, node, codes)
    if values is None:
        return False
    symbols.codes[out] = Code(code.input, values, symbols.graph.shape(out))
    return True


def of(symbols: SymbolTable, name: str) -> Code | None:
    """The function of an input that the tensor is; None where it is not one."""
    if name in symbols.codes:
        return symbols.codes[name]
    for tensor in symbols.graph.inputs:
        if tensor.name == name and tensor.dtype in embedding_rule.INDEX_TYPES:
            rows = embedding_rule.rows_behind(symbols.graph, name)
            return Code(name, np.arange(rows).astype(tensor.dtype), tensor.shape)
    return None


def quantized(symbols: SymbolTable, node: Node, code: Code, name: str, grid: Grid) -> Held:
    """The tensor on the grid. Raises InputError where one of its values is not a number."""
    reals = code.values.astype(np.float32)
    if np.isnan(reals).any():
        raise refuse(node, f"{name!r} is not a number for some values of the input {code.input!r}")
    return looked_up(symbols, node, code, grid.quantized(reals), name, grid)


def looked_up(symbols: SymbolTable, node: Node, code: Code, table: np.ndarray, name: str, grid: Grid) -> Held:
    """The tensor that is another function of the input of a code. table: uint8 [n], on the grid."""
    ids = embedding_rule.entered(symbols, node, code.input, len(table))
    value = symbols.new_value(name, (*symbols.values[ids].shape, 1))
    symbols.operations.append(Embedding(node.label, (node.label,), ids, value, table[:, None]))
    return symbols.reshaped(Held(value, grid, code.shape), code.shape, name)


def number(symbols: SymbolTable, name: str) -> np.ndarray | None:
    """The one value, scalar [], that all elements of a stored tensor have; None for another tensor."""
    array = symbols.stored[name].real() if name in symbols.stored else symbols.weights.get(name)
    if array is None or not array.size or (array != array.flat[0]).any():
        return None
    return np.asarray(array.flat[0], numpy_dtype(symbols.graph.type_of(name)))


def _worked_out(symbols: SymbolTable, node: Node, codes: dict[str, Code]) -> np.ndarray | None:
    """[n], in the result's type; None where another operand is not a single stored number."""
    arrays = {name: code.values for name, code in codes.items()}
    for name in node.inputs:
        if name and name not in arrays:
            if (stored := number(symbols, name)) is None:
                return None
            arrays[name] = stored
    (values,) = folding.folded(symbols.graph, node, arrays).values()
    return values
