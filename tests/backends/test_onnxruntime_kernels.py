from __future__ import annotations

import pytest

from hwprof.backends import onnxruntime_kernels as kernels
from hwprof.backends.onnxruntime_kernels import Kernel
from hwprof.builder import GraphBuilder


def kernel_event(place, us):
    return {"name": f"kernel#{place}_kernel_time", "dur": us, "cat": "Node"}


RUN_ENDS = {"name": "model_run", "dur": 0, "cat": "Session"}


def test_warm_up_runs_are_left_out_of_the_mean():
    events = [kernel_event(0, 900), RUN_ENDS, kernel_event(0, 10), RUN_ENDS, kernel_event(0, 20), RUN_ENDS]
    assert kernels.mean_times(events, warmup=1) == {0: pytest.approx(15_500)}


def test_half_a_microsecond_is_given_back_to_each_kernel():
    assert kernels.mean_times([kernel_event(0, 0), RUN_ENDS], warmup=0) == {0: 500}


def test_one_disturbed_run_in_four_does_not_count():
    runs = [[kernel_event(0, us), RUN_ENDS] for us in (10, 11, 12, 4000)]
    assert kernels.mean_times([e for run in runs for e in run], warmup=0) == {0: pytest.approx(12_000)}


def test_kernels_within_a_body_and_an_unfinished_run_do_not_count():
    events = [{"name": "Exp_3_kernel_time", "dur": 5}, kernel_event(1, 8), RUN_ENDS, kernel_event(1, 700)]
    assert kernels.mean_times(events, warmup=0) == {1: 8500}


def test_a_profile_without_runs_gives_nothing():
    assert kernels.mean_times([], warmup=0) == {}


@pytest.fixture
def residual():
    """0 Conv, 1 Relu, 2 Conv, 3 Add of 1 and 2, 4 Relu."""
    b = GraphBuilder("residual")
    x = b.relu(b.conv(b.input((1, 4, 8, 8), name="x"), 4))
    return b.build(b.relu(b.add(x, b.conv(x, 4))))


EXTENDED = (
    Kernel("#0", "FusedConv", ("x", "w0"), ("Relu_1",)),
    Kernel("#2", "Conv", ("Relu_1", "w1"), ("Conv_2",)),
    Kernel("#3", "Add", ("Relu_1", "Conv_2"), ("Add_3",)),
    Kernel("#4", "Relu", ("Add_3",), ("Relu_4",)),
)


def test_the_layout_pass_folds_forward_into_the_last_convolution_that_feeds(residual):
    executed = (
        Kernel("Relu_1_nchwc", "Conv", ("x",), ("reorder_token_0",)),
        Kernel("Conv_2_nchwc_token_9", "Conv", ("reorder_token_0", "w", "b", "reorder_token_0"), ("reorder_token_1",)),
        Kernel("ReorderOutput", "ReorderOutput", ("reorder_token_1",), ("Relu_4",)),
    )
    assert kernels.members(residual, EXTENDED, executed) == [{0, 1}, {2, 3, 4}, frozenset()]


def test_a_tensor_whose_name_ends_like_a_rewritten_operator_is_not_mistaken():
    b = GraphBuilder("named")
    x = b.input((1, 4, 8, 8), name="x")
    graph = b.build(b.relu(b.relu(x)))
    extended = (Kernel("", "Mul", ("x",), ("Relu_0",)), Kernel("", "Mul", ("Relu_0",), ("Relu_1",)))
    executed = (
        Kernel("Relu_0_mul_nchwc", "Conv", ("x",), ("t",)),
        Kernel("Relu_1_bn_nchwc", "Conv", ("t",), ("u",)),
    )
    assert kernels.members(graph, extended, executed) == [{0}, {1}]


def test_an_inserted_move_leaves_its_tensor_to_the_kernel_that_computed_it(residual):
    extended = (
        Kernel("#0", "Conv", ("x",), ("inserted",)),
        Kernel("Transpose_token_3", "Transpose", ("inserted",), ("Relu_4",)),
    )
    assert kernels.members(residual, extended, extended) == [{0, 1, 2, 3, 4}, frozenset()]
