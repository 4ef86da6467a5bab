"""Networks that TVM compiles on this machine for an ARM core, run on one over RPC: in the emulated root, by
`make test-arm`."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from hwprof.backends.emulator.cores import CORES
from hwprof.backends.tvm import reference
from hwprof.backends.tvm.backend import BACKEND
from hwprof.builder import GraphBuilder
from hwprof.device import Device
from hwprof.graph import Graph
from hwprof.testing import reference_graphs
from tests.arm import cross, emulated
from tests.backends.tvm.conftest import KEY, Nodes


@pytest.fixture(scope="module")
def board(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Device]:
    """A shipped device whose server runs in the root."""
    if "HWPROF_TEST_ARM" not in os.environ:
        pytest.skip("make test-arm runs it, in the emulated root that it makes")
    nodes = Nodes()
    try:
        nodes.tracker = nodes.start("tracker")
        folder: Path = tmp_path_factory.mktemp("board")
        nodes.start_server(str(emulated.python(CORES["cortex-a76"], folder)))
        shipped = Device.load("raspberry-pi-5-tvm")
        device = shipped.with_options(key=KEY, compiler=str(cross.compiler()), wait_s=60.0)
        yield replace(device, remote=f"127.0.0.1:{nodes.tracker}")
    finally:
        while nodes.processes:
            nodes.kill_last()


def separable() -> Graph:
    """As mobile networks have it: a depthwise convolution between pointwise ones, and a residual."""
    b = GraphBuilder("separable")
    x = b.relu6(b.conv(b.input((1, 8, 14, 14)), 24, 1))
    y = b.relu6(b.conv(x, 24, 3, groups=24))
    return b.build(b.gemm(b.flatten(b.global_average_pool(b.add(x, b.conv(y, 24, 1)))), 10))


@pytest.mark.parametrize("graph", [*reference_graphs(), separable()], ids=lambda g: g.name)
def test_what_is_built_here_computes_there_what_onnx_runtime_does(board, graph):
    with BACKEND.open(graph, board) as timer:
        found = timer.outputs()
        assert len(timer(3)) == 3
    for name, values in reference.outputs(graph).items():
        np.testing.assert_allclose(found[name], values, rtol=1e-3, atol=1e-5)
