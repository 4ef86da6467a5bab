"""What the kernels refuse, and what they are made of."""

from __future__ import annotations

import ctypes
import re
import shutil
import subprocess

import numpy as np
import pytest

from hwprof import onnx_io
from hwprof.errors import EnvironmentUnfitError, InputError
from hwprof.integer.kernels.compile import BORDER, FOLDER, KERNELS
from hwprof.integer.lowering import lowering
from hwprof.integer.numerics import piecewise
from hwprof.integer.program import program as ir
from hwprof.integer.program.weight_formats import FORMATS
from hwprof.integer.run import library, memory
from hwprof.integer.run.engine import Engine
from hwprof.integer.run.library import Library, Plan, Step
from hwprof.integer.run.packing import Arithmetic
from hwprof.integer.run.steps import DIVIDED, KINDS, Steps
from hwprof.variants.weights import load_weights
from tests.integer.programs import Quantized, of_one, sequence_network

# Arithmetic, comparisons and conversions; moves and bit operations on vector registers serve integers, too.
_X86_FLOAT = re.compile(
    r"\tv?(add|sub|mul|div|sqrt|min|max|rcp|rsqrt|fn?m(add|sub)\w*|hadd|hsub|dp|round|u?comi|cmp\w*|cvt\w*)"
    r"\w*(ps|pd|ss|sd|ph|sh)\b|\tf(ld|st|add|sub|mul|div|il|ist)\w*\s"
)
_ARM_FLOAT = re.compile(r"\tf(add|sub|mul|div|madd|msub|mla|mls|cvt\w*|cmp|sqrt|max|min)\w*\s|\t[su]cvtf\s")


def test_the_digest_is_that_of_both_libraries(tmp_path):
    for name in (KERNELS, BORDER):
        (tmp_path / name).write_bytes((FOLDER / name).read_bytes())
    assert library.digest(tmp_path) == library.digest()
    (tmp_path / BORDER).write_bytes(b"other code")
    library.digest.cache_clear()
    assert library.digest(tmp_path) != library.digest()


def test_without_compiled_kernels_there_is_no_digest(tmp_path):
    assert library.digest(tmp_path) == ""


def programs() -> list[ir.Program]:
    """One of every operation, and of every format of weights; each uses all of the memory that it has."""
    rng = np.random.default_rng(0)
    image, row = (1, 5, 6, 8), (1, 3, 1, 20)
    window = ir.Window((3, 2), (2, 1), (1, 2), (1, 1))

    def rescale(n: int, shift: int = 40) -> ir.Rescale:
        return ir.Rescale(np.full(n, 2**30, np.int32), np.full(n, shift, np.int32), 3)

    def convolution(name: str, weight: np.ndarray, **more) -> ir.Convolution:
        bias = np.zeros(len(weight), np.int32)
        return ir.Convolution(name, (), "x", "y", weight.astype(np.int8), bias, rescale(len(weight)), 7, **more)

    few = rng.choice(np.array([-1, 1]), (40, 1, 1, 20))
    holes = np.where(np.arange(20) % 8 < 4, few, 0)
    signs = {"sign_at": 9}
    made = [
        of_one(convolution(name, holes if name == "sparse-32x4" else few, weight_format=name,
                           **(signs if name == "signs" else {})), {"x": row, "y": (1, 3, 1, 40)})
        for name in FORMATS
    ]  # fmt: skip
    gates = [
        ir.Gates(rng.integers(-9, 9, (20, n), dtype=np.int8), *(np.full(20, v, np.int32) for v in (0, 2**30, 40)))
        for n in (4, 5)
    ]
    table = rng.integers(0, 256, 256, dtype=np.uint8)
    both = {"a": (2, 3, 4), "b": (2, 3, 4), "y": (2, 3, 4)}
    for operation, shapes in (
        (convolution("dense", rng.integers(-9, 9, (4, 3, 2, 8)), window=window), {"x": image, "y": (1, 3, 6, 4)}),
        (convolution("grouped", rng.integers(-9, 9, (4, 1, 1, 4)), groups=2), {"x": image, "y": (1, 5, 6, 4)}),
        (convolution("depthwise", rng.integers(-9, 9, (8, 3, 2, 1)), window=window, groups=8),
         {"x": image, "y": (1, 3, 6, 8)}),
        (ir.Add("add", (), "a", "b", "y", (100, 200), 9, 8), both),
        (ir.Multiply("multiply", (), "a", "b", "y", 3, 4, rescale(1)), both),
        (ir.Table("table", (), "x", "y", table), {"x": image, "y": image}),
        (ir.MaxPool("max", (), "x", "y", window), {"x": image, "y": (1, 3, 6, 8)}),
        (ir.AveragePool("average", (), "x", "y", window, 3, rescale(7, 33), False), {"x": image, "y": (1, 3, 6, 8)}),
        (ir.Transpose("transpose", (), "x", "y", (0, 3, 1, 2)), {"x": image, "y": (1, 8, 5, 6)}),
        (ir.Slice("slice", (), "x", "y", (0, 4, 1, 1), (1, -2, 1, 2)), {"x": image, "y": (1, 3, 5, 4)}),
        (ir.Pad("pad", (), "x", "y", (0, 1, 1, 0), 3), {"x": image, "y": (1, 6, 7, 8)}),
        (ir.Lstm("lstm", (), "x", "y", *gates, 3, 4, 100, 9, 8), {"x": (3, 2, 4), "y": (3, 2, 5)}),
    ):  # fmt: skip
        made.append(of_one(operation, shapes))
    made += wide_programs(rng)
    sequences = sequence_network()
    return [*made, lowering.lower(sequences, load_weights(sequences))]


def wide_programs(rng: np.random.Generator) -> list[ir.Program]:
    """Of every operation that knows 16 bits."""
    both, one = {"a": (2, 3, 4), "b": (2, 3, 4), "y": (2, 3, 4)}, {"x": (5, 20), "y": (5, 20)}
    rescale = ir.Rescale(np.array([2**30], np.int32), np.array([40], np.int32), 0, -100, 100)
    tanh = piecewise.in_integers(piecewise.adaptive(np.tanh, -4, 4, 16), 4 / 2**15, 1 / 2**15)
    gain = np.full(20, 2**20, np.int32)
    return [
        of_one(ir.Add("add", (), "a", "b", "y", (2**29, 2**28), 9, 30, -300, 300), both, wide="aby"),
        of_one(ir.Add("add", (), "a", "b", "y", (2**29, 2**28), 9, 30), both, wide="b"),
        of_one(ir.Multiply("multiply", (), "a", "b", "y", 0, 7, rescale), both, wide="ay"),
        of_one(ir.Table("table", (), "x", "y", rng.integers(-9, 9, 256, dtype=np.int16)), one, wide="y"),
        of_one(ir.Lines("lines", (), "x", "y", tanh, -300, 300), one, wide="xy"),
        of_one(ir.Lines("lines", (), "x", "y", tanh, 3, 250), one, wide="x"),
        of_one(ir.Normalization("n", (), "x", "y", gain, gain, 9, 0, True, -9, 9, 2), one, wide="xy"),
        of_one(ir.Slice("slice", (), "x", "y", (4, 1), (-2, 3)), {"x": (5, 20), "y": (3, 7)}, wide="xy"),
        of_one(
            ir.WideConvolution("c", (), "x", "y", np.full((4, 1, 1, 8), 9, np.int8), np.zeros(4, np.int64), rescale),
            {"x": (1, 5, 6, 8), "y": (1, 5, 6, 4)},
            wide="xy",
        ),
    ]


@pytest.fixture(scope="module")
def steps():
    """Of all of them, whose memory is kept meanwhile."""
    kept = [(program, memory.place(program)) for program in programs()]
    made = [
        Steps(program, values, Arithmetic(is_signed, sums_parts))
        for is_signed, sums_parts in ((False, False), (True, True))
        for program, values in kept
    ]
    yield [step for each in made for step in each.steps]
    del made, kept


def test_every_kind_of_step_is_among_them(steps):
    assert {step.kind for step in steps} == set(range(len(KINDS)))
    assert {step.format for step in steps} == {*range(len(FORMATS)), DIVIDED}


@pytest.mark.skipif(not shutil.which("objdump"), reason="needs objdump")
def test_no_instruction_of_the_kernels_computes_with_floats():
    text = subprocess.run(
        ["objdump", "-d", "--no-show-raw-insn", str(FOLDER / KERNELS)], capture_output=True, text=True, check=True
    ).stdout
    assert len(text) > 100_000
    found = [line for line in text.splitlines() if _X86_FLOAT.search(line) or _ARM_FLOAT.search(line)]
    assert not found, found[:10]


def test_every_step_of_a_network_is_accepted(kernels, steps):
    assert [kernels.check(step) for step in steps] == [""] * len(steps)


def with_field(step: Step, name: str, value: int) -> Step:
    changed = Step.from_buffer_copy(step)
    setattr(changed, name, value)
    return changed


def ends_in(step: Step, name: str) -> bool:
    """Whether the step reads or writes the last byte of this memory. Of a part or of several a copy may not."""
    if KINDS[step.kind] != "copy" or name not in ("x_bytes", "y_bytes"):
        return True
    strides, offset = (step.from_, step.from_offset) if name == "x_bytes" else (step.to, step.to_offset)
    farthest = offset + sum(max(0, (n - 1) * stride) for n, stride in zip(step.extent, strides, strict=True))
    return bool(farthest == getattr(step, name) - 1)


@pytest.mark.parametrize("name", ["x_bytes", "x2_bytes", "y_bytes", "weight_bytes", "constants"])
def test_a_step_that_would_leave_its_memory_is_refused(kernels, steps, name):
    checked = 0
    for step in steps:
        if getattr(step, name) and ends_in(step, name):
            checked += 1
            assert kernels.check(with_field(step, name, getattr(step, name) - 1)), step.kind
    assert checked


FIELDS = [name for name, kind in Step._fields_ if name not in library._POINTERS and not hasattr(kind, "_length_")]
WALKS = [(name, axis) for name in ("extent", "from_", "to") for axis in range(library.AXES)]


def run_where_accepted(kernels: Library, step: Step) -> None:
    """Under `make sanitize` a bad access ends the test."""
    if kernels.check(step):
        return
    for name in kernels.available():
        if step.format == DIVIDED and not kernels.arithmetic(name).sums_parts:
            continue
        plan = Plan(kernels, [step], name, 1)
        plan.run_step(0)
        plan.close()


@pytest.mark.parametrize("name", FIELDS)
@pytest.mark.parametrize("value", [-1, 0, 9, -(2**31), 2**31 - 1])
def test_a_step_with_an_absurd_number_is_refused_or_harmless(kernels, steps, name, value):
    for step in steps:
        if name.endswith("_bytes") or name == "constants":
            value = min(value, getattr(step, name))
        run_where_accepted(kernels, with_field(step, name, value))


@pytest.mark.parametrize(("name", "axis"), WALKS)
@pytest.mark.parametrize("value", [-1, 0, 3, 2**31, 2**62, -(2**63)])
def test_a_walk_that_leaves_its_memory_is_refused(kernels, steps, name, axis, value):
    for step in steps:
        changed = Step.from_buffer_copy(step)
        getattr(changed, name)[axis] = value
        run_where_accepted(kernels, changed)


@pytest.mark.parametrize(
    ("place", "value"), [(0, 1), (0, -1), (1, 99), (1, -1), (2, 99), (3, 5), (3, -1), (4, 2**31 - 1)]
)
def test_blocks_that_lie_outside_of_a_matrix_are_refused(kernels, steps, place, value):
    """Of two panels: three starts, and then the places of the blocks."""
    step = next(s for s in steps if s.format == FORMATS.index("sparse-32x4"))
    blocks = np.ctypeslib.as_array(ctypes.cast(step.x2, ctypes.POINTER(ctypes.c_int32)), (step.x2_bytes // 4,)).copy()
    blocks[place] = value
    assert kernels.check(with_field(step, "x2", blocks.ctypes.data)) == "weight"


@pytest.mark.parametrize(
    ("place", "value"), [(0, 3), (0, -1), (1, 1), (2, -1), (3, 10_000), (3, -1), (4, 9), (4, -1), (5, 9), (5, -1)]
)
def test_parts_that_lie_outside_of_a_matrix_are_refused(kernels, place, value):
    """Of one panel and one block: the mode, two starts, and the line and quad of each block."""
    weight = np.full((32, 1, 1, 8), 9, np.int8)
    weight[0, 0, 0, :2] = 127
    operation = ir.Convolution(
        "c", (), "x", "y", weight, np.zeros(32, np.int32),
        ir.Rescale(np.full(32, 2**30, np.int32), np.full(32, 40, np.int32), 3), 7,
    )  # fmt: skip
    program = of_one(operation, {"x": (1, 3, 1, 8), "y": (1, 3, 1, 32)})
    values = memory.place(program)
    made = Steps(program, values, Arithmetic(is_signed=True, sums_parts=True))
    (step,) = made.steps
    table = np.ctypeslib.as_array(ctypes.cast(step.x2, ctypes.POINTER(ctypes.c_int32)), (step.x2_bytes // 4,)).copy()
    assert len(table) >= 5
    table[place % len(table)] = value
    assert kernels.check(with_field(step, "x2", table.ctypes.data)) == "weight"


def test_kernels_that_do_not_sum_parts_refuse_them(kernels, steps):
    step = next(s for s in steps if s.format == DIVIDED)
    with pytest.raises(EnvironmentUnfitError, match="could not get"):
        Plan(kernels, [step], "scalar", 1)


def test_a_window_that_reaches_over_more_than_memory_holds_is_refused(kernels, steps):
    step = next(s for s in steps if KINDS[s.kind] == "depthwise")
    assert kernels.check(with_field(step, "dilation_w", 2**28)) == "reach"
    assert kernels.check(with_field(step, "dilation_h", 2**31 - 1)) == "reach"


def test_a_plan_with_a_bad_step_is_not_opened(kernels, steps):
    with pytest.raises(InputError, match=r"operator 'conv1' is beyond the limits .*: its size does not fit"):
        Plan(kernels, [with_field(steps[0], "x_bytes", 1)], "scalar", 1, ["conv1"])


def test_an_operator_beyond_the_limits_of_the_kernels_is_named(kernels):
    far = 2**28
    b = Quantized("far")
    x, weight = b.q(b.input((1, 64, 1, 2))), b.w((64, 1, 1, 2))
    y = b.node(
        "Conv", [x, weight], (1, 64, 1, 2), kernel_shape=(1, 2), group=64, dilations=(1, far), pads=(0, 0, 0, far),
    )  # fmt: skip
    graph = b.build(b.q(y))
    program = lowering.lower(graph, load_weights(graph))
    with pytest.raises(InputError, match=r"operator 'Conv_\d+' is beyond the limits .*: its window does not fit"):
        Engine(program, onnx_io.random_inputs(graph), kernels, "scalar", 1)


def test_without_libraries_the_error_says_what_to_install(tmp_path):
    with pytest.raises(EnvironmentUnfitError, match="install a C\\+\\+ compiler"):
        Library(tmp_path)


def test_the_plain_kernels_run_everywhere(kernels):
    assert kernels.available()[-1] == "scalar"
    assert not kernels.runs("no-such")


def test_the_peak_counts_its_multiply_adds(kernels, instruction_set):
    assert kernels.multiply(instruction_set, 10) == 10 * kernels.multiply(instruction_set, 1) > 0
