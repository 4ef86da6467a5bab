import subprocess
import sys

import numpy as np
import pytest

from hwprof.builder import GraphBuilder
from hwprof.errors import InputError
from hwprof.latency_table import Correction, LatencyTable, Metadata, NumericAttribute, Row, bits, operators
from hwprof.variants.quantize import quantize
from tests.latency_table.tables import METADATA, choices, staircase


def test_a_row_is_found_by_its_whole_key():
    assert staircase().lookup("Conv", kernel=3, cin=8, cout=16) == 6.0


def test_an_attribute_with_a_single_value_may_be_left_out():
    table = LatencyTable(METADATA, (Row.of("Conv", {"kernel": 3, "stride": 1}, 2.0),))
    assert table.lookup("Conv", kernel=3) == 2.0


def test_a_key_that_fits_two_rows_asks_for_what_tells_them_apart():
    with pytest.raises(InputError, match=r"^Conv\(cin=4, cout=8\) fits 2 rows; also give: kernel$"):
        staircase().lookup("Conv", cin=4, cout=8)


def test_what_all_rows_share_and_the_open_axis_are_not_asked_for():
    rows = tuple(Row.of("Conv", {"cout": 8, "kernel": k, "stride": 1}, 2.0) for k in (3, 5))
    with pytest.raises(InputError, match=r"^Conv\(\) fits 2 rows; also give: kernel$"):
        LatencyTable(METADATA, rows, (NumericAttribute("cout"),)).steps("cout", "Conv")


def test_known_numbers_are_listed_in_the_order_of_numbers():
    table = LatencyTable(METADATA, tuple(Row.of("Conv", {"h": h}, 2.0) for h in (128, 16, 8)))
    with pytest.raises(InputError, match=r"h: known: 8, 16, 128$"):
        table.lookup("Conv", h=17)


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ({"op": "Pool"}, "no operator 'Pool'; known: Conv"),
        ({"op": "Conv", "kernel": 7, "cin": 4, "cout": 8}, "kernel: known: 3, 5"),
        ({"op": "Conv", "kernel": 3, "cin": 4, "cout": 12}, "holds no Conv"),
        ({"op": "Conv", "kernel": 3, "cin": 4, "cout": 8, "dilation": 2}, "holds no Conv"),
    ],
)
def test_a_missing_key_is_an_error_and_never_zero(key, message):
    with pytest.raises(InputError, match=message):
        staircase().lookup(**key)


@pytest.mark.parametrize(
    ("cout", "ms"), [(1, 1.0), (8, 1.0), (8.5, 3.0), (16, 3.0), (16.0000001, 3.0), (17, 4.0), (24, 4.0)]
)
def test_a_call_takes_the_step_that_covers_the_value(cout, ms):
    assert staircase()(op="Conv", kernel=3, cin=4, cout=cout) == ms


@pytest.mark.parametrize("cout", [0, -8, 25, float("nan"), float("inf")])
def test_a_value_out_of_range_is_an_error_and_never_extrapolated(cout):
    with pytest.raises(InputError, match="cout"):
        staircase()(op="Conv", kernel=3, cin=4, cout=cout)


def test_a_multiple_of_the_granule_that_was_not_measured_is_missing():
    rows = (Row.of("Conv", {"cout": 8}, 1.0), Row.of("Conv", {"cout": 32}, 2.0))
    table = LatencyTable(METADATA, rows, (NumericAttribute("cout", 8),))
    with pytest.raises(InputError, match="rounds to 16, which was not measured"):
        table(op="Conv", cout=9)


def test_without_a_granule_the_measured_values_are_the_grid():
    rows = (Row.of("Conv", {"cout": 8}, 1.0), Row.of("Conv", {"cout": 32}, 2.0))
    table = LatencyTable(METADATA, rows, (NumericAttribute("cout"),))
    assert table(op="Conv", cout=9) == 2.0
    with pytest.raises(InputError, match="out of the table's range, 8 to 32"):
        table(op="Conv", cout=7)


def test_sparsity_rounds_down_because_less_of_it_is_slower():
    rows = tuple(Row.of("Conv", {"sparsity": s}, ms) for s, ms in ((0.0, 4.0), (0.5, 3.0), (0.9, 1.0)))
    table = LatencyTable(METADATA, rows, (NumericAttribute("sparsity", rounds="down"),))
    assert [table(op="Conv", sparsity=s) for s in (0.0, 0.49, 0.5, 0.89, 0.9)] == [4.0, 4.0, 3.0, 3.0, 1.0]


def test_an_array_of_values_gives_an_array_of_latencies():
    ms = staircase()(op="Conv", kernel=3, cin=np.array([[4], [8]]), cout=np.array([3, 9, 24]))
    np.testing.assert_array_equal(ms, [[1.0, 3.0, 4.0], [2.0, 6.0, 8.0]])


def test_steps_are_the_grid_points_along_one_attribute():
    points, ms = staircase().steps("cout", "Conv", kernel=3, cin=8)
    assert points.tolist() == [8.0, 16.0, 24.0]
    assert ms.tolist() == [2.0, 6.0, 8.0]


def test_steps_along_an_exact_attribute_are_refused():
    with pytest.raises(InputError, match="is not a numeric attribute of the table; those are: cin, cout"):
        staircase().steps("kernel", "Conv", cin=4)


def test_expected_latency_is_the_mean_weighted_by_probability():
    keys = [{"op": "choice", "position": 0, "choice": c} for c in range(3)]
    table = choices([[1.0, 2.0, 4.0]])
    assert table.expected([0.5, 0.25, 0.25], keys) == pytest.approx(2.0)
    for c in range(3):
        assert table.expected(np.eye(3)[c], keys) == table.lookup(**keys[c])


def test_expected_refuses_probabilities_of_another_length():
    with pytest.raises(InputError, match="do not fit 1 keys"):
        choices([[1.0]]).expected([0.5, 0.5], [{"op": "choice", "position": 0, "choice": 0}])


@pytest.mark.parametrize("ms", [0.0, -1.0, float("nan"), float("inf")])
def test_a_latency_that_is_not_positive_is_refused_with_its_key(ms):
    with pytest.raises(InputError, match=r"Conv\(kernel=3\)"):
        LatencyTable(METADATA, (Row.of("Conv", {"kernel": 3}, ms),))


def test_two_rows_of_one_key_are_refused():
    with pytest.raises(InputError, match=r"rows must differ in their keys; these do not: Conv\(kernel=3\)"):
        LatencyTable(METADATA, (Row.of("Conv", {"kernel": 3}, 1.0), Row.of("Conv", {"kernel": 3}, 2.0)))


def test_an_empty_table_is_refused():
    with pytest.raises(InputError, match="at least one row"):
        LatencyTable(METADATA, ())


def test_a_table_needs_its_device():
    with pytest.raises(InputError, match="needs its device"):
        Metadata(device=" ", runtime="tflite", threads=1, batch=1, dtype="float32")


def test_a_network_of_choices_is_their_sum():
    table = choices([[1.0, 2.0], [10.0, 20.0]])
    np.testing.assert_array_equal(table([(0, 0), (1, 0), (1, 1)]), [11.0, 12.0, 22.0])


def test_the_latency_of_a_network_is_corrected():
    table = choices([[1.0, 2.0]]).with_correction(Correction(a_ms=0.5, b=2.0))
    assert table([(1,)]).tolist() == [4.5]


def test_a_graph_is_the_sum_of_its_operators():
    b = GraphBuilder("net")
    x = b.input((1, 3, 8, 8))
    graph = b.build(b.relu(b.relu(b.conv(x, 4, 3))))
    rows = {o.key: Row.of(o.op, o.attributes, 2.0 if o.op == "Conv" else 0.25) for o in operators.of(graph)}
    table = LatencyTable(METADATA, tuple(rows.values()))
    assert len(rows) == 2  # both activations are the same operator
    assert table([graph]).tolist() == [2.5]


def test_a_table_from_before_rows_had_bit_widths_knows_float_networks_and_no_others():
    b = GraphBuilder("net")
    graph = b.build(b.conv(b.input((1, 3, 8, 8)), 4, 3))
    (found,) = operators.of(graph)
    before = {name: value for name, value in found.attributes.items() if not name.endswith("_bits")}
    table = LatencyTable(METADATA, (Row.of("Conv", before, 2.0), Row.of("QuantizeLinear", {}, 1.0)))
    assert table([graph]).tolist() == [2.0]
    with pytest.raises(InputError, match="holds no"):
        table([quantize(graph)])


def test_bits_are_a_staircase():
    b = GraphBuilder("net")
    graph = b.build(b.conv(b.input((1, 3, 8, 8)), 4, 3))
    found = [o for g in (graph, quantize(graph)) for o in operators.of(g) if o.op == "Conv"]
    rows = tuple(Row.of(o.op, o.attributes, ms) for o, ms in zip(found, (4.0, 1.0), strict=True))
    table = LatencyTable(METADATA, rows, bits.NUMERIC)
    assert table(op="Conv", cin=3, w_bits=8, a_bits=8) == 1.0
    assert table(op="Conv", cin=3, w_bits=9, a_bits=9) == 4.0
    with pytest.raises(InputError, match="w_bits=4 is out of the table's range, 8 to 32"):
        table(op="Conv", cin=3, w_bits=4, a_bits=8)
    assert table([graph]).tolist() == [4.0]


def test_a_graph_with_an_operator_that_is_not_in_the_table_is_refused():
    b = GraphBuilder("net")
    graph = b.build(b.relu(b.input((1, 3, 8, 8))))
    with pytest.raises(InputError, match="no operator 'Relu'"):
        staircase()([graph])


def test_quantiles_need_a_correction():
    with pytest.raises(InputError, match="no residual quantiles"):
        choices([[1.0]]).network_quantile_ms([(0,)], 0.95)


def test_a_table_loads_and_answers_without_torch(tmp_path):
    staircase().save(tmp_path / "lut.json")
    code = (
        "import sys; from hwprof.latency_table import LatencyTable; "
        f"print(LatencyTable.load({str(tmp_path / 'lut.json')!r})(op='Conv', kernel=3, cin=4, cout=9)); "
        "sys.exit('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "3.0\n")


def test_an_architecture_of_another_length_is_refused():
    with pytest.raises(InputError, match="holds choices at 2 positions; 1 were given"):
        choices([[1.0, 2.0], [1.0, 2.0]])([(0,)])
