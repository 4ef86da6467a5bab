import pytest

from hwprof.measurement import OperatorTime
from hwprof.report import causes
from hwprof.report.causes import Cause
from hwprof.report.explanation import Explanation, Finding, Kind
from hwprof.report.layers import Pair
from hwprof.report.operators import corresponding


def kernel(name: str, op: str, ns: float) -> OperatorTime:
    return OperatorTime(name, op, ns, (name,))


def one_pass(factor: float = 1.0, jitter: float = 0.0) -> Pair:
    """A convolution that loses 2 ms, one that gains 3, a Softmax left in float that loses 1, an addition that loses
    the jitter, a conversion and a change of layout."""
    before = [
        kernel("slow", "FusedConv", 1e6), kernel("fast", "FusedConv", 5e6), kernel("s", "Softmax", 1e6),
        kernel("add", "Add", 1e6), kernel("clip", "Clip", 0.25e6),
    ]  # fmt: skip
    after = [
        kernel("slow", "QLinearConv", (1 + 2 * factor) * 1e6), kernel("fast", "QLinearConv", (5 - 3 * factor) * 1e6),
        kernel("s", "Softmax", 2e6), kernel("add", "QLinearAdd", (1 + jitter) * 1e6),
        kernel("s", "QuantizeLinear", 0.5e6), kernel("t", "Transpose", 0.125e6),
    ]  # fmt: skip
    return before, after


PASSES = [one_pass(0.75, -0.5), one_pass(1.0, 0.25), one_pass(1.5, 0.125)]


def explained(*passes: Pair) -> Explanation:
    before, after = (causes.middle([one[side] for one in passes]) for side in (0, 1))
    findings = (Finding(Kind.FLOAT, "s", "Softmax", "", 1e6, 0.1),)
    times = (sum(k.ns for k in side) for side in (before, after))
    return Explanation("a", "b", findings, *times, kernels=(before, after))


def figures(found: tuple[Cause, ...]) -> list[tuple[str, str, float]]:
    return [(c.kind, c.op, (c.ns or 0) / 1e6) for c in found]


@pytest.mark.parametrize(
    ("kernel_op", "op"),
    [("QLinearConv", "Conv"), ("NhwcMaxPool", "MaxPool"), ("NhwcFusedConv", "Conv"), ("FusedConv", "Conv"),
     ("QGemm", "Gemm"), ("MatMulIntegerToFloat", "MatMul"), ("ConvInteger", "Conv"), ("QLinearAdd", "Add"),
     ("DynamicQuantizeMatMul", "MatMul"), ("QuantizeLinear", "QuantizeLinear"), ("Conv", "Conv"),
     ("DynamicQuantizeLinear", "DynamicQuantizeLinear"), ("QAttention", "Attention"), ("LSTM", "LSTM")],
)  # fmt: skip
def test_a_kernel_corresponds_to_the_operator_whose_work_it_does(kernel_op: str, op: str):
    assert corresponding(kernel_op) == op


def test_losses_come_first_then_gains_then_those_that_are_not_certain():
    assert figures(causes.group(explained(*PASSES), PASSES)) == [
        (Kind.SLOWER, "Conv", 2.0),
        (Kind.FLOAT, "Softmax", 1.0),
        (Kind.UNFUSED, "QuantizeLinear", 0.5),
        (Kind.ADDED, "Transpose", 0.125),
        (Kind.FASTER, "Conv", -3.0),
        (Kind.REMOVED, "Clip", -0.25),
        (Kind.SAME, "Add", 0.125),
    ]


def test_an_interval_is_the_range_of_the_passes_and_not_certain_where_it_contains_0():
    found = {c.kind: c for c in causes.group(explained(*PASSES), PASSES)}
    assert (found[Kind.SLOWER].low_ns, found[Kind.SLOWER].high_ns) == (1.5e6, 3e6)
    assert (found[Kind.SAME].low_ns, found[Kind.SAME].high_ns) == (-0.5e6, 0.25e6)
    assert [c["certain"] for c in causes.rows((found[Kind.SLOWER], found[Kind.SAME]))] == ["yes", "no"]
    assert found[Kind.SAME].action == ""


def test_causes_add_up_to_the_difference_of_both_networks():
    found = explained(*PASSES)
    whole = causes.total(found, PASSES)
    assert whole is not None
    assert whole.ns == sum(c.ns or 0 for c in causes.group(found, PASSES)) == 0.5e6
    assert whole.share == pytest.approx(sum(c.share or 0 for c in causes.group(found, PASSES)))


def test_one_disturbed_pass_moves_no_cause():
    passes = [*PASSES, one_pass(96.57, 50.0)]
    found = {(c.kind, c.op): c for c in causes.group(explained(*passes), passes)}
    assert found[Kind.SLOWER, "Conv"].ns == 2.5e6
    assert not found[Kind.SAME, "Add"].is_certain


def test_layers_that_are_uncertain_each_are_certain_together():
    """Of two additions, each is faster in one pass, their sum is slower in both."""

    def one(a: float, b: float) -> Pair:
        return [kernel("x", "Add", 2.0), kernel("y", "Add", 2.0)], [kernel("x", "Add", a), kernel("y", "Add", b)]

    passes = [one(1, 5), one(5, 1)]
    (found,) = causes.group(explained(*passes), passes)
    assert (found.kind, found.count, found.ns, found.low_ns) == (Kind.SLOWER, 2, 2.0, 2.0)


def test_small_causes_are_one_row_at_the_end():
    before = [kernel("a", "Conv", 1e6), kernel("b", "Clip", 1e3), kernel("c", "Erf", 2e3)]
    after = [kernel("a", "QLinearConv", 2e6), kernel("t", "Transpose", 4e3)]
    found = causes.group(explained((before, after)))
    assert [(c.kind, c.count, c.ns) for c in found] == [(Kind.SLOWER, 1, 1e6), (Kind.REST, 3, 1e3)]


def test_advice_fits_the_kind_of_operator():
    advice = {
        op: Cause(Kind.SLOWER, op, 1, 1.0, None, None, None).action for op in ("Conv", "Mul", "Softmax", "Reshape")
    }
    assert [op for op, words in advice.items() if "more channels" in words] == ["Conv"]
    assert len(set(advice.values())) == 3


def test_a_gain_needs_no_advice():
    assert Cause(Kind.FLOAT, "Conv", 1, -1.0, None, None, None).action == ""


def test_a_single_pass_has_no_interval():
    assert {causes.interval_words(c) for c in causes.group(explained(one_pass()))} == {""}


def test_causes_without_times_are_counted():
    findings = tuple(Finding(Kind.FLOAT, name, "Softmax", "") for name in ("s", "t"))
    (found,) = causes.group(Explanation("a", "b", findings))
    assert (found.kind, found.count, found.ns) == (Kind.FLOAT, 2, None)
    assert found.action


@pytest.mark.parametrize(
    ("passes", "word"),
    [([one_pass(0.1), one_pass(0.2)], "slower than"), ([one_pass(5), one_pass(6)], "faster than"),
     ([one_pass(0.1), one_pass(6)], "neither faster nor slower than")],
)  # fmt: skip
def test_the_verdict_says_which_one_is_faster_where_the_passes_agree(passes: list[Pair], word: str):
    found = explained(*passes)
    assert causes.verdict(found, causes.total(found, passes)).startswith(f"b is {word} a: ")


def test_without_times_there_is_no_verdict():
    assert "does not time kernels" in causes.verdict(Explanation("a", "b", ()), None)


def test_a_float_kernel_and_its_counterpart_are_one_row():
    rows = causes.kinds(
        [kernel("c", "Conv", 2e6), kernel("p", "MaxPool", 1e6)],
        [kernel("c", "QLinearConv", 5e6), kernel("p", "NhwcMaxPool", 0.5e6)],
    )
    assert [(r["op"], r["difference, ms"]) for r in rows] == [("Conv", "+3"), ("MaxPool", "-0.5")]


def test_the_middle_of_the_passes_is_each_kernel_s_median():
    passes = [[kernel("c", "Conv", ns)] for ns in (1.0, 9.0, 2.0)]
    assert [k.ns for k in causes.middle(passes)] == [2.0]
