"""Recurrent layers: LSTM, GRU and RNN in both directions.

A layer that starts from a state of zeros is one operation for each direction, and feeds back its states on the grid of
its result. Any other layer is written out step by step with 16-bit gates and states: one whose first state is an input,
whose cell state is read, an RNN.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache

import numpy as np

from hwprof.graph import Node
from hwprof.integer.lowering import gru_rule, lstm_rule, pair_rule, product_rule, tables
from hwprof.integer.lowering.symbol_table import Held, SymbolTable, refuse
from hwprof.integer.lowering.target import Target
from hwprof.integer.numerics import gated, piecewise_fit, recurrent
from hwprof.integer.numerics.grid import Grid
from hwprof.integer.numerics.piecewise import Piecewise
from hwprof.integer.program.program import Concatenate, Slice

_GATE = Grid(2.0**-recurrent.GATE_BITS, 0, dtype="int16")
_PART = Grid(2.0**-9, 0, dtype="int16")  # of a gate: the contributions of x and h may be large and cancel each other
_CELL = Grid(2.0**-recurrent.CELL_BITS, 0, dtype="int16")
_STATE = Grid(2.0**-recurrent.VALUE_BITS, 0, dtype="int16")
_MOST_STEPS = 256  # that are written out
_LENGTHS, _FIRST_H, _FIRST_C, _PEEPHOLES = 4, 5, 6, 7  # inputs
_CELL_OUTPUT = 2
_DEFAULTS = {"LSTM": ("Sigmoid", "Tanh", "Tanh"), "GRU": ("Sigmoid", "Tanh"), "RNN": ("Tanh",)}
_FUSED = {"LSTM": lstm_rule.lower, "GRU": gru_rule.lower}
_COUNTS = {"LSTM": recurrent.GATES, "GRU": gated.GATES, "RNN": 1}


def rule(symbols: SymbolTable, node: Node, target: Target) -> Held:
    """One of the layer's results. Raises InputError where the operations do not support the node."""
    if target.is_bounded:
        raise refuse(node, "its result must be quantized directly, without an operator in between")
    _require_supported(symbols, node)
    place = node.outputs.index(target.name)
    y = (
        _written_out(symbols, node, target, place)
        if _needs_steps(symbols, node)
        else _fused(symbols, node, target, place)
    )
    return _in_layout(symbols, node, y, target.name, place)


def _in_layout(symbols: SymbolTable, node: Node, y: Held, name: str, place: int) -> Held:
    """ONNX's layout 1 has the batch first."""
    if not node.attribute("layout", 0):
        return y
    return symbols.transposed(y, (2, 0, 1, 3) if place == 0 else (1, 0, 2), f"{name} batch first")


def _sequence(symbols: SymbolTable, node: Node) -> Held:
    """x: [steps, batch, depth]."""
    x = symbols.plain(symbols.any_view(node, node.inputs[0]))
    return symbols.transposed(x, (1, 0, 2), f"{x.value} steps first") if node.attribute("layout", 0) else x


def _directions(node: Node) -> list[bool]:
    """For each direction whether it reads the sequence from its end."""
    return {"forward": [False], "reverse": [True], "bidirectional": [False, True]}[
        str(node.attribute("direction", "forward"))
    ]


def _require_supported(symbols: SymbolTable, node: Node) -> None:
    defaults = [name.lower() for name in _DEFAULTS[node.op]] * len(_directions(node))
    activations = [str(name).lower() for name in node.attribute("activations", None) or defaults]
    if activations != defaults:
        raise refuse(node, f"its activations {', '.join(activations)} are not supported, only {', '.join(defaults)}")
    for attribute, plain in (("input_forget", 0), ("clip", None)):
        if node.attribute(attribute, plain) != plain:
            raise refuse(node, f"its attribute {attribute!r} is not supported")
    steps = _sequence_length(symbols, node)
    for place, wanted in ((_LENGTHS, steps), (_PEEPHOLES, 0)):
        name = _input(node, place)
        if name and not np.all(symbols.weights.get(name, wanted + 1) == wanted):
            raise refuse(
                node, f"its input {name!r} is not supported: all sequences must have one length, without peepholes"
            )


def _sequence_length(symbols: SymbolTable, node: Node) -> int:
    return symbols.graph.shape(node.inputs[0])[1 if node.attribute("layout", 0) else 0]


def _input(node: Node, place: int) -> str:
    return node.inputs[place] if len(node.inputs) > place else ""


def _needs_steps(symbols: SymbolTable, node: Node) -> bool:
    """Whether the layer is more than a fused operation computes."""
    read = {name for reader in symbols.graph.nodes for name in reader.inputs} | set(symbols.graph.outputs)
    starts = [name for place in (_FIRST_H, _FIRST_C) if (name := _input(node, place))]
    has_start = any(np.any(symbols.weights[n]) if n in symbols.weights else True for n in starts)
    reads_cell = any(name in read for name in node.outputs[_CELL_OUTPUT:] if name)
    is_wide = symbols.any_view(node, node.inputs[0]).grid.dtype != "uint8"
    return node.op not in _FUSED or has_start or reads_cell or is_wide


# -- one operation -------------------------------------------------------------------------------------


def _fused(symbols: SymbolTable, node: Node, target: Target, place: int) -> Held:
    target.require_bytes(node)
    key = node.label
    if key not in symbols.layers:
        name = node.outputs[0] or f"{target.name} of all steps"
        symbols.layers[key] = _all_states(symbols, node, target, name)
    held = symbols.layers[key]
    if held.grid != target.grid:
        raise refuse(node, "its states and its last state must be quantized with the same scale")
    return held if place == 0 else _last(symbols, node, held, target.name)


def _all_states(symbols: SymbolTable, node: Node, target: Target, name: str) -> Held:
    """[steps, directions, batch, units]"""
    x, lower = _sequence(symbols, node), _FUSED[node.op]
    parts = []
    for i, is_reversed in enumerate(_directions(node)):
        turned = _backwards(symbols, x) if is_reversed else x
        states = lower(symbols, node, turned, target.grid, f"{name} {i}" if i else name, target.members, i)
        parts.append(_backwards(symbols, states) if is_reversed else states)
    return _beside(symbols, parts, name)


def _backwards(symbols: SymbolTable, x: Held) -> Held:
    """The sequence from its end."""
    name = f"{x.value} backwards"
    value = symbols.new_value(name, x.shape, x.grid.dtype)
    starts, steps = (x.shape[0] - 1, *(0,) * (len(x.shape) - 1)), (-1, *(1,) * (len(x.shape) - 1))
    symbols.operations.append(Slice(name, (), x.value, value, starts, steps))
    return replace(x, value=value)


def _beside(symbols: SymbolTable, parts: Sequence[Held], name: str, axis: int = 1) -> Held:
    """Tensors, each with a new axis, concatenated along it."""
    first = parts[0]
    single = (*first.shape[:axis], 1, *first.shape[axis:])
    apart = [symbols.reshaped(part, single, name if len(parts) == 1 else f"{part.value} apart") for part in parts]
    if len(parts) == 1:
        return apart[0]
    shape = (*first.shape[:axis], len(parts), *first.shape[axis:])
    value = symbols.new_value(name, shape, first.grid.dtype)
    symbols.operations.append(Concatenate(name, (), tuple(part.value for part in apart), value, axis))
    return Held(value, first.grid, shape)


def _last(symbols: SymbolTable, node: Node, states: Held, name: str) -> Held:
    """The last states of [steps, directions, batch, units], each in its direction, as `name` [directions, batch,
    units]."""
    steps, _, batch, units = states.shape
    parts = []
    for i, is_reversed in enumerate(_directions(node)):
        value = symbols.new_value(f"{name} {i}", (1, 1, batch, units), states.grid.dtype)
        starts = (0 if is_reversed else steps - 1, i, 0, 0)
        symbols.operations.append(Slice(f"{node.label} last", (), states.value, value, starts, (1, 1, 1, 1)))
        parts.append(symbols.reshaped(Held(value, states.grid, ()), (batch, units), f"{name} part {i}"))
    return _beside(symbols, parts, name, axis=0)


# -- step by step --------------------------------------------------------------------------------------


def _written_out(symbols: SymbolTable, node: Node, target: Target, place: int) -> Held:
    kinds = ("of all steps", "last", "cell")
    key = f"{node.label} {kinds[place]}"
    if key not in symbols.layers:
        for kind, held in zip(kinds, _stepped(symbols, node, target), strict=False):
            symbols.layers[f"{node.label} {kind}"] = held
    return tables.requantized(symbols, symbols.layers[key], target.grid, target.name)


def _stepped(symbols: SymbolTable, node: Node, target: Target) -> list[Held]:
    """All states [steps, directions, batch, units], the last ones and the last cell states [directions, batch, units],
    in 16 bits."""
    x = _sequence(symbols, node)
    if x.shape[0] > _MOST_STEPS:
        raise refuse(node, f"it has {x.shape[0]} steps; at most {_MOST_STEPS} can be written out for it")
    ran = [_Layer(symbols, node, target, x, i, turned).run() for i, turned in enumerate(_directions(node))]
    name = f"{node.label} in 16 bits"
    all_states = _beside(symbols, [states for states, _, _ in ran], f"{name} states")
    last = _beside(symbols, [h for _, h, _ in ran], f"{name} last", axis=0)
    cells = [c for _, _, c in ran if c is not None]
    return [all_states, last, *([_beside(symbols, cells, f"{name} cell", axis=0)] if cells else [])]


@dataclass(frozen=True, slots=True)
class _Layer:
    """One direction of a layer, of the sequence x [steps, batch, depth]."""

    symbols: SymbolTable
    node: Node
    target: Target
    x: Held
    direction: int
    is_reversed: bool

    def run(self) -> tuple[Held, Held, Held | None]:
        """The states [steps, batch, units], the last one and the last cell state, [batch, units]."""
        steps, batch, _ = self.x.shape
        bias = lstm_rule.biases(self.symbols, self.node, _COUNTS[self.node.op])[self.direction]
        resets_behind = self.node.op == "GRU" and bool(self.node.attribute("linear_before_reset", 0))
        joined, own = bias[0] + bias[1], np.zeros_like(bias[1])
        if resets_behind:
            joined[-1], own[-1] = bias[0][-1], bias[1][-1]
        given = self._product(self.x, 1, joined.ravel(), "inputs")
        units = bias.shape[-1]
        h = self._first(_FIRST_H, (batch, units), _STATE)
        c = self._first(_FIRST_C, (batch, units), _CELL) if self.node.op == "LSTM" else None
        states: list[Held] = [h] * steps
        for t in range(steps)[:: -1 if self.is_reversed else 1]:
            of_x = self._part(given, t)
            if self.node.op == "LSTM":
                assert c is not None
                h, c = self._lstm(of_x, h, c, own)
            elif self.node.op == "GRU":
                h = self._gru(of_x, h, own, resets_behind)
            else:
                gates = self._sum(of_x, self._product(h, 2, own.ravel(), "of h"), _GATE)
                h = self._function(gates, np.tanh, _STATE)
            states[t] = h
        joined_states = _beside(self.symbols, states, f"{self.node.label} states {self.direction}", axis=0)
        return joined_states, h, c

    def _lstm(self, of_x: Held, h: Held, c: Held, own: np.ndarray) -> tuple[Held, Held]:
        gates = self._sum(of_x, self._product(h, 2, own.ravel(), "of h"), _GATE)
        in_, out, forget, fresh = (self._gate(gates, i) for i in range(recurrent.GATES))
        in_, out, forget = (self._function(gate, _sigmoid, _STATE) for gate in (in_, out, forget))
        kept = self._times(forget, c, _CELL)
        c = self._sum(kept, self._times(in_, self._function(fresh, np.tanh, _STATE), _CELL), _CELL)
        return self._times(out, self._function(c, np.tanh, _STATE), _STATE), c

    def _gru(self, of_x: Held, h: Held, own: np.ndarray, resets_behind: bool) -> Held:
        of_h = self._product(h, 2, own.ravel(), "of h")
        update, reset = (
            self._function(self._sum(self._gate(of_x, i), self._gate(of_h, i), _GATE), _sigmoid, _STATE)
            for i in range(2)
        )
        if resets_behind:
            more = self._times(reset, self._gate(of_h, 2), _PART)
        else:
            more = self._gate(self._product(self._times(reset, h, h.grid), 2, own.ravel(), "of reset h"), 2)
        fresh = self._function(self._sum(self._gate(of_x, 2), more, _GATE), np.tanh, _STATE)
        moved = self._times(update, self._sum(h, fresh, replace(h.grid, scale=2 * h.grid.scale), -1), h.grid)
        return self._sum(fresh, moved, h.grid)

    def _first(self, place: int, shape: tuple[int, int], grid: Grid) -> Held:
        """The state before the first step."""
        name = _input(self.node, place)
        symbols = self.symbols
        if not name:
            return symbols.keep(f"{self.node.label} zeros", np.zeros(shape, np.int16), grid)
        grid = self._reaching(grid, name)
        by_batch = bool(self.node.attribute("layout", 0))
        if name in symbols.weights:
            reals = symbols.weights[name][:, self.direction] if by_batch else symbols.weights[name][self.direction]
            return symbols.keep(f"{name} {self.direction}", grid.quantized(reals), grid)
        held = symbols.plain(symbols.any_view(self.node, name))
        if by_batch:
            held = symbols.transposed(held, (1, 0, 2), f"{name} batch last")
        value = symbols.new_value(f"{name} {self.direction}", (1, *shape), held.grid.dtype)
        symbols.operations.append(Slice(value, (), held.value, value, (self.direction, 0, 0), (1, 1, 1)))
        part = symbols.reshaped(Held(value, held.grid, (1, *shape)), shape, f"{value} state")
        wide = product_rule.widened(symbols, part)
        return tables.requantized(symbols, wide, grid, f"{name} as a state")

    def _reaching(self, grid: Grid, name: str) -> Grid:
        """The grid, or one of larger steps where the first state exceeds it; later ones of an LSTM never do."""
        symbols = self.symbols
        if name in symbols.weights:
            reach = float(np.abs(symbols.weights[name]).max(initial=0))
        else:
            reach = pair_rule.reach(symbols.any_view(self.node, name).grid)
        return replace(grid, scale=max(grid.scale, reach / grid.high))

    def _product(self, x: Held, place: int, bias: np.ndarray, name: str) -> Held:
        """The gates of a tensor [..., depth] in 16 bits. bias: float64 [n * units]."""
        weight, scale = lstm_rule.rows_of(self.symbols, self.node, self.node.inputs[place], self.direction)
        return product_rule.with_rows(self.symbols, self.node, x, weight, scale, bias, self._target(name, _PART))

    def _target(self, name: str, grid: Grid) -> Target:
        return Target(f"{self.node.label} {name}", grid, grid.low, grid.high, self.target.members)

    def _part(self, given: Held, step: int) -> Held:
        value = self.symbols.new_value(f"{given.value} at {step}", (1, *given.shape[1:]), "int16")
        self.symbols.operations.append(Slice(value, (), given.value, value, (step, 0, 0), (1, 1, 1)))
        return self.symbols.reshaped(Held(value, given.grid, ()), given.shape[1:], f"{value} gates")

    def _gate(self, gates: Held, index: int) -> Held:
        batch, width = gates.shape
        units = width // _COUNTS[self.node.op]
        value = self.symbols.new_value(f"{gates.value} gate {index}", (batch, units), "int16")
        self.symbols.operations.append(Slice(value, (), gates.value, value, (0, index * units), (1, 1)))
        return Held(value, gates.grid, (batch, units))

    def _sum(self, a: Held, b: Held, grid: Grid, sign: int = 1) -> Held:
        return pair_rule.summed(self.symbols, self.node, a, b, self._target("sum", grid), (1, sign))

    def _times(self, a: Held, b: Held, grid: Grid) -> Held:
        return pair_rule.product(self.symbols, self.node, a, b, self._target("product", grid))

    def _function(self, x: Held, function: Callable[[np.ndarray], np.ndarray], grid: Grid) -> Held:
        lines = _lines(function, x.grid, grid)
        return tables.drawn(self.symbols, x, lines, self._target("function", grid))


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return np.asarray(1 / (1 + np.exp(-x)))


@cache
def _lines(function: Callable[[np.ndarray], np.ndarray], x: Grid, y: Grid) -> Piecewise:
    """The function from grid to grid."""
    lines = piecewise_fit.of_function(function(x.reals().astype(np.float64)).astype(np.float32), x, y)
    assert lines is not None  # tanh and sigmoid bend gently
    return lines
