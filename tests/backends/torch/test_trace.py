"""Traces as PyTorch writes them for a GPU: kernels stand apart from the calls that launched them."""

from hwprof.backends.torch import kernels, trace
from hwprof.backends.torch.compiled_code import Unit
from hwprof.builder import GraphBuilder


def span(cat, name, ts, dur, tid=1, **args):
    return {"ph": "X", "cat": cat, "name": name, "ts": ts, "dur": dur, "tid": tid, "args": args}


def launch(correlation, ts):
    return span("cuda_runtime", "cudaLaunchKernel", ts, 2, correlation=correlation)


def kernel(name, correlation, ts, dur, cat="kernel"):
    return span(cat, name, ts, dur, tid=7, correlation=correlation)


def two_layers():
    b = GraphBuilder("two")
    return b.build(b.relu(b.matmul(b.input((2, 4)), b.weight((4, 4)))))


def test_kernels_belong_to_the_operator_whose_call_launched_them():
    # One run: the product launches two kernels, the second of which runs long after the host went on.
    events = [
        span("user_annotation", "hwprof#run", 0, 100),
        span("user_annotation", "hwprof#0", 10, 20),
        launch(1, 12), launch(2, 15),
        span("user_annotation", "hwprof#1", 40, 10),
        launch(3, 42),
        span("gpu_user_annotation", "hwprof#0", 50, 70, tid=7),
        kernel("split_k", 1, 50, 4), kernel("gemm", 2, 60, 30), kernel("relu", 3, 95, 5),
        launch(4, 200), kernel("stranger", 4, 210, 99),
    ]  # fmt: skip
    rows = kernels._by_operator(two_layers(), trace.read(events), 1, on_device=True)
    assert [(k.name, k.op, k.ns, k.members) for k in rows] == [
        ("MatMul_0", "MatMul", 34_000.0, ("MatMul_0",)),
        ("Relu_1", "Relu", 5_000.0, ("Relu_1",)),
    ]


def compiled_run(offset, first_correlation):
    a, b, c = range(first_correlation, first_correlation + 3)
    return [
        span("cpu_op", "aten::mm", offset + 10, 10), span("cpu_op", "aten::empty", offset + 11, 1),
        launch(a, offset + 12), launch(b, offset + 14), launch(c, offset + 30),
        kernel("memset", a, offset + 13, 1, "gpu_memset"), kernel("gemm", b, offset + 15, 8),
        kernel("triton_poi_fused_relu_0", c, offset + 31, 2),
    ]  # fmt: skip


UNITS = [Unit("aten::mm", frozenset({0})), Unit("triton_poi_fused_relu_0", frozenset({1}))]


def test_a_librarys_kernels_are_one_call_and_generated_ones_have_members():
    found = trace.read([*compiled_run(0, 1), *compiled_run(100, 4)])
    rows = kernels._by_unit(two_layers(), found, UNITS, 2, on_device=True)
    assert [(k.name, k.op, k.ns, k.members) for k in rows] == [
        ("MatMul_0", "aten::mm", 9_000.0, ("MatMul_0",)),
        ("Relu_1", "triton_poi_fused_relu", 2_000.0, ("Relu_1",)),
    ]


def test_where_other_calls_ran_than_the_code_shows_no_members_are_guessed():
    found = trace.read(compiled_run(0, 1))
    rows = kernels._by_unit(two_layers(), found, UNITS[:1], 1, on_device=True)
    assert [(k.name, k.members) for k in rows] == [("aten::mm", ()), ("triton_poi_fused_relu_0", ())]
