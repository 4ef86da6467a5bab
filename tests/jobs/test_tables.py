from dataclasses import replace

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from hwprof.__main__ import run
from hwprof.builder import GraphBuilder
from hwprof.data.store import Store
from hwprof.device import Device
from hwprof.errors import InputError
from hwprof.jobs import Options, tables
from hwprof.latency_table import LatencyTable, Metadata, NumericAttribute
from hwprof.measurement import FAST
from hwprof.spaces.varied import VariedSpace
from hwprof.variants.quantize import quantize
from tests.latency_table.tables import Space, choices
from tests.measure.scripted import ScriptedTransport
from tests.tiny_space import SPACE

DEVICE = Device("roof", "roofline", kind="analytic").with_options(peak_macs_per_s=1e9, peak_bytes_per_s=1e9)


class Learned:
    """Predicts 1 ms, and 1 ms more for each thousand weights."""

    def fit(self, X, y):
        return self

    def predict(self, X):
        return np.array([1.0 + sum(np.prod(w.shape) for w in g.weights) / 1e3 for g in X])

    def predict_interval(self, X, coverage=0.9):
        return self.predict(X), self.predict(X)


class Additive(Learned):
    """1 ms, 0.1 ms more for each operator and 10 us for each channel of the first."""

    def predict(self, X):
        return np.array([1.0 + 0.1 * len(g.nodes) + 0.01 * g.weights[0].shape[0] for g in X])


@pytest.fixture
def bench():
    with Store() as store:
        yield tables.OnDevice(DEVICE, store, Options(FAST, with_operators=False))


@pytest.fixture
def learned():
    return tables.ByPredictor(Learned(), Metadata("roof", "roofline", 1, 1, "float32"))


def test_the_operators_of_an_analytic_device_add_up_to_its_networks(bench):
    graphs = [Space().graph(arch) for arch in ((0, 1), (2, 1), (1, 1), (2, 2))]
    built = tables.operator_table(tables.operators_of(graphs, {}), bench)
    assert built.unconverged == 0
    assert (built.table.metadata.device, built.table.metadata.runtime) == ("roof", "roofline")
    found = tables.check(built.table, graphs, bench)
    assert found.networks == 4
    assert found.raw_mape == pytest.approx(0.0, abs=0.1)
    assert built.table.metadata.hardware == found.table.metadata.hardware != ""


def test_predicted_operators_hold_what_the_predictor_says(learned):
    graph = Space().graph((0, 0))
    table = tables.operator_table(tables.operators_of([graph], {}), learned).table
    assert table.lookup("Conv", cin=3) == pytest.approx(1 + 4 * 3 * 9 / 1e3)
    assert table.lookup("Relu") == 1.0


def test_a_sweep_adds_the_grid_to_the_operators_that_there_are(learned):
    found = tables.operators_of([Space().graph((0, 0))], {"cout": (8, 16)})
    table = tables.operator_table(found, learned, [NumericAttribute("cout", 8)]).table
    assert table.steps("cout", "Conv", cin=3)[0].tolist() == [4, 8, 16]
    assert table(op="Conv", cin=3, cout=9) == table.lookup("Conv", cin=3, cout=16)


def test_the_bits_of_a_variant_s_operators_are_numeric(learned):
    graph = Space().graph((0, 0))
    found = [*tables.operators_of([graph], {}), *tables.operators_of([graph], {}, "int8")]
    table = tables.operator_table(found, learned).table
    points, _ = table.steps("w_bits", "Conv", cin=3, a_bits=8)
    assert points.tolist() == [8]
    assert table.lookup("Conv", cin=3, w_bits=32, a_bits=32) == pytest.approx(1 + 4 * 3 * 9 / 1e3)
    assert {"QuantizeLinear", "DequantizeLinear"} <= {row.op for row in table.rows}


def test_a_quantized_operator_is_swept_through_the_float_one(learned):
    graph = Space().graph((0, 0))
    found = tables.operators_of([graph], {"cout": (8, 16)}, "int8")
    table = tables.operator_table(found, learned, [NumericAttribute("cout", 4)]).table
    assert table.steps("cout", "Conv", cin=3)[0].tolist() == [4, 8, 16]
    assert {dict(row.attributes)["w_bits"] for row in table.rows if row.op == "Conv"} == {8}
    with pytest.raises(InputError, match="to sweep a quantized network, give the float one"):
        tables.operators_of([quantize(graph)], {"cout": (8,)})


@pytest.mark.usefixtures("tiny_spaces")
def test_choices_of_a_variant_are_named_after_it(learned):
    table = tables.choice_table(VariedSpace("space", "int8"), learned).table
    assert table.metadata.space == "space int8"
    assert {(dict(row.attributes)["w_bits"], dict(row.attributes)["a_bits"]) for row in table.rows} == {(8, 8)}
    assert table([(0, 0, 0, 0)])[0] > 0  # with one value each, bits may be left out
    assert table.lookup("choice", position=0, choice=1, w_bits=8) == table.choice_ms(SPACE.choices)[0][1]
    with pytest.raises(InputError, match="choices of the space space int8, not of space"):
        tables.require_space(table, "space")


@pytest.mark.usefixtures("tiny_spaces")
def test_choices_of_a_space_are_fitted_to_whole_networks():
    additive = Additive()
    learned = tables.ByPredictor(additive, Metadata("roof", "roofline", 1, 1, "float32"))
    table = tables.choice_table(VariedSpace("space"), learned).table
    assert table.metadata.space == "space"
    archs = [(0, 0, 0, 0), (3, 1, 1, 0), (2, 3, 0, 1)]
    np.testing.assert_allclose(table(archs), additive.predict([SPACE.graph(arch) for arch in archs]), rtol=0.02)


@pytest.mark.usefixtures("tiny_spaces")
def test_fewer_networks_than_free_entries_are_refused(learned):
    with pytest.raises(InputError, match="9 free entries; 4 networks are too few"):
        tables.choice_table(VariedSpace("space"), learned, networks=4)


def test_every_choice_occurs_in_the_covering_networks():
    graphs = tables.covering_graphs(Space(), None, seed=0)
    found = {(o.attributes["cin"], o.attributes["cout"]) for o, _ in tables.operators_of(graphs, {}) if o.op == "Conv"}
    assert {(3, c) for c in (4, 8, 16)} <= found


def test_a_network_that_the_table_lacks_is_refused_before_anything_is_measured(bench, learned):
    table = tables.operator_table(tables.operators_of([Space().graph((0, 0))], {}), learned).table
    with pytest.raises(InputError, match="holds no Conv"):
        tables.check(table, [Space().graph((0, 0))] * 3 + [Space().graph((0, 1))], bench)
    assert bench.store.measurements() == []


def test_a_table_of_another_device_is_refused(bench):
    graph = Space().graph((0, 0))
    with pytest.raises(InputError, match="the table is for device pixel, not for roof"):
        tables.check(choices([[1.0]]), [graph] * 4, bench, [(0,)] * 4)


def test_a_table_of_another_machine_is_refused(bench):
    metadata = Metadata("roof", "roofline", 1, 1, "float32", hardware="0123456789ab")
    table = LatencyTable(metadata, choices([[1.0]]).rows)
    with pytest.raises(InputError, match="hardware 0123456789ab, this is"):
        tables.check(table, [Space().graph((0, 0))] * 4, bench, [(0,)] * 4)


def test_a_table_holds_where_the_device_is_not_where_it_is_asked_from(bench):
    far_away = replace(bench.options, transport=ScriptedTransport())  # hardware 0123456789ab
    far = replace(bench, device=replace(DEVICE, remote="board:9190"), options=far_away)
    graphs = [Space().graph((0, 0))] * 4
    places = {"0123456789ab": "give the space instead of models", "ba9876543210": ", this is 0123456789ab; "}
    for hardware, text in places.items():
        metadata = Metadata("roof", "roofline", 1, 1, "float32", hardware=hardware)
        with pytest.raises(InputError, match=text):
            tables.check(LatencyTable(metadata, choices([[1.0]]).rows), graphs, far)


def test_models_cannot_be_set_against_a_table_of_choices(bench):
    metadata = Metadata("roof", "roofline", 1, 1, "float32")
    table = LatencyTable(metadata, choices([[1.0]]).rows)
    with pytest.raises(InputError, match="give the space instead of models"):
        tables.check(table, [Space().graph((0, 0))] * 4, bench)


def test_python_builds_a_table_as_the_command_line_does():
    graphs = [Space().graph(arch) for arch in ((0, 1), (2, 1), (1, 1), (2, 2))]
    with Store() as store:
        built = tables.build_table(graphs, DEVICE, sweep={"cout": range(8, 17, 8)}, store=store, options=Options(FAST))
        found = tables.check_table(built.table, graphs, device=DEVICE, store=store, options=Options(FAST))
        assert all(not m.operators for m in store.measurements())
    assert {8.0, 16.0} <= set(built.table.steps("cout", "Conv", cin=3)[0])
    assert found.raw_mape == pytest.approx(0.0, abs=0.1)


@pytest.mark.usefixtures("tiny_spaces")
def test_a_space_takes_the_place_of_models():
    space = VariedSpace("space")
    with Store() as store:
        asked = {"store": store, "options": Options(FAST), "rows": "choices", "networks": 10}
        built = tables.build_table(space, DEVICE, **asked)
        assert built.table == tables.build_table(space="space", device=DEVICE, **asked).table
        found = tables.check_table(
            built.table, space=space, networks=6, device=DEVICE, store=store, options=Options(FAST)
        )
    assert built.table.metadata.space == "space"
    assert found.networks == 6


@pytest.mark.parametrize("arguments", [{}, {"models": Space().graph((0, 0)), "space": "fbnet"}])
def test_a_table_is_of_models_or_of_a_space(arguments):
    with pytest.raises(InputError, match="give either models or --space"):
        tables.build_table(**arguments, device=DEVICE, store=":memory:")


def test_given_inputs_bind_the_shapes_of_a_table_s_models(tmp_path):
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, ("n", 16)) for name in "xy")
    w = numpy_helper.from_array(np.eye(16, dtype=np.float32), "w")
    body = helper.make_graph([helper.make_node("MatMul", ["x", "w"], ["y"])], "g", [x], [y], [w])
    onnx.save(helper.make_model(body, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), tmp_path / "net.onnx")
    model, array = str(tmp_path / "net.onnx"), np.zeros((3, 16), np.float32)
    with Store() as store:
        asked = {"store": store, "options": Options(FAST)}
        by_array = tables.build_table(model, DEVICE, inputs={"x": array}, **asked).table
        assert by_array == tables.build_table(model, DEVICE, shapes={"x": (3, 16)}, **asked).table
    np.save(tmp_path / "x.npy", array)
    out, given = str(tmp_path / "table.json"), f"x={tmp_path / 'x.npy'}"
    arguments = [model, "-o", out, "--input", given, "--device", "roofline-edge-gpu", "--store", str(tmp_path / "s.db")]
    assert run(["lut", "build", *arguments, "--fast"]) == 0
    by_command = LatencyTable.load(out)
    assert [(row.op, row.attributes) for row in by_command.rows] == [(row.op, row.attributes) for row in by_array.rows]


def test_the_operators_of_a_quantized_network_that_stay_float_are_told():
    b, told = GraphBuilder("net"), []
    graph = b.build(b.unary("Softplus", b.conv(b.input((1, 3, 8, 8)), 4)))
    options = Options(FAST, on_warning=told.append)
    tables.build_table(graph, DEVICE, variant="int8", store=":memory:", options=options)
    assert [text for text in told if "float" in text] == [
        "net-int8: 1 operator stays float: Softplus 'Softplus_1' (int8 has no Softplus)"
    ]
