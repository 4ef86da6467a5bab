"""What every backend must do, checked on everything that is installed."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from hwprof import plugins
from hwprof.testing import check_backend, reference_graphs
from tests.integer.programs import small_network

INTEGERS_ONLY = ("integer", "integer-reference")

TIMED = [n for n in plugins.names("backend") if n != "emulator"]  # which has a contract of its own: it takes no time


@pytest.mark.parametrize("name", TIMED)
def test_a_backend_keeps_the_contract(name, device_of):
    graphs = [small_network()] if name in INTEGERS_ONLY else None
    check_backend(plugins.load("backend", name), device_of(name), graphs)


@pytest.mark.parametrize("graph", reference_graphs(), ids=lambda g: g.name)
def test_the_runtimes_compute_the_same(graph, device_of):
    outputs = []
    for name in ("onnxruntime", "openvino", "torch"):
        with plugins.load("backend", name).open(graph, device_of(name)) as timer:
            outputs.append(timer.outputs())
    for name, other in itertools.product(graph.outputs, outputs[1:]):
        np.testing.assert_allclose(outputs[0][name], other[name], rtol=1e-3, atol=1e-5)
