"""What starting hwprof loads: counted in modules, not in seconds."""

import json
import subprocess
import sys

import pytest

HEAVY = {
    "numpy",
    "torch",
    "onnx",
    "onnxruntime",
    "openvino",
    "sklearn",
    "tvm",
    "scipy",
    "xgboost",
    "pyarrow",
    "matplotlib",
    "dask",
    "distributed",
}


def loaded_by(program: str) -> set[str]:
    program += "\nimport json, sys; sys.stderr.write(json.dumps(sorted({m.partition('.')[0] for m in sys.modules})))"
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return set(json.loads(run.stderr))


@pytest.mark.parametrize("arguments", [["--help"], ["profile", "--help"], ["--version"]])
def test_help_loads_no_library(arguments: list[str]):
    assert not loaded_by(f"from hwprof.__main__ import run; run({arguments!r})") & HEAVY


def test_importing_the_package_loads_no_library():
    assert not loaded_by("import hwprof; assert hwprof.__version__") & HEAVY


def test_a_measurement_with_onnxruntime_loads_no_training_framework():
    assert not loaded_by("from hwprof.backends import onnxruntime") & {"torch", "tvm", "sklearn", "openvino"}


def test_profiling_with_onnxruntime_loads_no_torch():
    assert "torch" not in loaded_by("import hwprof.jobs, hwprof.measure.worker, hwprof.cli.results")


def test_every_public_name_is_there():
    loaded_by("import hwprof\nfor name in hwprof.__all__: getattr(hwprof, name)")
