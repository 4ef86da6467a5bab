"""What is installed under TVM's name: each wrong one is named in a line, before it is imported."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from hwprof.backends.tvm.library import require_working

LOAD = """
from hwprof import plugins
from hwprof.errors import HwprofError
try:
    plugins.load("backend", "tvm")
except HwprofError as error:
    print(type(error).__name__, error)
"""


def loaded_with(folder: Path, program: str = LOAD) -> str:
    """What is printed where the folder's packages come first."""
    paths = [str(folder), str(Path(__file__).parents[3])]
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
    )  # fmt: skip
    return done.stdout.strip()


def distribution(folder: Path, name: str, version: str) -> None:
    info = folder / f"{name.replace('-', '_')}-{version}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")


def test_another_package_of_the_name_is_refused_unimported(tmp_path: Path):
    (tmp_path / "tvm").mkdir()
    (tmp_path / "tvm" / "__init__.py").write_text("raise SystemExit('imported')")
    said = loaded_with(tmp_path)
    assert said == (
        "EnvironmentUnfitError the installed package 'tvm' is not Apache TVM; install that with: "
        "pip uninstall tvm && pip install 'hwprof[tvm]'"
    )


def test_an_ffi_that_crashes_is_refused_with_the_command_that_mends_it(tmp_path: Path):
    distribution(tmp_path, "apache-tvm", "0.27.0.post1")
    distribution(tmp_path, "apache-tvm-ffi", "0.1.15")
    said = loaded_with(tmp_path)
    assert said == (
        "EnvironmentUnfitError apache-tvm 0.27.0.post1 crashes with apache-tvm-ffi 0.1.15; "
        "install the one that fits with: pip install 'hwprof[tvm]'"
    )


def test_no_tvm_is_named_with_what_to_install(tmp_path: Path):
    said = loaded_with(tmp_path, "import sys; sys.modules['tvm'] = None\n" + LOAD)
    assert said == (
        "EnvironmentUnfitError backend 'tvm' needs the library 'tvm'; install it with: pip install 'hwprof[tvm]'"
    )


def test_what_is_tested_here_works():
    require_working()


def test_pytorch_is_not_loaded_and_can_be_all_the_same(tmp_path: Path):
    (tmp_path / "torch.py").write_text("import sys; print('loaded' if 'tvm' in sys.modules else 'too early')")
    program = "import hwprof.backends.tvm.library, sys; assert 'torch' not in sys.modules; import torch"
    assert loaded_with(tmp_path, program) == "loaded"
