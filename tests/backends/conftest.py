"""Graphs that tests of backends share, and a device for every backend that is installed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from hwprof.builder import GraphBuilder
from hwprof.device import Device
from hwprof.graph import Graph
from hwprof.testing import reference_graphs


@pytest.fixture
def device_of(tmp_path: Path) -> Callable[[str], Device]:
    """A device for the backend of that name; replay holds samples of the reference graphs."""
    samples = tmp_path / "samples.json"
    samples.write_text(json.dumps({g.digest: [[1000, 2000, 3000]] for g in reference_graphs()}))
    options = {
        "roofline": {"peak_macs_per_s": 1e9, "peak_bytes_per_s": 1e9, "launch_ns": 100},
        "replay": {"samples": str(samples)},
    }
    return lambda backend: Device("test", backend).with_options(**options.get(backend, {}))


@pytest.fixture
def bottleneck() -> Graph:
    """An inverted bottleneck with a residual: in a blocked layout ORT runs three convolutions."""
    b = GraphBuilder("bottleneck")
    x = b.relu(b.conv(b.input((1, 3, 16, 16)), 32, 3))
    y = b.relu6(b.batch_norm(b.conv(x, 64)))
    z = b.batch_norm(b.conv(y, 32))
    return b.build(b.global_average_pool(b.add(x, z)))


@pytest.fixture
def quantized() -> Graph:
    """A float input, one quantized convolution, a float output: Q, DQ -> Conv -> Q, DQ."""
    b = GraphBuilder("quantized")

    def step(op: str, x: str, kind: str, integer: str) -> str:
        scale, zero = b.constant([0.05], "float32", scalar=True), b.constant([0], integer, scalar=True)
        return b.nodes(op, [x, scale, zero], [(kind, b.shape(x))])[0]

    q = step("QuantizeLinear", b.input((1, 64, 32, 32)), "uint8", "uint8")
    w = step("DequantizeLinear", b.weight((64, 64, 1, 1), "int8"), "float32", "int8")
    x = step("DequantizeLinear", q, "float32", "uint8")
    y = b.node("Conv", [x, w], (1, 64, 32, 32), kernel_shape=(1, 1))
    return b.build(step("DequantizeLinear", step("QuantizeLinear", y, "uint8", "uint8"), "float32", "uint8"))
