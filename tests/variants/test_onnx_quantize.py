"""The program that quantizes a file."""

import json
import subprocess
import sys

import numpy as np
import onnx
import pytest

from hwprof import onnx_io
from hwprof.variants.onnx_quantize import quantize_file


@pytest.fixture
def files(tmp_path, mobile_block):
    onnx_io.save(mobile_block, tmp_path / "net.onnx")
    inputs = onnx_io.random_inputs(mobile_block)
    np.savez(tmp_path / "data.npz", **{name: np.stack([array] * 2) for name, array in inputs.items()})
    return tmp_path / "net.onnx", tmp_path / "data.npz", tmp_path / "out.onnx", "u8s8", tmp_path


def stored_types(path) -> set[int]:
    return {t.data_type for t in onnx.load(path).graph.initializer if len(t.dims) == 4}


def test_filters_become_int8(files):
    quantize_file(*files)
    assert stored_types(files[2]) == {onnx.TensorProto.INT8}


def test_the_last_line_of_the_program_is_a_list_of_warnings(files):
    arguments = [sys.executable, "-m", "hwprof.variants.onnx_quantize", *map(str, files)]
    done = subprocess.run(arguments, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout.splitlines()[-1]) == []
    assert files[2].exists()


def test_where_pre_processing_fails_the_file_is_quantized_as_it_is_and_that_is_said(files, monkeypatch):
    def fail(*args, **kwargs):
        raise RuntimeError("no optimizer")

    monkeypatch.setattr("hwprof.variants.onnx_quantize.quant_pre_process", fail)
    assert quantize_file(*files) == ["quantized without ONNX Runtime's pre-processing, which failed: no optimizer"]
    assert "BatchNormalization" in {n.op_type for n in onnx.load(files[2]).graph.node}
