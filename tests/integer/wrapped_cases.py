"""ONNX's own cases of operators on floats, put between Q/DQ pairs: which of them the integer engine computes.

A case has integer meaning where its results are numbers on a grid that follow from numbers on grids, by an operator
that runs in inference. `MEANINGLESS` says for each other operator why it is left out.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import onnx
from onnx import helper, numpy_helper
from onnx.backend.test.case import node as node_modules
from onnx.backend.test.case.test_case import TestCase
from onnx.reference import ReferenceEvaluator

from hwprof import onnx_io
from hwprof.errors import InputError
from hwprof.integer.lowering import lowering
from hwprof.integer.program.program import Program
from hwprof.integer.run import reference
from hwprof.variants.weights import load_weights

# Operators whose cases are left out, as a regular expression of the case's name -> why.
MEANINGLESS = {
    "(ai_onnx_ml|adagrad|adam|momentum|nesterov|training).*": "training, or trees",
    "(nllloss|sce|bernoulli|dropout_random|training_dropout|random).*": "training, or chance",
    "(loop|scan|if|sequence|optional|split_to_sequence|identity_(opt|sequence)).*": "control flow and containers",
    "(compress_(?!0|1)|unique|nonzero|nonmaxsuppression).*": "the shape of its result depends on the values",
    "(top_k|maxpool_with_argmax|maxunpool|hardmax).*": "its results are places, or numbers that places select",
    "(dft|stft|affine_grid|det_|melweight|blackmanwindow|hannwindow|hammingwindow).*": "signals and geometry in float",
    "(attention|flex_?attention|linear_?attention|causal_?conv|rotary_?embedding|swiglu).*": (
        "several operators in one, between which no grid is given"
    ),
    "(gridsample|roialign|basic_deform|deform_conv).*": "it reads at places that it computes",
    ".*(empty_set|zero_size).*|reshape_allowzero_reordered|slice_start_out_of_bounds": "there is no element",
    ".*norm.*_training_mode|(de)?quantizelinear.*": "training, or the quantization itself",
    "(array_feature|binarizer|tree_ensemble|label_encoder|tfidf).*": "classical machine learning",
}
# Places of inputs that are stored as floats, or as quantized weights.
_FLOATS = {
    "BatchNormalization": (1, 2, 3, 4), "Clip": (1, 2), "Conv": (2,), "ConvTranspose": (2,), "Gemm": (2,),
    "GRU": (3, 5), "GroupNormalization": (1, 2), "InstanceNormalization": (1, 2), "LayerNormalization": (1, 2),
    "LSTM": (3, 5, 6, 7), "Pad": (2,), "PRelu": (1,), "Resize": (1, 2), "RMSNormalization": (1,), "RNN": (3, 5),
    "Upsample": (1,), "ThresholdedRelu": (), "Dropout": (1,), "Pow": (1,),
}  # fmt: skip
_ONE_RESULT = {"LayerNormalization"}  # the others are for training
_WEIGHTS = {"Conv": (1,), "ConvTranspose": (1,), "Gemm": (1,), "GRU": (1, 2), "LSTM": (1, 2), "RNN": (1, 2)}


@dataclass(frozen=True)
class Wrapped:
    """model: from floats to integers; wanted: integers by output."""

    model: onnx.ModelProto
    inputs: dict[str, np.ndarray]
    wanted: dict[str, np.ndarray]


@dataclass(frozen=True)
class Verdict:
    """kind: equal, refused, wrong or broken; steps: the largest difference; reason: of a refusal."""

    kind: str
    steps: int = 0
    reason: str = ""


def made_cases() -> dict[str, TestCase]:
    """ONNX's cases of operators by name, of those of its modules that are imported: an import makes its cases."""
    return {case.name.removeprefix("test_"): case for case in node_modules._NodeTestCases}


@cache
def node_cases() -> dict[str, TestCase]:
    """All of ONNX's cases of operators by name. Making them takes 10 seconds."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        node_modules.collect_testcases()
    return made_cases()


@cache
def cases() -> dict[str, TestCase]:
    """Every case of one operator on float32 whose results are float32, by name."""
    return {name: case for name, case in node_cases().items() if _is_of_floats(case)}


def _is_of_floats(case: TestCase) -> bool:
    nodes, (inputs, outputs) = case.model.graph.node, case.data_sets[0]
    if len(nodes) != 1 or nodes[0].domain not in ("", "ai.onnx") or not case.model.graph.input:
        return False
    arrays = [*inputs, *outputs]
    if not inputs or not all(isinstance(a, np.ndarray) for a in arrays):
        return False
    return any(a.dtype == np.float32 for a in inputs) and all(a.dtype == np.float32 for a in outputs)


def without_meaning(name: str) -> str:
    """Why the case has no integer meaning; empty where it has."""
    return next((why for names, why in MEANINGLESS.items() if re.fullmatch(names, name)), "")


def wrapped(case: TestCase) -> Wrapped:
    """The case between Q/DQ pairs. Its expected integers are those of ONNX's reference in float on the same grids."""
    node = onnx.NodeProto()
    node.CopyFrom(case.model.graph.node[0])
    arrays, _ = case.data_sets[0]
    names = [i.name for i in case.model.graph.input]
    given = dict(zip(names, arrays, strict=True))
    nodes, stored, inputs, done, held = [], [], {}, set(), dict(given)
    for place, name in enumerate(list(node.input)):
        if not name or name not in given or name in done:
            continue
        array = given[name]
        if place in _WEIGHTS.get(node.op_type, ()):
            held[name] = _put_weight(name, array, nodes, stored)
        elif array.dtype != np.float32 or place in _FLOATS.get(node.op_type, ()):
            stored.append(numpy_helper.from_array(array, name))
            done.add(name)
            continue
        else:
            inputs[name], grid = array, grid_of(array)
            held[name] = (on_grid(array, grid).astype(np.float32) - np.float32(grid[1])) * np.float32(grid[0])
            _put_pair(name, name, f"{name} real", grid, nodes, stored)
        done.add(name)
        for i, other in enumerate(node.input):
            if other == name:
                node.input[i] = f"{name} real"
    nodes.append(node)
    if node.op_type in _ONE_RESULT:
        del node.output[1:]
    reals = ReferenceEvaluator(case.model).run(None, held)[: len(node.output)]
    results, wanted = [], {}
    for name, real in zip([o for o in node.output if o], reals, strict=True):
        grid = grid_of(real)
        _put_quantizer(name, f"{name} held", f"{name} grid", grid, nodes, stored)
        results.append((f"{name} held", onnx.TensorProto.UINT8))
        wanted[f"{name} held"] = on_grid(real, grid)
    return Wrapped(_model(case, nodes, stored, inputs, results), inputs, wanted)


def grid_of(array: np.ndarray) -> tuple[float, int]:
    """Scale and zero point of uint8 that cover the values [...] and 0."""
    finite = array[np.isfinite(array)]
    low, high = min(0.0, float(finite.min(initial=0))), max(0.0, float(finite.max(initial=0)))
    scale = float(np.float32((high - low) / 255 or 1.0))
    return scale, int(np.clip(round(-low / scale), 0, 255))


def on_grid(array: np.ndarray, grid: tuple[float, int]) -> np.ndarray:
    """uint8 [...], rounded as QuantizeLinear does."""
    steps = np.rint(array.astype(np.float32) / np.float32(grid[0])) + grid[1]
    return np.clip(np.nan_to_num(steps), 0, 255).astype(np.uint8)


def _put_pair(source: str, prefix: str, real: str, grid: tuple[float, int], nodes: list, stored: list) -> None:
    _put_quantizer(source, f"{prefix} held", f"{prefix} grid", grid, nodes, stored)
    scale, zero = f"{prefix} grid scale", f"{prefix} grid zero"
    nodes.append(helper.make_node("DequantizeLinear", [f"{prefix} held", scale, zero], [real]))


def _put_quantizer(
    source: str, held: str, prefix: str, grid: tuple[float, int], nodes: list, stored: list
) -> None:  # fmt: skip
    stored.append(numpy_helper.from_array(np.array(grid[0], np.float32), f"{prefix} scale"))
    stored.append(numpy_helper.from_array(np.array(grid[1], np.uint8), f"{prefix} zero"))
    nodes.append(helper.make_node("QuantizeLinear", [source, f"{prefix} scale", f"{prefix} zero"], [held]))


def _put_weight(name: str, array: np.ndarray, nodes: list, stored: list) -> np.ndarray:
    """Returns the real numbers [...] that its integers stand for."""
    scale = np.float32(np.abs(array).max(initial=0) / 127 or 1.0)
    integers = np.rint(array / scale).astype(np.int8)
    stored.append(numpy_helper.from_array(integers, f"{name} held"))
    stored.append(numpy_helper.from_array(np.array(scale, np.float32), f"{name} scale"))
    stored.append(numpy_helper.from_array(np.zeros((), np.int8), f"{name} zero"))
    nodes.append(
        helper.make_node("DequantizeLinear", [f"{name} held", f"{name} scale", f"{name} zero"], [f"{name} real"])
    )
    real: np.ndarray = integers.astype(np.float32) * scale
    return real


def _model(case: TestCase, nodes: list, stored: list, inputs: dict, results: list) -> onnx.ModelProto:
    made = [helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, a.shape) for n, a in inputs.items()]
    ends = [helper.make_tensor_value_info(n, kind, None) for n, kind in results]
    graph = helper.make_graph(nodes, case.name, made, ends, stored)
    opset = max(13, next((o.version for o in case.model.opset_import if o.domain in ("", "ai.onnx")), 13))
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)


def lowered(model: onnx.ModelProto, folder: Path) -> Program:
    """Raises InputError where integers cannot run the model."""
    path = folder / "case.onnx"
    onnx.save(onnx.shape_inference.infer_shapes(model), path)
    graph = onnx_io.load(path)
    return lowering.lower(graph, load_weights(graph))


def verdict(case: TestCase, folder: Path) -> Verdict:
    """Of the case between Q/DQ pairs. Integers may differ by one step: a float computation rounds elsewhere."""
    try:
        wrap = wrapped(case)
    except Exception as error:  # noqa: BLE001 -- ONNX's reference cannot run it
        return Verdict("broken", reason=f"{type(error).__name__}: {error}"[:200])
    try:
        program = lowered(wrap.model, folder)
    except InputError as error:
        return Verdict("refused", reason=str(error))
    got = reference.run(program, wrap.inputs)
    if any(got[name].shape != array.shape for name, array in wrap.wanted.items()):
        return Verdict("wrong", 255, "its result has another shape")
    steps = max(int(np.abs(got[n].astype(int) - a.astype(int)).max(initial=0)) for n, a in wrap.wanted.items())
    return Verdict("equal" if steps <= 1 else "wrong", steps)


def verdicts(folder: Path, pattern: str = "") -> Iterator[tuple[str, str, Verdict]]:
    """The name, the operator and the verdict of every case with integer meaning whose name fits the pattern."""
    for name, case in sorted(cases().items()):
        if not without_meaning(name) and re.search(pattern, name):
            with warnings.catch_warnings(), np.errstate(all="ignore"):
                warnings.simplefilter("ignore")
                yield name, case.model.graph.node[0].op_type, verdict(case, folder)
