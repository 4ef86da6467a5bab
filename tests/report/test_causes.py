import pytest

from hwprof.measurement import OperatorTime
from hwprof.report import causes
from hwprof.report.explanation import Explanation, Finding, Kind
from hwprof.report.operators import corresponding


def kernel(name: str, op: str, ns: float) -> OperatorTime:
    return OperatorTime(name, op, ns, (name,))


def explained(*ns: float) -> Explanation:
    """Two convolutions and a Softmax."""
    kinds = (Kind.SLOWER, Kind.SLOWER, Kind.FLOAT)
    ops = ("Conv", "QLinearConv", "Softmax")
    found = zip(kinds, ops, ns, strict=True)
    findings = (Finding(kind, f"{op}_{i}", op, "", n, n / 100) for i, (kind, op, n) in enumerate(found))
    return Explanation("a", "b", tuple(findings))


@pytest.mark.parametrize(
    ("kernel_op", "op"),
    [("QLinearConv", "Conv"), ("NhwcMaxPool", "MaxPool"), ("NhwcFusedConv", "Conv"), ("FusedConv", "Conv"),
     ("QGemm", "Gemm"), ("MatMulIntegerToFloat", "MatMul"), ("ConvInteger", "Conv"), ("QLinearAdd", "Add"),
     ("DynamicQuantizeMatMul", "MatMul"), ("QuantizeLinear", "QuantizeLinear"), ("Conv", "Conv"),
     ("DynamicQuantizeLinear", "DynamicQuantizeLinear"), ("QAttention", "Attention"), ("LSTM", "LSTM")],
)  # fmt: skip
def test_a_kernel_corresponds_to_the_operator_whose_work_it_does(kernel_op: str, op: str):
    assert corresponding(kernel_op) == op


def test_findings_are_grouped_and_totalled_with_the_range_of_the_passes():
    slower, left = causes.group(explained(30, 10, 25), [explained(20, 10, 24), explained(35, 15, 26)])
    assert (slower.kind, slower.op, slower.count, slower.ns, slower.share) == (Kind.SLOWER, "Conv", 2, 40, 0.4)
    assert (slower.low_ns, slower.high_ns) == (30, 50)
    assert (left.op, left.low_ns, left.high_ns) == ("Softmax", 24, 26)
    assert all(c.action for c in (slower, left))


def test_a_single_pass_has_no_interval():
    assert {causes.interval_words(c) for c in causes.group(explained(30, 10, 25))} == {""}


def test_a_float_kernel_and_its_counterpart_are_one_row():
    rows = causes.kinds(
        [kernel("c", "Conv", 2e6), kernel("p", "MaxPool", 1e6)],
        [kernel("c", "QLinearConv", 5e6), kernel("p", "NhwcMaxPool", 0.5e6)],
    )
    assert [(r["op"], r["difference, ms"]) for r in rows] == [("Conv", "+3"), ("MaxPool", "-0.5")]


def test_the_middle_of_the_passes_is_each_kernel_s_median():
    passes = [[kernel("c", "Conv", ns)] for ns in (1.0, 9.0, 2.0)]
    assert [k.ns for k in causes.middle(passes)] == [2.0]


def test_the_estimate_is_the_median_of_the_passes_and_inside_of_their_interval():
    """The second convolution is faster than float in two passes."""
    passes = [explained(ns, other, 25) for ns, other in ((31, 10), (40, -2), (50, -1))]
    slower, _ = causes.group(explained(30, 1, 25), passes)
    assert (slower.low_ns, slower.ns, slower.high_ns) == (38, 41, 49)
    assert slower.share == pytest.approx(0.41)


def test_an_operator_that_was_not_found_adds_nothing_to_the_interval():
    once = Explanation("a", "b", explained(30, 10, 25).findings[:1])
    (slower,) = causes.group(once, [explained(20, 500, 24), explained(40, 700, 26)])
    assert (slower.low_ns, slower.ns, slower.high_ns) == (20, 30, 40)


def test_one_sentence_adds_up_to_the_difference_of_both_networks():
    before = [
        OperatorTime("a", "Conv", 5e6, ("a", "relu")), OperatorTime("b", "Conv", 1e6, ("i", "b")),
        OperatorTime("c", "Conv", 2e6, ("i", "c")),
    ]  # fmt: skip
    after = [
        OperatorTime("a", "QLinearConv", 1e6, ("a",)), OperatorTime("relu", "QLinearMul", 1e6, ("relu",)),
        OperatorTime("b", "QLinearConv", 3e6, ("i", "b")), OperatorTime("c", "QLinearConv", 2.5e6, ("i", "c")),
        OperatorTime("q", "QuantizeLinear", 0.25e6, ("q",)), OperatorTime("gate", "HardSigmoid", 0.5e6, ("gate",)),
    ]  # fmt: skip
    assert causes.balance(before, after) == (
        "+0.25 ms in all: 1 layer faster (-3 ms), 2 slower (+2.5 ms), conversions +0.25 ms, kernels that only one of "
        "them has +0.5 ms"
    )
