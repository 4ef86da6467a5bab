from dataclasses import replace

import pytest

from hwprof.builder import GraphBuilder
from hwprof.graph import Graph
from hwprof.measurement import Comparison, Evidence, OperatorTime
from hwprof.report import causes
from hwprof.report.causes import Cause
from hwprof.report.explanation import Explanation, Finding, Kind
from hwprof.report.layers import Pair
from hwprof.report.markdown import comparison_markdown
from hwprof.report.operators import corresponding
from hwprof.report.page import render_comparison
from hwprof.variants.quantize import quantize


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


# -- of a comparison -----------------------------------------------------------------------------------


@pytest.fixture
def pair() -> tuple[Graph, Graph]:
    """A network and its quantized form, whose graphs do not matter: the kernels do."""
    b = GraphBuilder("a")
    graph = b.build(b.conv(b.input((1, 3, 8, 8)), 4, 3))
    return graph, quantize(graph)


def compared(pair: tuple[Graph, Graph], passes: list[Pair], measurement, ratio: float = 1.0) -> Comparison:
    """`a` takes 8 ms; its kernels take 8.25 ms in each pass, those of `b` as the passes say."""
    sides = []
    for graph, side in zip(pair, (0, 1), strict=True):
        m = measurement(8.0, model=graph.name, digest=graph.digest, operators=tuple(passes[0][side]))
        sides.append(replace(m, operator_passes=tuple(tuple(one[side]) for one in passes)))
    return Comparison(*sides, "slower", ratio, 0.99 * ratio, 1.01 * ratio, 40, 0.02)


def by_digest(pair: tuple[Graph, Graph]) -> dict[str, Graph]:
    return {graph.digest: graph for graph in pair}


def test_causes_of_a_comparison_add_up_to_the_paired_difference(pair, measurement):
    """The passes say that `b` takes 1.06 times as long, the pairs that it takes 1.02 times."""
    c = compared(pair, PASSES, measurement, ratio=1.02)
    *single, whole = causes.of_comparison(c, by_digest(pair)).causes
    before_ns = 1e6 * c.a.normalized.median
    assert whole.kind is Kind.TOTAL
    assert (whole.ns, whole.low_ns) == pytest.approx((0.02 * before_ns, (0.99 * 1.02 - 1) * before_ns))
    assert sum(cause.ns for cause in single) == pytest.approx(whole.ns)


def test_causes_of_a_comparison_have_the_range_of_its_passes(pair, measurement):
    found = {c.kind: c for c in causes.of_comparison(compared(pair, PASSES, measurement), by_digest(pair)).causes}
    slower = found[Kind.SLOWER]
    assert 0 < slower.low_ns < slower.ns < slower.high_ns
    assert not found[Kind.REST].is_certain


def test_time_outside_of_kernels_is_a_cause_of_its_own(pair, measurement):
    """The pairs say that `b` takes 1.5 times as long, its kernels took less."""
    found = causes.of_comparison(compared(pair, PASSES, measurement, ratio=1.5), by_digest(pair)).causes
    outside = next(cause for cause in found if cause.kind is Kind.OUTSIDE)
    assert outside.ns > 2e6
    assert sum(cause.ns for cause in found[:-1]) == pytest.approx(found[-1].ns)


def slowed(passes: list[Pair], factor: float) -> list[Pair]:
    return [tuple([replace(k, ns=factor * k.ns) for k in side] for side in one) for one in passes]


@pytest.mark.parametrize("render", [render_comparison, comparison_markdown])
@pytest.mark.parametrize(
    ("passes", "reason"),
    [(slowed(PASSES, 1.5), "took 1.5 times as long as its plain runs"), ([], "a single profiled pass of each network")],
)
def test_causes_that_cannot_be_trusted_are_left_out_with_the_reason(render, passes, reason, pair, measurement):
    c = compared(pair, passes or PASSES, measurement)
    if not passes:
        c = replace(c, a=replace(c.a, operator_passes=()), b=replace(c.b, operator_passes=()))
    page = render(c, by_digest(pair), None, "hwprof compare")
    assert "Where the quantized network loses and gains time" not in page
    assert reason in page


@pytest.mark.parametrize("render", [render_comparison, comparison_markdown])
def test_the_page_shows_the_causes_with_their_intervals(render, pair, measurement):
    page = render(compared(pair, PASSES, measurement), by_digest(pair), None, "hwprof compare")
    assert "Where the quantized network loses and gains time" in page
    assert " ms to +" in page


def test_one_pass_of_a_formula_is_enough(pair, measurement):
    c = compared(pair, PASSES[1:2], measurement)
    sides = (replace(m, operator_passes=(), evidence=Evidence.ANALYTIC) for m in (c.a, c.b))
    found = causes.of_comparison(Comparison(*sides, "same", 1.0, 1.0, 1.0, 40, 0.02), by_digest(pair)).causes
    assert found[-1].kind is Kind.TOTAL
    assert {causes.interval_words(cause) for cause in found} == {""}


def test_two_float_networks_have_no_causes(pair, measurement):
    c = compared((pair[0], pair[0]), PASSES, measurement)
    assert causes.of_comparison(c, by_digest(pair)) == causes.Split()
