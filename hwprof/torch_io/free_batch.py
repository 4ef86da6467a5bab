"""The code of a Graph for batches of any size, though a Graph's shapes are those of one.

2026-11-29, how. A Graph holds the batch in the targets of its Reshape, Flatten and Expand only; all other operators
read their shapes from the tensors at hand. While the code is written, each line also runs on tensors without memory
(PyTorch's "meta" device) with twice the batch. The axis that grows is the batch's, and it is -1 in the targets. The
common operators of convolutional networks, which leave the batch in front, need no such run: it would take most of the
time. One module for each batch size, with shared parameters, was the alternative: it costs a translation for each size,
and the caller would have to name the sizes.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, fx

from hwprof.errors import InputError
from hwprof.graph import Graph
from hwprof.torch_io import functions
from hwprof.torch_io.module import Translator
from hwprof.torch_io.operators import RULES, TORCH_TYPES, UNARY, Call, Rule, TorchCall, title

# Operators that leave the batch in front where it is in front of their first input.
_FOLLOWING = frozenset({
    *UNARY, "Add", "AveragePool", "BatchNormalization", "Clip", "Concat", "Conv", "Dropout", "Elu", "Gelu", "Gemm",
    "GlobalAveragePool", "GlobalMaxPool", "HardSigmoid", "InstanceNormalization", "LRN", "LeakyRelu", "MaxPool", "Mul",
    "Sum",
})  # fmt: skip
_RECURRENT = frozenset({"LSTM", "GRU", "RNN"})


class Batch(NamedTuple):
    """Where the batch is in a tensor: its axis, and how many elements of that axis are outside of the batch when the
    batch shares the axis with others (1: the batch is the outermost)."""

    axis: int
    outside: int = 1


class FreeBatchTranslator(Translator):
    """Writes code that takes any batch size. batch_axes: the axis for each input, None for an input without a batch; an
    input that is not named has it in front, or second where a recurrent network reads [time, 1, ...].

    Raises InputError where the batch cannot be followed through the network, and for an axis of an unknown input.
    """

    def __init__(
        self,
        graph: Graph,
        static: Mapping[str, Tensor],
        rules: Mapping[str, Rule] = RULES,
        batch_axes: Mapping[str, int | None] | None = None,
    ) -> None:
        shaping: dict[str, Rule] = {
            "Reshape": self._reshape,
            "Flatten": self._reshape,
            "Expand": self._expand,
            "Concat": self._concat,
        }
        super().__init__(graph, static, torch.float32, {**rules, **shaping})
        self._batch_axes = {t.name: _usual_axis(graph, t.shape) for t in graph.inputs} | dict(batch_axes or {})
        self._trials: dict[fx.Node, Any] = {}
        self._batches: dict[fx.Node, Batch | None] = {}
        self._reshaped: dict[str, Batch] = {}
        self._producers = graph.producers()
        self._size = self._graph_batch()

    def module(self) -> fx.GraphModule:
        made = super().module()
        for name in self.graph.outputs:
            if self.graph.shape(name) and self._batch(self.value(name)) is None:
                raise self._lost(name, "it has no batch")
        return made

    def assign(self, name: str, made: fx.Node) -> None:
        super().assign(name, made)
        known = self._known_batch(name, made)
        if known is not None:
            self._batches[made] = known
            self._trials[made] = self._enlarged(name, known.axis)
            return
        try:
            with torch.no_grad():
                trial = self._trial(made)
        except (RuntimeError, ValueError, IndexError) as error:
            raise self._lost(name, str(error).splitlines()[0]) from None
        self._batches[made] = self._grown(name, made, trial)

    def _known_batch(self, name: str, made: fx.Node) -> Batch | None:
        """The batch of a tensor where it is known without a trial."""
        if made.op == "placeholder":
            axis = self._batch_axes[name]
            return None if axis is None else Batch(axis)
        return self._reshaped.get(name) or self._followed(name)

    def _followed(self, name: str) -> Batch | None:
        node = self._producers[name]
        if node.op not in _FOLLOWING or node.attribute("transA", 0) or self._size != 1:
            return None
        batches = {source: self._batch(self.value(source)) for source in node.inputs if source}
        is_in_front = batches[node.inputs[0]] == Batch(0) and {*batches.values()} <= {Batch(0), None}
        ranks = {len(self.graph.shape(source)) for source, batch in batches.items() if batch is not None}
        shape = self.graph.shape(name)
        return Batch(0) if is_in_front and ranks == {len(shape)} and shape[0] == 1 else None

    # -- a run with twice the batch ------------------------------------------------------------------

    def _graph_batch(self) -> int:
        """The batch size of the graph. Raises InputError when inputs disagree, and for an unknown input."""
        unknown = sorted(set(self._batch_axes) - {t.name for t in self.graph.inputs})
        if unknown:
            known = ", ".join(t.name for t in self.graph.inputs)
            raise InputError(f"{self.graph.name!r} has no input {unknown[0]!r}; known: {known}")
        sizes = {t.shape[axis] for t in self.graph.inputs if (axis := self._batch_axes[t.name]) is not None}
        if len(sizes) != 1:
            raise InputError(
                f"the inputs of {self.graph.name!r} have batches of {sorted(sizes) or 'no size'}, which must be equal; "
                "name the axis of each input's batch (batch_axes)"
            )
        return sizes.pop()

    def _enlarged(self, name: str, axis: int | None) -> Tensor:
        """A tensor of the graph without memory, twice as long along the axis."""
        tensor = self.graph.type_of(name)
        shape = [2 * size if i == axis else size for i, size in enumerate(tensor.shape)]
        return torch.empty(shape, dtype=TORCH_TYPES[tensor.dtype], device="meta")

    def _trial(self, node: fx.Node) -> Any:
        """The value of the node with twice the batch: a tensor without memory, or a tuple of them."""
        if node not in self._trials:
            self._trials[node] = self._run(node)
        return self._trials[node]

    def _run(self, node: fx.Node) -> Any:
        if node.op == "placeholder":
            return self._input_trial(node)
        return self._stored_trial(node) if node.op == "get_attr" else self._called_trial(node)

    def _input_trial(self, node: fx.Node) -> Tensor:
        """An input without a batch; the others are known."""
        return self._enlarged(next(t.name for t in self.graph.inputs if self.value(t.name) is node), None)

    def _stored_trial(self, node: fx.Node) -> Tensor:
        stored: Tensor = operator.attrgetter(str(node.target))(self.root)
        return torch.empty_like(stored, device="meta", requires_grad=False)

    def _called_trial(self, node: fx.Node) -> Any:
        args, kwargs = fx.node.map_arg((node.args, node.kwargs), self._trial)
        function = self.root.get_submodule(node.target) if isinstance(node.target, str) else node.target
        return function(*args, **kwargs)

    def _grown(self, name: str, made: fx.Node, trial: Tensor) -> Batch | None:
        """The batch of a result: the axis that is twice as long as in the graph."""
        shape = self.graph.shape(name)
        if len(shape) != trial.dim():
            raise self._lost(name, f"its shape is {list(trial.shape)} where the graph has {list(shape)}")
        grown = [axis for axis, (before, now) in enumerate(zip(shape, trial.shape, strict=True)) if before != now]
        if not grown:
            return None
        (axis, *others) = grown
        if others or trial.shape[axis] != 2 * shape[axis]:
            raise self._lost(name, f"its shape becomes {list(trial.shape)} from {list(shape)} with twice the batch")
        return Batch(axis, 1 if shape[axis] == self._size else self._outside(made))

    def _outside(self, made: fx.Node) -> int:
        """The number of elements outside of the batch, taken from the first input that has a batch."""
        found = map(self._batch, made.all_input_nodes)
        return next((batch.outside for batch in found if batch is not None), 1)

    def _batch(self, value: Any) -> Batch | None:
        return self._batches.get(value) if isinstance(value, fx.Node) else None

    def _lost(self, name: str, reason: str) -> InputError:
        return InputError(f"{self.graph.name!r} cannot take batches other than {self._size}: at {name!r}, {reason}")

    # -- rules ---------------------------------------------------------------------------------------

    def _reshape(self, call: Call) -> TorchCall:
        target = call.graph.shape(call.node.outputs[0])
        batch = self._batch(call.tensor(0))
        if batch is not None:
            landed = landing(call.shape(), batch, target, self._size)
            if landed is None:
                raise self._lost(call.node.outputs[0], f"{title(call.node)} splits the batch")
            target = self._open(call, target, landed)
        return TorchCall(torch.reshape, (call.tensor(0), target))

    def _expand(self, call: Call) -> TorchCall:
        target = call.graph.shape(call.node.outputs[0])
        batch = self._batch(call.tensor(0))
        if batch is not None:
            landed = Batch(batch.axis + len(target) - call.rank(), batch.outside)
            target = self._open(call, target, landed)
        return TorchCall(torch.broadcast_to, (call.tensor(0), target))

    def _open(self, call: Call, target: Sequence[int], landed: Batch) -> tuple[int, ...]:
        """The target without a length for the batch's axis; notes where the batch is after it."""
        self._reshaped[call.node.outputs[0]] = landed
        return tuple(-1 if axis == landed.axis else size for axis, size in enumerate(target))

    def _concat(self, call: Call) -> TorchCall:
        """Repeats an input without a batch of its own (a class token) for each example."""
        axis = call.attribute("axis") % call.rank()
        batches = [self._batch(value) for value in call.tensors]
        known = {batch.axis for batch in batches if batch is not None}
        if not known or None not in batches or axis in known:
            return RULES["Concat"](call)
        return TorchCall(functions.joined, (list(call.tensors), axis, min(known)))


def landing(shape: Sequence[int], batch: Batch, target: Sequence[int], size: int) -> Batch | None:
    """Where the batch, of `size` examples, is after a reshape from `shape` to `target`; None if it is split.

    The elements before the batch in memory are as many before as after. Several axes of the target may do: the memory
    of [time, batch, width] is that of [time * batch, width] and of [time, batch * width]. The axis that is the batch
    alone is taken; else one that the batch leads, unless the target has fewer axes; else the first.
    """
    before = math.prod(shape[: batch.axis]) * batch.outside
    found = []
    for axis, length in enumerate(target):
        outside, rest = divmod(before, math.prod(target[:axis]))
        if not rest and outside and not length % (outside * size):
            found.append(Batch(axis, outside))
    alone = [b for b in found if target[b.axis] == size and b.outside == 1]
    led = [b for b in found if b.outside == 1 and len(target) >= len(shape)]
    return next(iter((*alone, *led, *found)), None)


def _usual_axis(graph: Graph, shape: Sequence[int]) -> int | None:
    """In front, or second where a recurrent network reads [time, 1, ...]; a scalar has none."""
    if not shape:
        return None
    is_recurrent = any(node.op in _RECURRENT for node in graph.nodes)
    return 1 if is_recurrent and len(shape) > 1 and shape[0] != 1 and shape[1] == 1 else 0
