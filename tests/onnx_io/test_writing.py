import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from hwprof import onnx_io
from hwprof.builder import GraphBuilder
from hwprof.errors import EnvironmentUnfitError
from hwprof.onnx_io import writing


def test_the_seed_decides_the_file(tmp_path, tiny_graph):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        onnx_io.save(tiny_graph, tmp_path / name, seed)
    a, b, c = ((tmp_path / name).read_bytes() for name in "abc")
    assert a == b != c


def test_a_model_is_written_as_it_is(tmp_path, tiny_graph):
    model = onnx_io.to_model(tiny_graph)
    onnx_io.save(model, tmp_path / "t.onnx")
    assert onnx.load(tmp_path / "t.onnx") == model


def test_weights_that_one_file_cannot_hold_go_into_one_beside_it(tmp_path, monkeypatch):
    monkeypatch.setattr(writing, "INLINE_LIMIT_BYTES", 10_000)  # stands for 1.9 GB
    b = GraphBuilder("big")
    graph = b.build(b.gemm(b.input((1, 64)), 64))
    model = onnx_io.to_model(graph)
    onnx_io.save(model, tmp_path / "big.onnx")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["big.onnx", "big.onnx.data"]
    assert (tmp_path / "big.onnx.data").stat().st_size == 64 * 64 * 4
    written = onnx.load(tmp_path / "big.onnx")
    for before, after in zip(model.graph.initializer, written.graph.initializer, strict=True):
        np.testing.assert_array_equal(numpy_helper.to_array(before), numpy_helper.to_array(after))
    onnx.checker.check_model(tmp_path / "big.onnx")
    assert onnx_io.load(tmp_path / "big.onnx").digest == graph.digest


def test_a_folder_that_is_not_there_is_named(tmp_path, tiny_graph):
    with pytest.raises(EnvironmentUnfitError, match=r"^cannot write .*t\.onnx': No such file or directory$"):
        onnx_io.save(tiny_graph, tmp_path / "no" / "t.onnx")


FULL_DISK = """
import resource, sys
from hwprof import onnx_io
from hwprof.builder import GraphBuilder
from hwprof.errors import EnvironmentUnfitError
from hwprof.onnx_io import writing
writing.INLINE_LIMIT_BYTES = int(sys.argv[2])
b = GraphBuilder("big")
graph = b.build(b.gemm(b.input((1, 64)), 64))
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
try:
    onnx_io.save(graph, sys.argv[1])
except EnvironmentUnfitError as error:
    print(error)
"""


@pytest.mark.skipif(os.name != "posix", reason="limits of file size are POSIX")
@pytest.mark.parametrize("inline_limit_bytes", [1 << 30, 100])
def test_where_no_more_can_be_written_the_old_file_stays_and_nothing_else(tmp_path: Path, inline_limit_bytes):
    target = tmp_path / "t.onnx"
    target.write_text("old")
    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(target), str(inline_limit_bytes)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.startswith("cannot write")
    assert done.stdout.count("\n") == 1
    assert [p.name for p in tmp_path.iterdir()] == ["t.onnx"]
    assert target.read_text() == "old"
