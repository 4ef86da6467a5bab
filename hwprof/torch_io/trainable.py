"""A Graph as a PyTorch module that trains, and the trained weights back by the names of the Graph's tensors.

The code is that of `to_module`, operator by operator, but weights are parameters, batch norms and dropouts know
training mode, and the batch may have any size. Quantized networks train with rounding whose gradient is that of the
identity.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils.parametrize import register_parametrization

from hwprof import onnx_io
from hwprof.errors import InputError
from hwprof.graph import Graph, Node
from hwprof.onnx_io.proto import array_of
from hwprof.onnx_io.tensor_uses import Role, Uses
from hwprof.torch_io import functions
from hwprof.torch_io.free_batch import FreeBatchTranslator
from hwprof.torch_io.memory_format import breaks_in_channels_last
from hwprof.torch_io.module import as_tensor
from hwprof.torch_io.operators import (
    INTEGER_RANGES,
    RULES,
    TORCH_TYPES,
    Call,
    Rule,
    TorchCall,
    Value,
    integer_range,
    require_first_output,
    require_usual_lstm,
)  # fmt: skip

# A tensor that is added and holds such a value hides positions from a softmax; it is a mask and does not learn.
_HIDES_BELOW = -1e4
_FIXED_ROLES = {Role.STEP, Role.WEIGHT_STEP, Role.ZERO_POINT, Role.STRUCTURE, Role.INDEX}
# What a float of 32 bits can hold below 2**31.
_STORED_RANGES = {**INTEGER_RANGES, "int32": (-(2**31), 2**31 - 128)}


class TrainableGraph(nn.Module):
    """Takes the graph's inputs in their order, with batches of any size, and returns its output, or a tuple of several.

    Made by `trainable`. `graph` is the network with the batch that it was built for.
    """

    def __init__(
        self,
        graph: Graph,
        weights: Mapping[str, np.ndarray],
        batch_axes: Mapping[str, int | None] | None = None,
        fixed: Collection[str] = (),
    ) -> None:
        super().__init__()
        self.graph = graph
        self._attributes = _attributes(graph)
        self._readers = _readers_of_quantized(graph)
        self._constants = {c.name: as_tensor(array_of(c), c.dtype) for c in graph.constants}
        held = self._held(_checked(graph, weights), fixed)
        translator = _TrainingTranslator(graph, held, self._attributes, set(self._readers), batch_axes)
        self.code = translator.module()
        self._variables = translator.variables()
        read = {name for name, _ in (*self.code.named_parameters(), *self.code.named_buffers())}
        self.unread = nn.Module()
        for name, buffer in held.named_buffers():
            if f"{_HELD}.{name}" not in read:
                self.unread.register_buffer(name, buffer)

    def forward(self, *inputs: Tensor) -> Tensor | tuple[Tensor, ...]:
        """inputs: [batch, ...] each, in the graph's order. Returns the output, [batch, ...], or a tuple of several."""
        outputs: tuple[Tensor, ...] = self.code(*inputs)
        return outputs[0] if len(outputs) == 1 else outputs

    def weights(self) -> list[nn.Parameter]:
        """The parameters that training changes."""
        return [parameter for parameter in self.parameters() if parameter.requires_grad]

    def tensor(self, name: str) -> Tensor:
        """The parameter or buffer that holds the graph's weight of this name, [*shape] of its tensor; a quantized
        weight is held in floats. Raises InputError for a name that is not a weight's."""
        found: Tensor = getattr(*self._home(name))
        return found

    def parametrize(self, name: str, parametrization: nn.Module) -> None:
        """From now on the weight of this name is what the parametrization makes of another tensor, which trains in its
        place; as `torch.nn.utils.parametrize` has it, `right_inverse` of the present weight. Raises as `tensor`
        does."""
        register_parametrization(*self._home(name), parametrization)

    def original(self, name: str) -> nn.Parameter:
        """The tensor [...] that trains in place of the weight of this name, which `parametrize` was given. Raises as
        `tensor` does."""
        home, attribute = self._home(name)
        found: nn.Parameter = home.get_parameter(f"parametrizations.{attribute}.original")
        return found

    def _home(self, name: str) -> tuple[nn.Module, str]:
        """The module and the attribute that hold the weight."""
        if name not in self._attributes:
            raise InputError(f"{self.graph.name!r} has no weight {name!r}")
        attribute = self._attributes[name]
        return (self.unread if hasattr(self.unread, attribute) else self.code.get_submodule(_HELD)), attribute

    def value(self, name: str) -> Tensor:
        """The weight of this name, [*shape] of its tensor, in the type of the graph: a quantized one is in integers.
        Raises as `tensor` does."""
        value, kind = self.tensor(name).detach(), self.graph.type_of(name).dtype
        if name not in self._readers:
            return value
        scale, zero, axis = _grid(self._readers[name], self._fixed)
        return functions.quantize(value.cpu(), scale, zero, axis, *_STORED_RANGES[kind], TORCH_TYPES[kind])

    def insert(self, name: str, module: nn.Module) -> None:
        """From now on, all that reads the tensor of this name, a weight or a result, reads module(tensor) instead, of
        the same shape. `tensor` and `weights_of` still give the weight itself, and a second module reads the first
        one's result. Parameters of the module train along.

        Raises InputError for a tensor that the code does not compute.
        """
        variables = {node.name: node for node in self.code.graph.nodes}
        if name not in self._variables:
            raise InputError(f"no operator of {self.graph.name!r} reads a tensor {name!r} that changes")
        read = variables[self._variables[name]]
        place = f"on_{read.name}"
        self.code.add_submodule(place, module)
        with self.code.graph.inserting_after(read):
            made = self.code.graph.call_module(place, (read,))
        read.replace_all_uses_with(made, delete_user_cb=lambda user: user is not made)
        self._variables[name] = made.name
        self.code.recompile()

    def _fixed(self, name: str) -> Tensor:
        """A constant, or a weight that does not train, on the CPU."""
        return self._constants[name] if name in self._constants else self.tensor(name).cpu()

    def _held(self, tensors: Mapping[str, Tensor], fixed: Collection[str]) -> nn.Module:
        """The weights: parameters where they train, else buffers."""
        held, learned = nn.Module(), _learned(self.graph, tensors).difference(fixed)
        known = {**self._constants, **tensors}
        for name, tensor in tensors.items():
            if name in self._readers:
                floats = functions.dequantize(tensor, *_grid(self._readers[name], known.__getitem__))
                held.register_parameter(self._attributes[name], nn.Parameter(floats))
            elif name in learned:
                held.register_parameter(self._attributes[name], nn.Parameter(tensor))
            else:
                held.register_buffer(self._attributes[name], tensor)
        return held


def trainable(
    graph: Graph,
    weights: Mapping[str, np.ndarray] | None = None,
    seed: int = 0,
    batch_axes: Mapping[str, int | None] | None = None,
    fixed: Collection[str] = (),
) -> TrainableGraph:
    """The graph as a module in training mode. Its inputs and outputs have the graph's shapes but for the batch.

    weights: by tensor name, each [*shape] of its tensor; else `onnx_io.initial_weights` by the seed. Constants of the
    graph, scales and zero points of quantized tensors, masks, weights that no output depends on and the float weights
    named in `fixed` do not train.
    batch_axes: the axis of the batch by input, None for an input without one; by default the first axis, or the second
    of [time, 1, ...] in a recurrent network. Raises InputError for a missing weight, one of another shape, and a
    network in which the batch cannot be followed; UnknownOperatorError for an operator without a counterpart.
    """
    return TrainableGraph(
        graph, onnx_io.initial_weights(graph, seed) if weights is None else weights, batch_axes, fixed
    )


def weights_of(module: TrainableGraph) -> dict[str, np.ndarray]:
    """Copies of all weights of the module's graph by name, each [*shape] of its tensor, in the graph's types (bfloat16
    in float32)."""
    values = {t.name: module.value(t.name).cpu() for t in module.graph.weights}
    return {name: (v.float() if v.dtype is torch.bfloat16 else v).numpy().copy() for name, v in values.items()}


# -- what trains -------------------------------------------------------------------------------------


def _checked(graph: Graph, weights: Mapping[str, np.ndarray]) -> dict[str, Tensor]:
    """Copies of the graph's weights as tensors. Raises InputError for a missing one and one of another shape."""
    found = {}
    for tensor in graph.weights:
        if tensor.name not in weights:
            raise InputError(f"no value is given for weight {tensor.name!r} of {graph.name!r}")
        array = np.asarray(weights[tensor.name])
        if array.shape != tensor.shape:
            raise InputError(
                f"weight {tensor.name!r} of {graph.name!r} is {list(tensor.shape)}, not {list(array.shape)}"
            )
        found[tensor.name] = as_tensor(array, tensor.dtype).clone()
    return found


def _attributes(graph: Graph) -> dict[str, str]:
    """For each weight a name that Python allows for an attribute of a module."""
    taken: set[str] = set(dir(nn.Module()))
    found = {}
    for tensor in graph.weights:
        plain = re.sub(r"\W", "_", tensor.name)
        plain = plain if plain[:1].isalpha() else f"w_{plain}"
        while plain in taken:
            plain += "_"
        taken.add(plain)
        found[tensor.name] = plain
    return found


def _learned(graph: Graph, tensors: Mapping[str, Tensor]) -> set[str]:
    """The names of the weights that a training changes."""
    uses, live = Uses(graph), _read(graph)
    statistics = {n for node in graph.nodes if node.op == "BatchNormalization" for n in node.inputs[3:5]}
    roles = {name: uses.of(name).role for name in live - statistics if tensors[name].is_floating_point()}
    return {name for name, role in roles.items() if role not in _FIXED_ROLES and not _is_mask(role, tensors[name])}


def _read(graph: Graph) -> set[str]:
    """The names of the weights that an output depends on."""
    read = {name for node in graph.live().nodes for name in node.inputs}
    return read.intersection(graph.weight_names)


def _is_mask(role: Role, tensor: Tensor) -> bool:
    return role is Role.SHIFT and bool((tensor <= _HIDES_BELOW).any())


def _readers_of_quantized(graph: Graph) -> dict[str, Node]:
    """By quantized weight the DequantizeLinear that alone reads it; its scale is stored, too, or it does not train."""
    readers, uses = graph.consumers(), Uses(graph)
    found = {}
    for tensor in (graph.type_of(name) for name in _read(graph)):
        (reader, *others) = readers[tensor.name]
        is_alone = not others and reader.op == "DequantizeLinear" and reader.inputs[0] == tensor.name
        if is_alone and tensor.dtype in _STORED_RANGES and all(map(uses.is_static, filter(None, reader.inputs[1:]))):
            found[tensor.name] = reader
    return found


def _grid(reader: Node, known: Callable[[str], Tensor]) -> tuple[Tensor, Tensor | None, int]:
    """Scale, zero point and axis of a DequantizeLinear; scale and zero point are scalars or [channels]."""
    zero = known(reader.inputs[2]) if len(reader.inputs) > 2 and reader.inputs[2] else None
    return known(reader.inputs[1]), zero, reader.attribute("axis", 1)


# -- the code ----------------------------------------------------------------------------------------

_HELD = "weights"  # the submodule of the code that holds the weights


class _TrainingTranslator(FreeBatchTranslator):
    """With weights that may change, and with the operators that training mode runs in another way."""

    def __init__(
        self,
        graph: Graph,
        held: nn.Module,
        attributes: Mapping[str, str],
        fake_quantized: Collection[str],
        batch_axes: Mapping[str, int | None] | None,
    ) -> None:
        constants = {c.name: as_tensor(array_of(c), c.dtype) for c in graph.constants}
        rules: dict[str, Rule] = {
            **RULES,
            "BatchNormalization": _batch_norm,
            "Conv": _convolution,
            "DequantizeLinear": self._dequantize,
            "Dropout": _dropout,
            "LSTM": _lstm,
            "QuantizeLinear": _quantize,
        }
        super().__init__(graph, constants, rules, batch_axes)
        self._attributes = attributes
        self._fake_quantized = fake_quantized
        self.root.add_module(_HELD, held)

    def value(self, name: str) -> Value:
        """A weight is read where it is first used."""
        if name in self._attributes and name not in self._live:
            self._live[name] = self.code.get_attr(f"{_HELD}.{self._attributes[name]}")
        return super().value(name)

    def variables(self) -> dict[str, str]:
        """By tensor of the graph the variable of the code that holds it."""
        return {name: node.name for name, node in self._live.items()}

    def _dequantize(self, call: Call) -> TorchCall:
        name = call.node.inputs[0]
        if name not in self._fake_quantized:
            return RULES["DequantizeLinear"](call)
        args = call.tensor(0), call.tensor(1), call.optional(2), call.attribute("axis", 1)
        return TorchCall(functions.fake_quantized, (*args, *_STORED_RANGES[call.graph.type_of(name).dtype]))


def _batch_norm(call: Call) -> TorchCall:
    require_first_output(call)
    x, scale, shift, mean, variance = (call.tensor(i) for i in range(5))
    norm = functions.BatchNorm(1 - call.attribute("momentum", 0.9), call.attribute("epsilon", 1e-5))
    return TorchCall(norm, (x, mean, variance, scale, shift))


def _convolution(call: Call) -> TorchCall:
    """In contiguous memory where `hwprof.torch_io.memory_format` says that it must be."""
    made = RULES["Conv"](call)
    _, channels, *kernel = call.shape(1)
    strides, group = call.attribute("strides", (1,)), call.attribute("group", 1)
    is_broken = breaks_in_channels_last(kernel, strides, group, channels)
    return TorchCall(functions.contiguous_convolution, made.args) if is_broken else made


def _dropout(call: Call) -> TorchCall:
    require_first_output(call)
    ratio = call.attribute("ratio", call.scalar(1))
    if ratio is not None and not isinstance(ratio, int | float):
        raise call.error("needs a ratio that is a constant")
    return TorchCall(nn.Dropout(0.5 if ratio is None else ratio), (call.tensor(0),))


def _lstm(call: Call) -> TorchCall:
    require_usual_lstm(call)
    return TorchCall(functions.lstm, (*(call.tensor(i) for i in range(3)), *(call.optional(i) for i in (3, 5, 6))))


def _quantize(call: Call) -> TorchCall:
    low, high = integer_range(call, call.node.outputs[0])
    args = call.tensor(0), call.tensor(1), call.optional(2), call.attribute("axis", 1)
    return TorchCall(functions.quantized_steps, (*args, low, high))
