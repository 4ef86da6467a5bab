from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from hwprof.backends.torch import BACKEND
from hwprof.builder import GraphBuilder
from hwprof.device import Device
from hwprof.errors import EnvironmentUnfitError, InputError, UnknownOperatorError
from hwprof.testing import check_backend, reference_graphs
from hwprof.torch_io import export
from hwprof.variants.quantize import quantize

DEVICE = Device("d", "torch")
GPU = Device("g", "torch", kind="cuda")
needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA GPU on this machine")
without_gpu = pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a CUDA GPU")


def outputs(graph, device):
    with BACKEND.open(graph, device) as timer:
        return timer.outputs()


@pytest.mark.parametrize(
    "device",
    [
        replace(DEVICE, precision="bfloat16"),
        DEVICE.with_options(channels_last=True),
        DEVICE.with_options(caches="cold"),
    ],
    ids=["bfloat16", "channels last", "cold"],
)
def test_a_setting_keeps_the_contract(device):
    check_backend(BACKEND, device)


@needs_gpu
@pytest.mark.parametrize("precision", ["float32", "tf32", "float16", "bfloat16"])
@pytest.mark.parametrize("mode", ["eager", "compile", "graph", "compile-graph"])
def test_a_gpu_keeps_the_contract(mode, precision):
    check_backend(BACKEND, replace(GPU, precision=precision).with_options(mode=mode))


@needs_gpu
@pytest.mark.parametrize("clock", ["device", "host"])
def test_a_gpu_is_waited_for_by_either_clock(clock):
    check_backend(BACKEND, GPU.with_options(clock=clock), [])


@needs_gpu
def test_a_gpu_tells_both_clocks_copies_cold_caches_and_memory(tiny_graph):
    with BACKEND.open(tiny_graph, GPU) as timer:
        timer(3)
        figures = timer.figures(3)
    assert set(figures) == {
        "hot_device_ns", "cold_device_ns", "hot_host_ns", "copy_in_ns", "copy_out_ns", "allocated_bytes",
        "reserved_bytes",
    }  # fmt: skip
    assert min(figures.values()) > 0


@needs_gpu
def test_what_does_not_fit_into_a_gpu_is_one_line_and_the_next_network_runs(tiny_graph):
    b = GraphBuilder("huge")
    x = b.input((1, 1))
    side = int((torch.cuda.get_device_properties(0).total_memory / 4) ** 0.5) + 1
    huge = b.build(b.matmul(b.node("Expand", [x, b.constant([side, side])], (side, side)), b.weight((side, 1))))
    with pytest.raises(InputError, match="does not fit into the memory of cuda:0"), BACKEND.open(huge, GPU) as timer:
        timer(1)
    assert outputs(tiny_graph, GPU)


def test_the_batch_is_that_of_the_device(tiny_graph):
    (one,) = outputs(tiny_graph, DEVICE).values()
    (three,) = outputs(tiny_graph, replace(DEVICE, batch=3)).values()
    assert (one.shape[0], three.shape[0]) == (1, 3)


def test_quantization_is_called_fake(tiny_graph):
    with BACKEND.open(quantize(tiny_graph), DEVICE) as timer:
        assert [w.partition(":")[0] for w in timer.warnings] == ["fake quantization"]
    with BACKEND.open(tiny_graph, DEVICE) as timer:
        assert timer.warnings == []


def test_the_operators_of_a_network_are_its_kernels(bottleneck):
    with BACKEND.open(bottleneck, DEVICE) as timer:
        kernels = timer.operators(3)
    assert [k.members for k in kernels] == [(n.label,) for n in bottleneck.nodes]
    assert sum(k.ns for k in kernels) < timer.profiled_ns


def test_cold_caches_cost_time():
    b = GraphBuilder("pass")
    graph = b.build(b.unary("Neg", b.input((256, 1024))))  # 2 MiB that the caches hold
    with BACKEND.open(graph, DEVICE) as timer:
        timer(20)
        figures = timer.figures(7)
    assert figures["cold_ns"] > figures["hot_ns"]


def test_half_precision_computes_nearly_the_same():
    graph = reference_graphs()[0]
    (exact,) = outputs(graph, DEVICE).values()
    (rounded,) = outputs(graph, replace(DEVICE, precision="float16")).values()
    assert not np.array_equal(exact, rounded)
    np.testing.assert_allclose(exact, rounded, rtol=0.05, atol=0.02)


def test_a_users_module_runs_as_the_program_that_was_traced(tmp_path):
    module = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Tanh()).eval()
    graph = export(module, torch.ones(2, 3), tmp_path / "m.pt2")
    (value,) = outputs(graph, DEVICE).values()
    np.testing.assert_allclose(value, module(torch.ones(2, 3)).detach().numpy(), rtol=1e-5)
    with BACKEND.open(graph, DEVICE) as timer:
        assert [k.op for k in timer.operators(2)] == ["linear.default", "tanh.default"]


@pytest.mark.parametrize(
    ("device", "fault"),
    [
        (replace(DEVICE, kind="fpga"), "has kind 'fpga', but backend 'torch' supports only cpu and cuda"),
        (replace(DEVICE, precision="int8"), "computes in float32, tf32, float16, bfloat16; for int8"),
        (replace(DEVICE, precision="tf32"), "precision 'tf32' exists only on NVIDIA GPUs"),
        (DEVICE.with_options(mode="graph"), "mode 'graph' exists only on NVIDIA GPUs"),
        (DEVICE.with_options(mode="fast"), "mode must be one of eager, compile, graph, compile-graph, not 'fast'"),
        (DEVICE.with_options(clock="sun"), "clock must be one of device, host"),
        (DEVICE.with_options(caches="warm"), "caches must be one of hot, cold"),
    ],
)
def test_what_the_device_cannot_do_is_refused(tiny_graph, device, fault):
    with pytest.raises(InputError, match=fault), BACKEND.open(tiny_graph, device):
        pass


@without_gpu
def test_without_a_gpu_the_reason_is_told(tiny_graph):
    with pytest.raises(EnvironmentUnfitError, match=r"device 'g'.* CUDA") as caught, BACKEND.open(tiny_graph, GPU):
        pass
    assert "\n" not in str(caught.value)


def test_an_operator_without_a_counterpart_is_named():
    b = GraphBuilder("odd")
    graph = b.build(b.unary("Hardmax", b.input((1, 4))))
    with pytest.raises(UnknownOperatorError, match="operator Hardmax 'Hardmax_0' has no"), BACKEND.open(graph, DEVICE):
        pass


@pytest.mark.slow
def test_closing_a_compiled_network_leaves_the_others_compiled(tiny_graph):
    b = GraphBuilder("anchor")
    anchor = b.build(b.relu(b.matmul(b.input((8, 16)), b.weight((16, 16)))))
    device = DEVICE.with_options(mode="compile")
    with BACKEND.open(anchor, device) as timer:
        timer(1)
        with BACKEND.open(tiny_graph, device):
            pass
        with torch.compiler.set_stance("fail_on_recompile"):
            assert len(timer(3)) == 3


@pytest.mark.slow
def test_a_compiled_network_shows_what_was_fused_into_its_kernels():
    b = GraphBuilder("compiled")
    x = b.matmul(b.input((8, 16)), b.weight((16, 16)))
    graph = b.build(b.unary("Tanh", b.relu(x)))
    eager = outputs(graph, DEVICE)
    with BACKEND.open(graph, DEVICE.with_options(mode="compile")) as timer:
        for name, value in timer.outputs().items():
            np.testing.assert_allclose(value, eager[name], rtol=1e-4, atol=1e-5)
        kernels = timer.operators(3)
    assert {m for k in kernels for m in k.members} <= {n.label for n in graph.nodes}
    assert next(k.members for k in kernels) == ("MatMul_0",)
