"""ONNX's own cases of operators: those that run here give what ONNX says; for each other one stands why it does not.

Inputs but the first become stored tensors, as this backend wants scales and weights. A case of an operator that
knows nothing of scales is put between Q/DQ pairs: integers with a scale of 1, floats on a grid that holds them all.
"""

from __future__ import annotations

import re
from functools import cache

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper
from onnx.backend.test.case.node import (
    clip,
    concat,
    convinteger,
    dequantizelinear,
    dynamicquantizelinear,
    flatten,
    identity,
    matmulinteger,
    maxpool,
    qlinearconv,
    qlinearmatmul,
    quantizelinear,
    relu,
    split,
    squeeze,
    transpose,
    unsqueeze,
)

from hwprof import onnx_io
from hwprof.errors import InputError
from hwprof.integer.lowering import lowering
from hwprof.integer.run import reference
from hwprof.variants.weights import load_weights
from tests.integer.programs import run_kernels
from tests.integer.wrapped_cases import made_cases

OPERATORS = {  # and ONNX's modules that hold their cases; all of ONNX's modules would take every collection 10 seconds
    "Clip": clip, "Concat": concat, "ConvInteger": convinteger, "DequantizeLinear": dequantizelinear,
    "DynamicQuantizeLinear": dynamicquantizelinear, "Flatten": flatten, "Identity": identity,
    "MatMulInteger": matmulinteger, "MaxPool": maxpool, "QLinearConv": qlinearconv, "QLinearMatMul": qlinearmatmul,
    "QuantizeLinear": quantizelinear, "Relu": relu, "Split": split, "Squeeze": squeeze, "Transpose": transpose,
    "Unsqueeze": unsqueeze,
}  # fmt: skip
UNSCALED = {
    "Clip", "Concat", "Flatten", "Identity", "MaxPool", "Relu", "Split", "Squeeze", "Transpose", "Unsqueeze",
}  # fmt: skip

# Names of cases, as a regular expression -> why they are not run, in the words in which they are refused.
NOT_RUN = {
    "convinteger_.*|matmulinteger|dynamicquantizelinear.*": "it works out its scale from each input in float",
    "(de)?quantizelinear_(axis|blocked.*)": "one scale per channel; only weights may have that",
    "(de)?quantizelinear_(e4m3fn|e5m2|float4e2m1).*": "activations of float.* are not supported",
    "(de)?quantizelinear_(u?int(2|4)|uint16)": "activations of u?int(2|4|16) are not supported",
    "(de)?quantizelinear_int16": "16-bit activations must have the zero point 0, not -?[0-9]+",
    "identity_(opt|sequence)": "is not a tensor",
    "maxpool_with_argmax_.*": "the places of the maxima are integers that no scale belongs to",
    "split_zero_size_splits_.*": "has no element",
}


@cache
def collected() -> dict[str, onnx.backend.test.case.test_case.TestCase]:
    found = {}
    for name, case in made_cases().items():
        nodes = case.model.graph.node
        if len(nodes) == 1 and nodes[0].op_type in OPERATORS and not nodes[0].domain:
            found[name] = case
    return found


def stored(value, name: str) -> onnx.TensorProto:
    """An initializer of the name."""
    tensor = onnx.TensorProto()
    tensor.CopyFrom(value if isinstance(value, onnx.TensorProto) else numpy_helper.from_array(np.asarray(value), name))
    tensor.name = name
    return tensor


def as_network(case) -> tuple[onnx.ModelProto, dict[str, np.ndarray], list[np.ndarray]]:
    """The model, its inputs by name and its outputs in their order."""
    model = onnx.ModelProto()
    model.CopyFrom(case.model)
    inputs, outputs = case.data_sets[0]
    graph, node = model.graph, model.graph.node[0]
    count = len(inputs) if node.op_type == "Concat" else 1
    given = dict(zip((i.name for i in graph.input), inputs, strict=True))
    for info in list(graph.input)[count:]:
        graph.initializer.append(stored(given.pop(info.name), info.name))
        graph.input.remove(info)
    if node.op_type in UNSCALED and all(isinstance(v, np.ndarray) for v in (*given.values(), *outputs)):
        outputs = between_pairs(graph, list(given.values()), outputs)
    return model, given, outputs


def between_pairs(graph: onnx.GraphProto, inputs: list[np.ndarray], outputs: list[np.ndarray]) -> list[np.ndarray]:
    """Puts the one operator between Q/DQ pairs. Returns what then comes out of it, integers."""
    node = graph.node[0]
    dtype = inputs[0].dtype
    is_real = dtype.kind == "f"
    largest = max((float(np.abs(a).max(initial=0)) for a in (*inputs, *outputs) if a.dtype.kind == "f"), default=1.0)
    scale, zero = (np.float32(largest / 127), np.uint8(128)) if is_real else (np.float32(1), dtype.type(0))
    for tensor in graph.initializer:  # bounds of a Clip of integers
        if not is_real and tensor.data_type == helper.np_dtype_to_tensor_dtype(dtype):
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float32), tensor.name))
    graph.initializer.extend(
        [numpy_helper.from_array(np.array(scale), "scale"), numpy_helper.from_array(np.array(zero), "zero")]
    )
    nodes = []
    for info in graph.input:
        source = info.name
        if is_real:
            nodes.append(helper.make_node("QuantizeLinear", [source, "scale", "zero"], [f"{info.name} q"]))
            source = f"{info.name} q"
        nodes.append(helper.make_node("DequantizeLinear", [source, "scale", "zero"], [f"{info.name} real"]))
        for place, name in enumerate(node.input):
            if name == info.name:
                node.input[place] = f"{info.name} real"
    nodes.append(node)
    wanted = []
    for place, (info, array) in enumerate(zip(list(graph.output), outputs, strict=True)):
        if array.dtype.kind == "i" and array.dtype != dtype:  # places of maxima
            wanted.append(array)
            continue
        node.output[place] = f"{info.name} real"
        nodes.append(helper.make_node("QuantizeLinear", [f"{info.name} real", "scale", "zero"], [info.name]))
        info.type.tensor_type.elem_type = helper.np_dtype_to_tensor_dtype(zero.dtype)
        steps = np.rint(array.astype(np.float32) / scale) + zero
        wanted.append(np.clip(steps, np.iinfo(zero.dtype).min, np.iinfo(zero.dtype).max).astype(zero.dtype))
    del graph.node[:]
    graph.node.extend(nodes)
    return wanted


def reason(name: str) -> str | None:
    return next((why for names, why in NOT_RUN.items() if re.fullmatch(names, name)), None)


def lowered(name: str, folder):
    """The program, inputs and wanted outputs. Raises InputError."""
    model, inputs, outputs = as_network(collected()[name])
    path = folder / "case.onnx"
    onnx.save(model, path)
    graph = onnx_io.load(path)
    program = lowering.lower(graph, load_weights(graph))
    return program, inputs, dict(zip((o.name for o in model.graph.output), outputs, strict=True))


@pytest.mark.parametrize("name", sorted(n for n in collected() if reason(n) is None))
def test_a_case_gives_what_onnx_says(kernels, name, tmp_path):
    program, inputs, wanted = lowered(name, tmp_path)
    results = [reference.run(program, inputs)]
    results += [run_kernels(program, inputs, kernels, each) for each in kernels.available()]
    for result in results:
        assert result.keys() == wanted.keys()
        for output, array in wanted.items():
            assert result[output].dtype == array.dtype
            np.testing.assert_array_equal(result[output], array)


@pytest.mark.parametrize("name", sorted(n for n in collected() if reason(n) is not None))
def test_a_case_that_is_not_run_is_refused_for_the_reason_stated(name, tmp_path):
    with pytest.raises(InputError, match=reason(name)):
        lowered(name, tmp_path)


def test_every_reason_belongs_to_a_case():
    for names in NOT_RUN:
        assert any(re.fullmatch(names, name) for name in collected()), names


def test_cases_of_every_operator_are_collected():
    """A new version of onnx that brings none, or many more than are known, changes what this file says."""
    assert {case.model.graph.node[0].op_type for case in collected().values()} == OPERATORS.keys()
