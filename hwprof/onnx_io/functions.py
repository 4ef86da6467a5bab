"""Local functions of a model, inlined after their size was counted."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from onnx import AttributeProto, ModelProto, NodeProto
from onnx.checker import ValidationError
from onnx.inliner import inline_local_functions

from hwprof.errors import InputError, one_line

# Functions that call others twice double their size at each level: 26 levels are 67 million operators.
_MOST_OPERATORS = 500_000
_DEEPEST = 100

Key = tuple[str, str, str]  # domain, name, overload


def inlined(model: ModelProto) -> ModelProto:
    """The model without local functions. Raises InputError for functions that call themselves, are nested deeper than
    100 calls, or make more than 500,000 operators."""
    if not model.functions:
        return model
    sizes = _Sizes(model)
    for function in model.functions:
        sizes.of((function.domain, function.name, function.overload), ())
    total = sizes.total(model.graph.node, ())
    if total > _MOST_OPERATORS:
        raise InputError(f"its functions make {total:,} operators where they are called; at most {_MOST_OPERATORS:,}")
    try:
        return inline_local_functions(model)
    except (RuntimeError, ValueError, ValidationError) as error:
        raise InputError(f"its functions cannot be inlined: {one_line(error)}") from None


class _Sizes:
    """Counts the operators that calls become."""

    def __init__(self, model: ModelProto) -> None:
        self._bodies = {(f.domain, f.name, f.overload): f.node for f in model.functions}
        self._known: dict[Key, int] = {}

    def of(self, key: Key, callers: tuple[Key, ...]) -> int:
        """Operators of one call. callers: the functions around it."""
        if key not in self._known:
            if key in callers:
                raise InputError(f"function {key[1]!r} calls itself")
            if len(callers) >= _DEEPEST:
                raise InputError(f"function {key[1]!r} is called inside of {_DEEPEST} others")
            self._known[key] = self.total(self._bodies[key], (*callers, key))
        return self._known[key]

    def total(self, nodes: Iterable[NodeProto], callers: tuple[Key, ...]) -> int:
        keys = ((n.domain, n.op_type, n.overload) for n in _nested(nodes))
        return sum(self.of(key, callers) if key in self._bodies else 1 for key in keys)


def _nested(nodes: Iterable[NodeProto]) -> Iterator[NodeProto]:
    """The nodes and those of their control-flow bodies."""
    for node in nodes:
        yield node
        for attribute in node.attribute:
            if attribute.type == AttributeProto.GRAPH:
                yield from _nested(attribute.g.node)
