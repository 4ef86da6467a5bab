"""What the kernels refuse, and what they are made of."""

from __future__ import annotations

import re
import shutil
import subprocess

import pytest

from hwprof.backends.integer import library, lowering, memory
from hwprof.backends.integer.compile import FOLDER, KERNELS
from hwprof.backends.integer.engine import Steps
from hwprof.backends.integer.library import Library, Plan, Step
from hwprof.errors import EnvironmentUnfitError
from hwprof.variants.weights import load_weights
from tests.backends.integer.programs import sequence_network, small_network

# Arithmetic, comparisons and conversions; moves and bit operations on vector registers serve integers, too.
_X86_FLOAT = re.compile(
    r"\tv?(add|sub|mul|div|sqrt|min|max|rcp|rsqrt|fn?m(add|sub)\w*|hadd|hsub|dp|round|u?comi|cmp\w*|cvt\w*)"
    r"\w*(ps|pd|ss|sd|ph|sh)\b|\tf(ld|st|add|sub|mul|div|il|ist)\w*\s"
)
_ARM_FLOAT = re.compile(r"\tf(add|sub|mul|div|madd|msub|mla|mls|cvt\w*|cmp|sqrt|max|min)\w*\s|\t[su]cvtf\s")


@pytest.fixture(params=[small_network, sequence_network])
def steps(request):
    graph = request.param()
    program = lowering.lower(graph, load_weights(graph))
    made = Steps(program, memory.place(program), is_signed=False)
    yield made.steps
    del made  # the steps name its memory


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


@pytest.mark.parametrize("name", ["x_bytes", "x2_bytes", "y_bytes", "weight_bytes", "constants"])
def test_a_step_that_would_leave_its_memory_is_refused(kernels, steps, name):
    checked = 0
    for step in steps:
        if getattr(step, name):
            checked += 1
            assert kernels.check(with_field(step, name, getattr(step, name) - 1)), step.kind
    assert checked


FIELDS = [name for name, kind in Step._fields_ if name not in library._POINTERS and not hasattr(kind, "_length_")]


@pytest.mark.parametrize("name", FIELDS)
@pytest.mark.parametrize("value", [-1, -(2**31), 2**31 - 1])
def test_a_step_with_an_absurd_number_is_refused_or_harmless(kernels, steps, name, value):
    """It is run where it is accepted: under `make sanitize` a bad access ends the test."""
    for step in steps:
        changed = with_field(step, name, value)
        if kernels.check(changed):
            continue
        plan = Plan(kernels, [changed], "scalar", 1)
        plan.run_step(0)
        plan.close()


@pytest.mark.parametrize("name", ["extent", "from_", "to", "from_offset", "to_offset"])
@pytest.mark.parametrize("value", [-1, 2**40, -(2**63), 2**63 - 1])
def test_a_step_with_an_absurd_walk_is_refused_or_harmless(kernels, steps, name, value):
    for step in steps:
        for i in range(library.AXES if hasattr(getattr(step, name), "__len__") else 1):
            changed = Step.from_buffer_copy(step)
            if hasattr(getattr(step, name), "__len__"):
                getattr(changed, name)[i] = value
            else:
                setattr(changed, name, value)
            if kernels.check(changed):
                continue
            plan = Plan(kernels, [changed], "scalar", 1)
            plan.run_step(0)
            plan.close()


def test_a_plan_with_a_bad_step_is_not_opened(kernels, steps):
    with pytest.raises(ValueError, match="does not fit its memory"):
        Plan(kernels, [with_field(steps[0], "x_bytes", 1)], "scalar", 1)


def test_without_libraries_the_error_says_what_to_install(tmp_path):
    with pytest.raises(EnvironmentUnfitError, match="install a C\\+\\+ compiler"):
        Library(tmp_path)


def test_the_plain_kernels_run_everywhere(kernels):
    assert kernels.available()[-1] == "scalar"
    assert not kernels.runs("no-such")


def test_the_peak_counts_its_multiply_adds(kernels, instruction_set):
    assert kernels.multiply(instruction_set, 10) == 10 * kernels.multiply(instruction_set, 1) > 0
