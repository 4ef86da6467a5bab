"""The CSV of NVIDIA's Model Optimizer: its columns, and what is lost."""

import csv
import json
from fnmatch import fnmatch

import pytest

from hwprof.builder import GraphBuilder
from hwprof.errors import InputError
from hwprof.latency_table import operators
from hwprof.latency_table.formats import Source, modelopt, rows_of_networks
from hwprof.latency_table.rows import Content, Metadata, Row
from hwprof.variants.low_bit import low_bits
from hwprof.variants.spec import change

REQUIRED = {  # by the tool's reader
    "schema_version", "deployment_profile", "group_pattern", "source_module_patterns", "recipe_id", "runtime_format",
    "m", "latency_us", "backend", "with_quant", "op_kind", "timing_scope", "selection_policy", "kernel_policy_id", "tp",
    "ep", "hardware",
}  # fmt: skip
QKV = "layers.*.q_proj|layers.*.k_proj"


META = Metadata("b100", "tensorrt", 1, 1, "float16")


def table(*rows: Row) -> Content:
    return Content(META, rows)


def row(recipe: str, ms: float, **changes: object) -> Row:
    return Row.of("gemm", {"layer": QKV, "recipe": recipe, "rows": 32, "cin": 2048, "cout": 3072, **changes}, ms)


def test_a_table_that_is_written_has_the_columns_that_the_tool_wants(tmp_path):
    modelopt.write(table(row("NONE", 0.009), row("FP8_DEFAULT_CFG", 0.006)), tmp_path / "t.csv")
    with (tmp_path / "t.csv").open() as file:
        plain, fp8 = csv.DictReader(file)
    assert plain.keys() >= REQUIRED
    assert (plain["schema_version"], plain["op_kind"], plain["with_quant"]) == ("haq_latency_v1", "gemm", "False")
    assert (fp8["recipe_id"], fp8["with_quant"], float(fp8["latency_us"])) == ("FP8_DEFAULT_CFG", "True", 6.0)
    assert json.loads(fp8["source_module_patterns"]) == ["layers.*.q_proj", "layers.*.k_proj"]
    assert (fp8["m"], fp8["n"], fp8["k"], fp8["deployment_profile"]) == ("32", "3072", "2048", "b100")


def test_rows_come_back_as_they_were(tmp_path):
    rows = (row("NONE", 0.5), row("FP8_DEFAULT_CFG", 0.25))
    lost = modelopt.write(table(*rows), tmp_path / "t.csv")
    assert modelopt.read(tmp_path / "t.csv", Source(META)) == list(rows)
    assert not any("attributes" in phrase for phrase in lost)


def test_a_table_without_layers_is_refused(tmp_path):
    with pytest.raises(InputError, match="no row of the table fits Model Optimizer's format"):
        modelopt.write(table(Row.of("Gemm", {"rows": 1}, 1.0)), tmp_path / "t.csv")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"schema_version": "haq_latency_v0"}, "line 2 has the schema 'haq_latency_v0', not 'haq_latency_v1'"),
        ({"m": "many"}, "line 2 cannot be read"),
    ],
)
def test_a_line_that_cannot_be_read_is_named(change, reason, tmp_path):
    modelopt.write(table(row("NONE", 0.009)), tmp_path / "t.csv")
    with (tmp_path / "t.csv").open() as file:
        (record,) = csv.DictReader(file)
    with (tmp_path / "t.csv").open("w") as file:
        writer = csv.DictWriter(file, record)
        writer.writeheader()
        writer.writerow(record | change)
    with pytest.raises(InputError, match=reason):
        modelopt.read(tmp_path / "t.csv", Source(META))


def written(rows, path):
    lost = modelopt.write(table(*rows), path)
    with path.open() as file:
        return list(csv.DictReader(file)), lost


def test_labels_of_operators_become_patterns_of_module_names(tmp_path):
    label = "/model/layers.5/self_attn/q_proj/MatMul|/model/layers.5/self_attn/k_proj/MatMul"
    (record,), _ = written([row("NONE", 1.0, layer=label)], tmp_path / "t.csv")
    assert record["group_pattern"] == "model.layers.*.self_attn.q_proj|model.layers.*.self_attn.k_proj"
    patterns = json.loads(record["source_module_patterns"])
    assert [fnmatch("model.layers.7.self_attn.q_proj", pattern) for pattern in patterns] == [True, False]


def test_layers_that_share_a_pattern_have_one_row_with_their_mean(tmp_path):
    rows = [row("NONE", ms, layer=f"model.layers.{i}.up_proj") for i, ms in enumerate((1.0, 2.0, 6.0))]
    (record,), lost = written(rows, tmp_path / "t.csv")
    assert (record["group_pattern"], float(record["latency_us"])) == ("model.layers.*.up_proj", 3000.0)
    assert "latencies of single layers (3 layers share 1 rows)" in lost


def test_layers_of_different_sizes_keep_their_indices(tmp_path):
    rows = [row("NONE", 1.0, layer=f"blocks.{i}.conv", cout=64 << i) for i in range(2)]
    records, lost = written(rows, tmp_path / "t.csv")
    assert [record["group_pattern"] for record in records] == ["blocks.0.conv", "blocks.1.conv"]
    assert not any("single layers" in phrase for phrase in lost)


def test_an_index_at_the_end_of_a_name_stays(tmp_path):
    (record,), _ = written([row("NONE", 1.0, layer="features.3")], tmp_path / "t.csv")
    assert record["group_pattern"] == "features.3"


@pytest.mark.parametrize(
    ("recipe", "name"),
    [("NONE", "FP16"), ("FP8_DEFAULT_CFG", "FP8"), ("NVFP4_DEFAULT_CFG", "NVFP4_W4A4"), ("MY_CFG", "MY_CFG")],
)
def test_the_format_that_runs_is_named_as_the_tool_does(recipe, name, tmp_path):
    (record,), _ = written([row(recipe, 1.0)], tmp_path / "t.csv")
    assert record["runtime_format"] == name


def projection(name="net"):
    b = GraphBuilder(name)
    return b.build(b.relu(b.gemm(b.input((4, 16)), 8)))


def rows_of(*graphs):
    found = {operator.key: operator for graph in graphs for operator in operators.of(graph)}.values()
    return [Row.of(operator.op, operator.attributes, 1.0 + i) for i, operator in enumerate(found)]


def test_a_table_of_operators_gives_the_layers_of_networks_in_float_and_int8():
    graphs = [projection(), change("int8")(projection())]
    rows = modelopt.of_networks(table(*rows_of(*graphs)), graphs)
    attributes = [dict(one.attributes) for one in rows]
    assert [one["recipe"] for one in attributes] == ["NONE", "INT8_DEFAULT_CFG"]
    assert {(one["layer"], one["rows"], one["cin"], one["cout"]) for one in attributes} == {("Gemm_0", 4, 16, 8)}
    assert rows[0].ms != rows[1].ms


def test_a_layer_that_the_table_lacks_is_named():
    with pytest.raises(InputError, match=r"the table of b100 holds no Gemm\(.*cin=16"):
        modelopt.of_networks(table(row("NONE", 1.0)), [projection()])


def test_bits_without_a_recipe_are_refused():
    graph = low_bits(projection(), {"Gemm_0": 4})
    with pytest.raises(InputError, match="Model Optimizer has no recipe for 4 bits of weights"):
        modelopt.of_networks(table(*rows_of(graph)), [graph])


def test_networks_are_for_formats_of_layers_only():
    with pytest.raises(InputError, match="rows of csv are not those of a network's layers"):
        rows_of_networks("csv", table(row("NONE", 1.0)), [projection()])
