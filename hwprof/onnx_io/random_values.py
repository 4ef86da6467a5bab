"""Seeded random weights and inputs, scaled so that activations neither vanish nor become denormal.

Weights that are multiplied and summed over are drawn with the variance of He et al. (ICCV 2015) before an activation
and of LeCun without one. The last one of a residual branch is damped, since otherwise fifty additions would each double
the variance. Biases and gains are not exactly 0 and 1, since runtimes remove operators that change nothing.
"""

from __future__ import annotations

import math
from functools import partial

import numpy as np
from onnx import ModelProto, checker

from hwprof.errors import InputError, one_line
from hwprof.graph import BITS_PER_ELEMENT, Graph, Node, Tensor, is_quantized
from hwprof.onnx_io.guessed_inputs import index_range, structure
from hwprof.onnx_io.input_values import values_of
from hwprof.onnx_io.proto import is_float, model_of, numpy_dtype, skeleton_of, value_info
from hwprof.onnx_io.tensor_uses import MOVING, Role, Use, Uses, fan_in

_ACTIVATIONS = frozenset({
    "Relu", "LeakyRelu", "PRelu", "Elu", "Selu", "Celu", "Clip", "Gelu", "HardSwish", "HardSigmoid", "Sigmoid", "Mish",
    "Swish", "Softplus", "Erf", "Tanh", "Mul",
})  # fmt: skip
_TRANSPARENT = MOVING | {"BatchNormalization", "Concat", "MaxPool", "AveragePool", "GlobalAveragePool", "Pad"}
_RESIDUAL_GAIN = 0.25
_LOOK_AHEAD = 8

_SHIFT = 0.02
_TABLE_DEVIATION = 1.0
_OTHER_DEVIATION = 0.5
_SLOPE = 0.25
# Quantized activations are assumed to be in [-4, 4]; those of a softmax, which are small, in [-1/2, 1/2].
_ACTIVATION_BOUND = 4.0
_SOFTMAX_BOUND = 0.5
_INT32_BOUND = 100


def to_model(graph: Graph, seed: int = 0) -> ModelProto:
    """The graph as an ONNX model with random weights; the same for the same seed.

    Raises InputError for a tensor type that has no random values (strings, 8-bit floats), or where ONNX's checker
    rejects the graph.
    """
    skeleton = skeleton_of(graph)
    for output in skeleton.graph.output:
        if not output.HasField("type"):  # after a custom operator; runtimes infer it, the checker requires it
            output.CopyFrom(value_info(Tensor(output.name, "float32", ())))
    try:
        checker.check_model(skeleton)
    except checker.ValidationError as error:
        raise InputError(f"graph {graph.name!r} is not valid ONNX: {one_line(error)}") from None
    rng = np.random.default_rng(seed)
    return model_of(graph, lambda g: partial(_weight, Uses(g), rng=rng))


def random_inputs(graph: Graph, seed: int = 0) -> dict[str, np.ndarray]:
    """One array [...] for each input: the values that are given for it, else floats from a normal distribution, bytes
    uniformly, indices in the range of the tables that they index, shapes and scales that fit, other integers 1 and
    booleans True (a mask that hides nothing).

    Raises InputError for an input type that numpy cannot hold.
    """
    rng = np.random.default_rng(seed)
    uses, given = Uses(graph), dict(graph.given)
    return {t.name: values_of(t, given[t.name], rng) if t.name in given else _input(uses, t, rng) for t in graph.inputs}


def _input(uses: Uses, tensor: Tensor, rng: np.random.Generator) -> np.ndarray:
    guess = structure(uses, tensor)
    if guess is not None:
        return guess.astype(numpy_dtype(tensor))
    if is_float(tensor.dtype):
        return np.asarray(rng.standard_normal(tensor.shape, np.float32)).astype(numpy_dtype(tensor))
    return _indices(uses, tensor, rng)


# -- weights -----------------------------------------------------------------------------------------


def _weight(uses: Uses, tensor: Tensor, rng: np.random.Generator) -> np.ndarray:
    """[tensor.shape], with the type from `numpy_dtype`."""
    use = uses.of(tensor.name)
    dtype = numpy_dtype(tensor)
    if use.role is Role.ZERO_POINT:
        return np.full(tensor.shape, _zero_point(tensor.dtype), dtype)
    if not is_float(tensor.dtype):
        stored = any(map(is_quantized, uses.readers.get(tensor.name, ()))) or use.role is Role.MATRIX
        return _payload(tensor, rng) if stored else _indices(uses, tensor, rng)
    if use.role in (Role.STEP, Role.WEIGHT_STEP):
        return np.full(tensor.shape, _step(uses, use), dtype)
    if use.role is Role.GAIN:
        return _uniform(rng, tensor, 0.9, 1.1)
    if use.role is Role.SLOPE:
        return _uniform(rng, tensor, 0.8 * _SLOPE, 1.2 * _SLOPE)
    bound = math.sqrt(3.0) * _deviation(uses, use, tensor)
    return _uniform(rng, tensor, -bound, bound)


def _uniform(rng: np.random.Generator, tensor: Tensor, low: float, high: float) -> np.ndarray:
    """Uniform in [low, high): three times faster than a normal distribution, with the same sums."""
    values = rng.random(tensor.shape, np.float32)
    values *= np.float32(high - low)
    values += np.float32(low)
    return values.astype(numpy_dtype(tensor), copy=False)


def _deviation(uses: Uses, use: Use, tensor: Tensor) -> float:
    """Standard deviation of a weight with this use."""
    if use.role is Role.SHIFT:
        return _SHIFT
    if use.role is Role.TABLE:
        return _TABLE_DEVIATION
    if use.node is None or use.role not in (Role.MATRIX, Role.RECURRENT):
        return _OTHER_DEVIATION
    shape = uses.graph.shape(use.tensor) if uses.graph.has_type(use.tensor) else tensor.shape
    if use.role is Role.RECURRENT:
        hidden = use.node.attribute("hidden_size", shape[-1])
        return 1.0 / math.sqrt(3.0 * hidden)  # uniform in +-1/sqrt(hidden), as in PyTorch
    return _gain(uses, use.node) / math.sqrt(max(1, fan_in(use.node, use.tensor, shape)))


def _gain(uses: Uses, node: Node) -> float:
    """Square root of the factor between the variance of the node's output and that of its input."""
    name = node.outputs[0]
    for _ in range(_LOOK_AHEAD):
        readers = uses.readers.get(name)
        if not readers:
            return 1.0
        reader = readers[0]
        if reader.op in ("Add", "Sum") and not any(map(uses.is_static, reader.inputs)):
            return _RESIDUAL_GAIN
        if reader.op in _ACTIVATIONS:
            return math.sqrt(2.0)
        if reader.op not in _TRANSPARENT and reader.op != "Add":
            return 1.0
        name = reader.outputs[0]
    return 1.0


# -- weights to train from ---------------------------------------------------------------------------

_START_DEVIATION = 0.02  # of tables and of what is used in no other way here (Devlin et al., arXiv 1810.04805, BERT)
_START = {Role.GAIN: 1.0, Role.SHIFT: 0.0, Role.SLOPE: _SLOPE}


def initial_weights(graph: Graph, seed: int = 0) -> dict[str, np.ndarray]:
    """The values of all weights by name, each of its shape [...] and type, for a training to start from.

    Matrices as for a run (see the module), tables from a normal distribution of deviation 0.02, gains and variances 1,
    shifts and means 0, slopes 0.25. Quantized weights, scales and indices are those of a run. The same for one seed.
    """
    rng = np.random.default_rng(seed)
    uses = Uses(graph)
    return {t.name: _initial(uses, t, rng) for t in graph.weights}


def _initial(uses: Uses, tensor: Tensor, rng: np.random.Generator) -> np.ndarray:
    use = uses.of(tensor.name)
    if is_float(tensor.dtype) and use.role in _START:
        return np.full(tensor.shape, _START[use.role], numpy_dtype(tensor))
    if is_float(tensor.dtype) and use.role in (Role.TABLE, Role.OTHER):
        return (_START_DEVIATION * rng.standard_normal(tensor.shape, np.float32)).astype(numpy_dtype(tensor))
    return _weight(uses, tensor, rng)


# -- quantization ------------------------------------------------------------------------------------


def _zero_point(dtype: str) -> int:
    """The middle of an unsigned type, 0 of a signed one."""
    return 1 << (BITS_PER_ELEMENT[dtype] - 1) if dtype.startswith("uint") else 0


def _bound(dtype: str) -> int:
    """The largest distance from the zero point: 127 for 8 bits. 32-bit biases stay small."""
    bits = BITS_PER_ELEMENT[dtype]
    return _INT32_BOUND if bits >= 32 else (1 << (bits - 1)) - 1


def _payload(tensor: Tensor, rng: np.random.Generator) -> np.ndarray:
    """Uniform integers from the range of a quantized tensor."""
    middle, bound = _zero_point(tensor.dtype), _bound(tensor.dtype)
    return rng.integers(middle - bound, middle + bound, tensor.shape, numpy_dtype(tensor), endpoint=True)


def _step(uses: Uses, use: Use) -> float:
    """The scale that gives a stored integer tensor the deviation of its use, and an activation its bound."""
    if use.node is None:
        return 1.0
    inputs = use.node.inputs
    if use.role is Role.WEIGHT_STEP:
        stored = uses.graph.type_of(uses.scaled_weight(use))
        return math.sqrt(3.0) * _deviation(uses, uses.of(stored.name), stored) / _bound(stored.dtype)
    neighbours = (*inputs[use.position + 1 : use.position + 2], *inputs[: use.position][-1:])
    types = [uses.graph.type_of(n).dtype for n in neighbours if uses.graph.has_type(n)]
    dtype = next((t for t in types if not is_float(t)), "uint8")
    return (_SOFTMAX_BOUND if _holds_softmax(uses, use.node) else _ACTIVATION_BOUND) / _bound(dtype)


def _holds_softmax(uses: Uses, node: Node) -> bool:
    source = uses.producers.get(node.inputs[0])
    if source is not None and source.op == "QuantizeLinear":
        source = uses.producers.get(source.inputs[0])
    return source is not None and source.op == "Softmax"


# -- indices -----------------------------------------------------------------------------------------


def _indices(uses: Uses, tensor: Tensor, rng: np.random.Generator) -> np.ndarray:
    dtype = numpy_dtype(tensor)
    if dtype.kind not in "iub":
        raise InputError(f"tensor {tensor.name!r} has type {tensor.dtype!r}, for which hwprof has no random values")
    found = index_range(uses.graph, tensor.name) if dtype.kind != "b" else None
    if found is not None:
        return found.draw(tensor.shape, rng).astype(dtype)
    if tensor.dtype in ("int8", "uint8"):
        return _payload(tensor, rng)
    return np.full(tensor.shape, 1, dtype)
