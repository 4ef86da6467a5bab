"""Recurrent cells written as loops in PyTorch are calibrated as they stand and run whole."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from hwprof import onnx_io
from hwprof.compress.integer import calibrate
from hwprof.graph import Graph
from hwprof.integer.lowering import lowering
from hwprof.integer.program import program as ir
from hwprof.integer.run import memory, reference
from hwprof.integer.run.packing import Arithmetic
from hwprof.integer.run.steps import Steps
from hwprof.torch_io import onnx_export
from hwprof.variants.weights import load_weights
from tests.benchmarks.cells import AttentionLstm, NormGru, NormLstm
from tests.integer.programs import run_kernels
from tests.onnx_oracle import unoptimized

STEPS, UNITS = 12, 40
CELLS = {cell.__name__: cell for cell in (NormLstm, NormGru, AttentionLstm)}
X = np.random.default_rng(0).standard_normal((4, STEPS, 2, UNITS), np.float32)


@pytest.fixture(scope="module", params=CELLS)
def cell(request) -> nn.Module:
    torch.manual_seed(0)
    return CELLS[request.param](UNITS, UNITS).eval()


@pytest.fixture(scope="module", params=[8, 16])
def state_bits(request) -> int:
    return request.param


@pytest.fixture(scope="module")
def calibrated(cell, state_bits, tmp_path_factory) -> Graph:
    path = tmp_path_factory.mktemp("cells") / "quantized.onnx"
    return calibrate(cell, [{"x": x} for x in X], path, state_bits)


def relative_rms(a: np.ndarray, exact: np.ndarray) -> float:
    return float(np.sqrt(np.mean((a - exact) ** 2) / np.mean(exact**2)))


def test_a_cell_computes_nearly_what_the_module_computes(cell, calibrated, state_bits):
    program = lowering.lower(calibrated, load_weights(calibrated))
    model = onnx_io.materialize(calibrated)
    real = np.stack([cell(torch.from_numpy(x)).detach().numpy() for x in X])
    ours = np.stack([next(iter(reference.run(program, {"x": x}).values())) for x in X])
    theirs = np.stack([unoptimized(model, {"x": x})[0] for x in X])
    assert relative_rms(ours, real) < {8: 0.08, 16: 0.06}[state_bits]
    assert relative_rms(ours, real) < 1.15 * relative_rms(theirs, real)


def test_every_instruction_set_gives_the_same(calibrated, kernels, instruction_set):
    program = lowering.lower(calibrated, load_weights(calibrated))
    wanted = reference.run(program, {"x": X[0]})
    for name, array in run_kernels(program, {"x": X[0]}, kernels, instruction_set, threads=2).items():
        np.testing.assert_array_equal(array, wanted[name])


def test_a_weight_that_each_step_uses_is_stored_once(cell, calibrated):
    matrices = sum(p.numel() for p in cell.parameters() if p.ndim == 2)
    program = lowering.lower(calibrated, load_weights(calibrated))
    held = {id(op.weight): op.weight.nbytes for op in program.operations if isinstance(op, ir.Convolution)}
    assert sum(held.values()) == matrices
    plan = Steps(program, memory.place(program), Arithmetic(is_signed=True))
    # each step has scales of its own, and so 12 bytes for each column of its products, besides tables
    columns = sum(op.weight.shape[0] for op in program.operations if isinstance(op, ir.Convolution))
    functions = sum(isinstance(op, ir.Table | ir.Lines) for op in program.operations)
    assert plan.constants.size_bytes < 1.3 * matrices + 12 * columns + 2200 * functions + 40 * STEPS * 4 * UNITS


def matrices_of(graph: Graph) -> list[str]:
    """The weights that are matrices and not the first state."""
    return [t.name for t in graph.weights if len(t.shape) == 2 and t.shape[0] > 2]


def test_the_file_of_a_quantized_loop_holds_each_weight_once(cell, calibrated):
    assert len(matrices_of(calibrated)) == sum(p.ndim == 2 for p in cell.parameters())


def test_the_file_of_a_float_loop_holds_each_weight_once(cell, tmp_path):
    graph = onnx_export.export(cell, {"x": X[0]}, tmp_path / "float.onnx")
    assert len(matrices_of(graph)) == sum(p.ndim == 2 for p in cell.parameters())
    (theirs,) = unoptimized(graph.source, {"x": X[0]})
    np.testing.assert_allclose(theirs, cell(torch.from_numpy(X[0])).detach().numpy(), atol=1e-5)


def test_operators_of_a_loop_say_where_they_come_from(cell, calibrated):
    program = lowering.lower(calibrated, load_weights(calibrated))
    names = [op.name for op in program.operations if isinstance(op, ir.Convolution)]
    assert len(set(names)) == len(names)
    assert all(any(part in name for part in ("of_x", "of_h", "gates", "key")) for name in names)
