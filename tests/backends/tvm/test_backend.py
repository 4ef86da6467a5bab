from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from hwprof.backends.tvm import backend, compiling, reference
from hwprof.backends.tvm.backend import BACKEND
from hwprof.builder import GraphBuilder
from hwprof.device import Device
from hwprof.errors import EnvironmentUnfitError, InputError
from hwprof.testing import reference_graphs

DEVICE = Device("d", "tvm")


def test_times_are_those_of_single_inferences_and_the_operators_name_what_was_fused():
    with BACKEND.open(reference_graphs()[0], DEVICE) as timer:
        assert len(timer(1)) == 1  # the cold one
        assert len(timer(3)) == 3
        single, together = min(timer(20)), timer(20, each=False)[0]
        kernels = timer.operators(5)
        assert single < together
        assert timer.profiled_ns > sum(k.ns for k in kernels)
        assert len(timer(2)) == 2  # the profiled pass leaves the timer as it was
    assert [k.members for k in kernels] == [
        ("Conv_0", "Relu_1"),
        ("Conv_2", "BatchNormalization_3", "Clip_4", "Add_5"),
        ("GlobalAveragePool_6", "Flatten_7"),
        ("Gemm_8",),
    ]
    assert kernels[0].op == "conv2d_add_relu"


def test_an_untuned_network_says_so_and_what_it_was_built_with(product):
    with BACKEND.open(product, DEVICE) as timer:
        assert timer.warnings == (backend.UNTUNED,)
        assert timer.build == "TVM's default schedules"
    assert BACKEND.tuning(product, DEVICE) == ""


def test_a_quantized_network_runs_as_floats_and_is_not_sold_as_integers(quantized):
    with BACKEND.open(quantized, DEVICE) as timer:
        assert timer.warnings[1] == (
            "TVM runs quantized operators as float arithmetic with rounding: this is not the latency of integer kernels"
        )
        assert timer.outputs().keys() == set(quantized.outputs)


def test_threads_that_the_process_did_not_start_with_are_refused(product):
    with (
        BACKEND.open(product, DEVICE),
        pytest.raises(EnvironmentUnfitError, match="asks for 3 threads, but this process"),
    ):
        BACKEND.open(product, replace(DEVICE, threads=3))


def test_a_network_that_is_computed_otherwise_is_not_timed(product, monkeypatch):
    """Compiled is another network of the same shape, as if the compiler had mistaken it."""
    b = GraphBuilder("product")
    mistaken = b.build(b.softmax(b.matmul(b.input((32, 32)), b.weight((32, 32)))))
    mistaken = replace(mistaken, outputs=product.outputs) if mistaken.outputs == product.outputs else mistaken
    real = compiling.lower
    monkeypatch.setattr(compiling, "lower", lambda _graph, target: real(mistaken, target))
    with pytest.raises(InputError, match=r"^tvm computes 'product' wrong: output"):
        BACKEND.open(product, DEVICE)
    assert not np.allclose(*(next(iter(reference.outputs(g).values())) for g in (product, mistaken)))


def test_the_runtime_itself_is_the_only_version_that_counts():
    assert BACKEND.versions().keys() == {"tvm"}
