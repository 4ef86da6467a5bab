"""An ARM core before 2018 has no dot product of bytes: `make test-arm` runs this on an emulated Cortex-A72."""

from __future__ import annotations

import platform

import numpy as np
import pytest

from hwprof import onnx_io
from hwprof.backends import integer
from hwprof.device import Device
from hwprof.errors import EnvironmentUnfitError
from hwprof.integer.lowering import lowering
from hwprof.integer.run import library, reference
from hwprof.measure import environment
from hwprof.variants.weights import load_weights
from tests.integer.programs import small_network

pytestmark = pytest.mark.skipif(
    platform.machine() != "aarch64" or "asimddp" in environment.hardware()["features"],
    reason="for ARM cores without dot products; make test-arm emulates one",
)


def test_its_kernels_are_not_chosen_and_cannot_be_forced():
    assert library.load().available() == ["scalar"]
    text = "this processor has no 'neon-sdot'; it runs scalar"
    with (
        pytest.raises(EnvironmentUnfitError, match=text),
        integer.BACKEND.open(small_network(), Device.load("integer-neon")),
    ):
        pass


def test_a_network_runs_with_plain_kernels():
    graph = small_network()
    with integer.BACKEND.open(graph, Device("integer", "integer")) as timer:
        found = timer.outputs()
    expected = reference.run(lowering.lower(graph, load_weights(graph)), onnx_io.random_inputs(graph))
    for name, values in expected.items():
        np.testing.assert_array_equal(found[name], values)
