from dataclasses import replace

from hwprof.measure.caveats import caveats
from hwprof.measurement import FAST, Process, Status
from hwprof.measurement.samples import CpuTime
from tests.samples import counted_measurement, counted_process, counts, make_measurement, make_process


def disturbed(process: Process, n: int) -> Process:
    blocks = tuple(replace(b, rejected="steal" if i < n else "") for i, b in enumerate(process.blocks))
    return replace(process, blocks=blocks)


def test_a_quiet_measurement_needs_no_caveat():
    assert list(caveats(make_measurement([make_process(r, [1e6] * 3) for r in range(3)]))) == []


def test_the_warnings_of_the_processes_come_once():
    processes = [make_process(r, [1e6] * 3, warnings=("nobody tuned it",)) for r in range(3)]
    assert list(caveats(make_measurement(processes))) == ["nobody tuned it"]


def test_many_disturbed_blocks_are_told_with_their_cause():
    m = make_measurement([disturbed(make_process(0, [1e6] * 4), 2)])
    assert list(caveats(m)) == ["50% of the blocks were disturbed (steal)"]


def test_a_machine_that_was_slower_than_undisturbed_is_told():
    process = make_process(0, [1e6] * 3)
    blocks = tuple(replace(b, anchors_ns={"compute": 120.0}) for b in process.blocks)
    m = make_measurement([replace(process, blocks=blocks)], anchor_baseline_ns={"compute": 100.0})
    assert list(caveats(m)) == [
        "in 1 of 1 processes the machine ran up to 20% slower than undisturbed (see the normalized latency)"
    ]


def test_a_missed_target_says_how_far_and_what_to_do():
    few = [make_process(r, [ns] * 3) for r, ns in enumerate((1e6, 1.4e6))]
    (told,) = caveats(make_measurement(few, status=Status.BUDGET))
    assert told.startswith("the interval is -")
    assert told.endswith("after 2 processes, not +-1.0%: raise --budget")
    many = replace(FAST, max_processes=2)
    (told,) = caveats(make_measurement(few, status=Status.BUDGET, protocol=many))
    assert told.endswith("the machine varies too much")


def test_a_narrow_interval_that_is_not_yet_trusted_says_why():
    few = [make_process(r, [ns] * 3) for r, ns in enumerate((1e6, 1.001e6))]
    (told,) = caveats(make_measurement(few, status=Status.BUDGET))
    assert "but not twice in a row within +-1.0%" in told


def test_a_latency_that_the_load_limits_is_told_with_its_precision():
    few = [make_process(r, [ns] * 3) for r, ns in enumerate((1e6, 1.02e6, 1.01e6))]
    (told,) = caveats(make_measurement(few, status=Status.LIMITED))
    assert told.startswith("known to +-")
    assert "not +-1.0%: more processes do not help" in told


def test_nothing_is_told_of_anchors_that_do_not_correct():
    process = make_process(0, [1e6] * 3, cores=2, cpu_time=CpuTime.SPINNING)
    blocks = tuple(replace(b, anchors_ns={"compute": 120.0}) for b in process.blocks)
    m = make_measurement([replace(process, blocks=blocks)], anchor_baseline_ns={"compute": 100.0})
    assert list(caveats(m)) == []


def test_counts_that_do_not_agree_are_told():
    m = counted_measurement(counted_process(0, counts(10)), status=Status.BUDGET)
    assert list(caveats(m)) == ["counted in 1 processes; two must agree within 0.1%"]
