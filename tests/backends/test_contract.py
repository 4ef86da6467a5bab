"""What every backend must do, checked on everything that is installed."""

from __future__ import annotations

import numpy as np
import pytest

from hwprof import plugins
from hwprof.testing import check_backend, reference_graphs

TIMED = [n for n in plugins.names("backend") if n != "emulator"]  # which has a contract of its own: it takes no time


@pytest.mark.parametrize("name", TIMED)
def test_a_backend_keeps_the_contract(name, device_of):
    check_backend(plugins.load("backend", name), device_of(name))


@pytest.mark.parametrize("graph", reference_graphs(), ids=lambda g: g.name)
def test_two_runtimes_compute_the_same(graph, device_of):
    outputs = []
    for name in ("onnxruntime", "openvino"):
        with plugins.load("backend", name).open(graph, device_of(name)) as timer:
            outputs.append(timer.outputs())
    for name in graph.outputs:
        np.testing.assert_allclose(outputs[0][name], outputs[1][name], rtol=1e-3, atol=1e-5)
