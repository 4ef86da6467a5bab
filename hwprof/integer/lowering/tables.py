"""Any float function of one quantized tensor, computed when the network is loaded: a table of 256 entries for an
8-bit tensor, piecewise-linear for a 16-bit one.

The function may be several operators: a GELU written as Div, Erf, Add and Mul is one table.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from onnx import ModelProto, TensorProto, helper, shape_inference
from onnx.reference import ReferenceEvaluator

from hwprof.graph import Node
from hwprof.integer.lowering.symbol_table import Held, SymbolTable, refuse
from hwprof.integer.lowering.target import Target
from hwprof.integer.numerics import piecewise_fit
from hwprof.integer.numerics.grid import Grid
from hwprof.integer.numerics.piecewise import Piecewise
from hwprof.integer.program.program import Lines, Table
from hwprof.onnx_io.proto import node_to_proto

_ONE_OPERAND = {
    "Abs", "Acos", "Acosh", "Asin", "Asinh", "Atan", "Atanh", "Ceil", "Celu", "Clip", "Cos", "Cosh", "Elu", "Erf",
    "Exp", "Floor", "Gelu", "HardSigmoid", "HardSwish", "Identity", "LeakyRelu", "Log", "Mish", "Neg", "Reciprocal",
    "Relu", "Round", "Selu", "Shrink", "Sigmoid", "Sign", "Sin", "Sinh", "Softplus", "Softsign", "Sqrt", "Swish",
    "Tan", "Tanh", "ThresholdedRelu",
}  # fmt: skip
_MORE_OPERANDS = {"Add", "Div", "Max", "Mean", "Min", "Mod", "Mul", "Pow", "PRelu", "Sub", "Sum"}


def source(symbols: SymbolTable, name: str) -> Held | None:
    """The one quantized tensor that the float tensor is an element-wise function of; None where there is none."""
    found = _sources(symbols, name)
    return found[0] if found is not None and len({held.value for held in found}) == 1 else None


def lookup(symbols: SymbolTable, name: str, grid: Grid, members: tuple[str, ...], node: Node) -> Held:
    """The float tensor on the grid. Raises InputError where it is not a function of one tensor."""
    held = source(symbols, name)
    if held is None:
        raise _refusal(symbols, name, node)
    reals, covered = values(symbols, name, held)
    reals = beside_the_domain(reals)
    if np.isnan(reals).any():
        raise refuse(node, f"{name!r} is not a number for some of the {len(reals)} values of its input")
    if held.grid.dtype == "uint8":
        return tabulated(symbols, held, grid.quantized(reals), grid, name, (*covered, *members))
    lines = piecewise_fit.of_function(reals, held.grid, grid)
    if lines is None:
        raise refuse(
            node,
            f"{name!r} jumps: {piecewise_fit.SEGMENTS[-1]} line segments cannot follow it, as 16-bit functions need",
        )
    return drawn(symbols, held, lines, Target(name, grid, grid.low, grid.high, (*covered, *members)))


def beside_the_domain(reals: np.ndarray) -> np.ndarray:
    """reals: float32 [n]. Returns them with the value of the neighbour at one integer just outside of the function's
    domain, where only a grid's rounding leads, such as an arccosine of 1.002."""
    unknown = np.isnan(reals)
    beside = unknown & ~np.append(unknown[1:], True), unknown & ~np.append(True, unknown[:-1])
    filled = reals.copy()
    for shift, places in zip((1, -1), beside, strict=True):
        filled[places] = reals[np.flatnonzero(places) + shift]
    return filled


def values(symbols: SymbolTable, name: str, held: Held) -> tuple[np.ndarray, list[str]]:
    """The float tensor for each integer of its `source`, [256] or [65536], in the order of `Grid.reals`, and the labels
    of the nodes passed."""
    covered: list[str] = []
    with np.errstate(all="ignore"):
        reals = _evaluated(symbols, name, held.grid.reals(), covered)
    return reals, covered


def requantized(symbols: SymbolTable, held: Held, grid: Grid, name: str) -> Held:
    """The tensor on another grid; unchanged where it is on that grid already."""
    if held.grid == grid:
        return held
    if held.grid.dtype == "uint8":
        return tabulated(symbols, held, grid.quantized(held.grid.reals()), grid, name, ())
    return drawn(
        symbols, held, piecewise_fit.of_rescaling(held.grid, grid), Target(name, grid, grid.low, grid.high, ())
    )


def on_grid(symbols: SymbolTable, node: Node, name: str, grid: Grid) -> Held:
    """A tensor that the node reads, stored or computed, on the grid."""
    reals = symbols.reals(name)
    if name not in symbols.views and reals is not None:
        return symbols.keep(f"{name} on {grid.scale:g}", grid.quantized(reals), grid)
    return requantized(symbols, symbols.any_view(node, name), grid, f"{name} rescaled")


def bounded(symbols: SymbolTable, held: Held, target: Target) -> Held:
    """The tensor, which is on the target's grid, clipped to its bounds."""
    name = f"{target.name} bounded"
    if held.grid.dtype == "uint8":
        table = np.clip(np.arange(256), target.low, target.high).astype(np.uint8)
        return tabulated(symbols, held, table, held.grid, name, ())
    return drawn(
        symbols, held, piecewise_fit.of_rescaling(held.grid, held.grid), replace(target, name=name, members=())
    )


def reflected(symbols: SymbolTable, held: Held) -> Held:
    """The negative of an 8-bit tensor, exactly: its grid is reflected, too."""
    grid = replace(held.grid, zero=255 - held.grid.zero)
    return tabulated(symbols, held, np.arange(255, -1, -1, dtype=np.uint8), grid, f"{held.value} negative", ())


def drawn(symbols: SymbolTable, held: Held, lines: Piecewise, target: Target) -> Held:
    """The function of a 16-bit tensor that the lines are, within the target's bounds."""
    value = symbols.new_value(target.name, symbols.values[held.value].shape, target.grid.dtype)
    label = target.members[0] if target.members else target.name
    symbols.operations.append(Lines(label, target.members, held.value, value, lines, target.low, target.high))
    return Held(value, target.grid, held.shape, held.is_image)


def tabulated(
    symbols: SymbolTable, held: Held, table: np.ndarray, grid: Grid, name: str, members: tuple[str, ...]
) -> Held:  # fmt: skip
    """table: [256]. Two tables in a row become one; the first is dropped where nothing else reads it."""
    value = symbols.new_value(name, symbols.values[held.value].shape, grid.dtype)
    source, inner = symbols.function(held.value)
    symbols.tabulate(Table(members[0] if members else name, members, source, value, table[inner]))
    return Held(value, grid, held.shape, held.is_image)


def _refusal(symbols: SymbolTable, name: str, node: Node) -> Exception:
    """Names the unsupported operator nearest to the QuantizeLinear."""
    made_by = symbols.pending.get(name, node)
    if made_by.op in _ONE_OPERAND or made_by.op in _MORE_OPERANDS:
        for inner in made_by.inputs:
            if inner in symbols.pending and source(symbols, inner) is None:
                return _refusal(symbols, inner, made_by)
        return refuse(made_by, "it is neither a function of one quantized tensor nor covered by another rule")
    return refuse(made_by, "this operator is not supported")


def _sources(symbols: SymbolTable, name: str) -> list[Held] | None:
    """Every quantized tensor that the function reads; None where an operator is not element-wise."""
    if name in symbols.views:
        return [symbols.views[name]]
    if _scalar(symbols, name) is not None:
        return []
    node = symbols.pending.get(name)
    if node is None or (node.op not in _ONE_OPERAND and node.op not in _MORE_OPERANDS):
        return None
    found = [_sources(symbols, n) for n in node.inputs if n]
    return None if any(f is None for f in found) else [held for part in found for held in part or ()]


def _scalar(symbols: SymbolTable, name: str) -> np.ndarray | None:
    """float32 []; None for a tensor that is not stored or has several elements."""
    if name in symbols.stored and symbols.stored[name].values.size == 1:
        return np.array(symbols.stored[name].real().ravel()[0], np.float32)
    if name in symbols.weights and name not in symbols.stored and symbols.weights[name].size == 1:
        return np.array(symbols.weights[name].ravel()[0], np.float32)
    return None


def _evaluated(symbols: SymbolTable, name: str, reals: np.ndarray, covered: list[str]) -> np.ndarray:
    """float32 [n], for reals: float32 [n]. Adds the labels of the nodes passed to `covered`."""
    if name in symbols.views:
        return reals
    scalar = _scalar(symbols, name)
    if scalar is not None:
        return scalar
    node = symbols.pending[name]
    inputs = {n: _evaluated(symbols, n, reals, covered) for n in node.inputs if n}
    if node.label not in covered:
        covered.append(node.label)
    (result,) = ReferenceEvaluator(_model(symbols, node, inputs)).run(None, inputs)
    return np.broadcast_to(np.asarray(result, np.float32), reals.shape)


def _model(symbols: SymbolTable, node: Node, inputs: dict[str, np.ndarray]) -> ModelProto:
    """A model of the one node; with types, since operators defined by other operators need those of their inputs."""
    typed = [helper.make_tensor_value_info(n, TensorProto.FLOAT, array.shape) for n, array in inputs.items()]
    result = helper.make_tensor_value_info(node.outputs[0], TensorProto.FLOAT, None)
    proto = node_to_proto(node, lambda _: lambda tensor: symbols.weights[tensor.name])
    opset = helper.make_opsetid("", dict(symbols.graph.opsets).get("", 0))
    graph = helper.make_graph([proto], "function", typed, [result])
    return shape_inference.infer_shapes(helper.make_model(graph, opset_imports=[opset]))
