"""What predictors are told of a program's loops, against sizes worked out by hand."""

import numpy as np
import pytest

from hwprof.encoders.kernels import FEATURES
from hwprof.integer.program import program as ir
from hwprof.integer.run import memory, work
from hwprof.integer.run.packing import Arithmetic
from hwprof.integer.run.steps import Steps
from tests.integer.programs import of_one
from tests.integer.run.test_library import programs

RESCALE = ir.Rescale(np.full(1, 2**30, np.int32), np.full(1, 40, np.int32), 3)


def told(operation, /, **shapes):
    program = of_one(operation, shapes)
    return work.of(operation, program)


def convolution(weight, **more):
    bias = np.zeros(weight[0], np.int32)
    return ir.Convolution("conv", (), "x", "y", np.ones(weight, np.int8), bias, RESCALE, 7, **more)


@pytest.mark.parametrize("program", programs(), ids=lambda program: program.name)
def test_every_step_of_a_plan_is_a_loop_with_sizes_that_predictors_know(program):
    steps = Steps(program, memory.place(program), Arithmetic(is_signed=False)).steps
    loops = [loop for op in program.operations for loop in work.of(op, program)]
    parts = ("gathering", "packing")  # of the step that needs them
    own = [kind for kind, _ in loops if not kind.startswith(parts) and "part of a vector" not in kind]
    assert len(own) in (len(steps), len(steps) + sum(kind == "depthwise" for kind in own) - 1)
    for kind, sizes in [*loops, *work.of_ends(program)]:
        assert sizes.keys() <= set(FEATURES), kind
        assert sizes["element operations"] >= 1, kind
        assert all(np.isfinite(size) and size > 0 for size in sizes.values()), kind


def test_multiply_adds_include_the_padding_of_quads_and_half_panels():
    (loop,) = told(convolution((20, 1, 1, 8)), x=(1, 5, 6, 8), y=(1, 5, 6, 20))
    assert loop.kind == "matrix product"
    assert loop.sizes["macs"] == 30 * 32 * 8
    (loop,) = told(convolution((20, 3, 3, 3), window=ir.Window((3, 3))), x=(1, 7, 7, 3), y=(1, 5, 5, 20))
    assert loop.kind == "convolution of lines"
    assert loop.sizes["macs"] == 25 * 32 * 3 * 12  # 9 bytes of a line are 3 quads


@pytest.mark.parametrize(
    ("loops", "weight", "more", "x", "y"),
    [
        (["matrix product of one row"], (8, 1, 1, 16), {}, (1, 1, 1, 16), (1, 1, 1, 8)),
        (["matrix product"], (8, 1, 1, 8), {"groups": 2}, (1, 4, 4, 16), (1, 4, 4, 8)),
        (["convolution of lines"], (8, 1, 1, 16), {"window": ir.Window(stride=(2, 2))}, (1, 4, 4, 16), (1, 2, 2, 8)),
        (["matrix product", "gathering inserted"], (8, 3, 3, 16),
         {"window": ir.Window((3, 3), dilation=(2, 2))}, (1, 8, 8, 16), (1, 4, 4, 8)),
        (["matrix product", "gathering inserted"], (8, 3, 3, 16), {"window": ir.Window((3, 3))},
         (1, 3, 8000, 16), (1, 1, 7998, 8)),
        (["matrix product", "gathering inserted"], (8, 3, 3, 4),
         {"window": ir.Window((3, 3)), "groups": 4}, (1, 8, 8, 16), (1, 6, 6, 8)),
        (["matrix product of one row", "gathering inserted"], (8, 3, 3, 4), {"window": ir.Window((3, 3))},
         (1, 3, 3, 4), (1, 1, 1, 8)),
    ],
)  # fmt: skip
def test_the_kind_of_a_convolution_is_the_loop_that_it_takes(loops, weight, more, x, y):
    assert [kind for kind, _ in told(convolution(weight, **more), x=x, y=y)] == loops


def test_what_is_gathered_is_copied_in_runs_of_neighbours():
    _, dilated = told(convolution((8, 3, 3, 16), window=ir.Window((3, 3), dilation=(2, 2))), x=(1, 8, 8, 16),
                      y=(1, 4, 4, 8))  # fmt: skip
    assert (dilated.sizes["rows"], dilated.sizes["inner length"]) == (16 * 9, 16)
    _, wide = told(convolution((8, 3, 3, 16), window=ir.Window((3, 3))), x=(1, 3, 8000, 16), y=(1, 1, 7998, 8))
    assert (wide.sizes["rows"], wide.sizes["inner length"]) == (7998 * 3, 48)


@pytest.mark.parametrize(
    ("window", "channels", "expected"),
    [
        (ir.Window((3, 3)), 64, {"depthwise by columns": 36 * 64 * 12}),
        (ir.Window((3, 3), dilation=(1, 2)), 64, {"depthwise": 6 * 4 * 64 * 12}),
        (ir.Window((5, 5)), 40, {"depthwise": 16 * 32 * 28, "depthwise of part of a vector": 16 * 32 * 28}),
    ],
)
def test_a_depthwise_convolution_takes_vectors_of_channels_and_what_is_left(window, channels, expected):
    out = [8 - (k - 1) * d for k, d in zip(window.kernel, window.dilation, strict=True)]
    op = convolution((channels, *window.kernel, 1), window=window, groups=channels)
    loops = told(op, x=(1, 8, 8, channels), y=(1, *out, channels))
    assert {kind: sizes["macs"] for kind, sizes in loops} == expected


def test_the_second_operand_of_a_product_is_packed_by_whole_panels_and_the_rest_by_element():
    operation = ir.Product("product", (), "a", "b", "y", 3, 4, RESCALE)
    loops = told(operation, a=(2, 5, 6), b=(2, 6, 40), y=(2, 5, 40))
    packed = {kind: sizes["element operations"] for kind, sizes in loops[1:]}
    assert packed == {"packing inserted": 2 * 4 * 32, "packing by element inserted": 2 * (6 * 40 - 4 * 32)}


@pytest.mark.parametrize(
    ("b", "kind", "rows"),
    [
        ((1, 4, 4, 48), "sum of the same shape", 1),
        ((1, 1, 1, 1), "sum with one number", 1),
        ((1, 1, 1, 48), "sum with joined lines", 1),
        ((1, 4, 4, 1), "sum with one number", 16),
        ((1, 4, 1, 48), "sum with joined lines", 4),
    ],
)
def test_a_sum_goes_line_by_line_where_the_second_operand_is_broadcast(b, kind, rows):
    (loop,) = told(ir.Add("add", (), "a", "b", "y", (100, 200), 9, 8), a=(1, 4, 4, 48), b=b, y=(1, 4, 4, 48))
    assert (loop.kind, loop.sizes["rows"]) == (kind, rows)


def test_an_elementwise_product_that_32_bits_do_not_hold_is_another_kind():
    shapes = dict.fromkeys("aby", (2, 3, 4))
    slow = ir.Rescale(np.full(1, 2**30, np.int32), np.full(1, 31, np.int32), 3)
    kinds = [told(ir.Multiply("m", (), "a", "b", "y", 3, 4, r), **shapes)[0].kind for r in (RESCALE, slow)]
    assert kinds == ["element-wise product of the same shape", "element-wise product in 64 bits of the same shape"]


def test_a_pool_reads_the_pixels_under_its_windows_that_are_inside():
    pool = ir.MaxPool("max", (), "x", "y", ir.Window((3, 3), pad=(1, 1)))
    (loop,) = told(pool, x=(1, 4, 4, 20), y=(1, 4, 4, 20))
    assert loop.sizes["input bytes"] == (2 + 3 + 3 + 2) ** 2 * 20


def test_a_recurrence_reads_its_weights_in_every_step():
    def gates(depth):
        return ir.Gates(np.ones((128, depth), np.int8), *(np.full(128, v, np.int32) for v in (0, 2**30, 40)))

    lstm = ir.Lstm("lstm", (), "x", "y", gates(5), gates(32), 3, 4, 100, 9, 8)
    steps, before, gathering = told(lstm, x=(7, 2, 5), y=(7, 2, 32))
    assert [steps.kind, before.kind, gathering.kind] == ["lstm", "matrix product", "gathering inserted"]
    assert (steps.sizes["macs"], before.sizes["macs"]) == (14 * 128 * 32, 14 * 128 * 8)
    assert steps.sizes["input bytes"] == 7 * 128 * 32 + 2 * 14 * 128


def test_a_copy_is_of_runs_or_of_bytes_that_are_apart():
    (whole,) = told(ir.Slice("slice", (), "x", "y", (0, 1, 0), (1, 1, 1)), x=(4, 6, 8), y=(4, 2, 8))
    assert (whole.kind, whole.sizes["rows"], whole.sizes["inner length"]) == ("copy of runs", 4, 16)
    (apart,) = told(ir.Transpose("transpose", (), "x", "y", (0, 2, 1)), x=(4, 6, 8), y=(4, 8, 6))
    assert (apart.kind, apart.sizes["rows"], apart.sizes["element operations"]) == ("copy of bytes", 32, 4 * 6 * 8)


def test_bytes_whose_lines_share_a_place_in_the_cache_take_as_long_as_several():
    """40 lines of a cache of 32 KiB with 8 ways: 64 KiB apart they have 8 places, 60 KiB apart and a line many."""
    times = []
    for length in (2**16, 2**16 - 64 * 15):
        (copy,) = told(ir.Transpose("transpose", (), "x", "y", (0, 2, 1)), x=(1, 40, length), y=(1, length, 40))
        times.append(copy.sizes["element operations"] / (40 * length))
    assert times[0] == 8 * times[1] == 8


def test_the_ends_of_a_network_are_quantized_and_dequantized_unless_they_are_integers():
    image, row = (1, 3, 4, 5), (1, 10)
    program = ir.Program(
        "net", (ir.Entry("a", image, "x", 0.1, 3, is_image=True), ir.Entry("b", row, "z", None, 0, is_image=False)),
        (ir.Exit("c", row, "z", None, 0, is_image=False, reals=np.zeros(256, np.float32)),), (), {}, {},
    )  # fmt: skip
    ends = work.of_ends(program)
    assert [kind for kind, _ in ends] == ["quantization of an image inserted", "look-up of reals inserted"]
    assert [(sizes["input bytes"], sizes["output bytes"]) for _, sizes in ends] == [(240, 60), (10, 40)]
