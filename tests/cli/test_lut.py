from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import numpy as np
import pytest

from hwprof import onnx_io, plugins
from hwprof.__main__ import run
from hwprof.builder import GraphBuilder
from hwprof.latency_table import LatencyTable
from hwprof.latency_table.build import with_space
from hwprof.predictors.lut import LutPredictor
from hwprof.predictors.trained import Origin, Trained
from hwprof.spaces import sampling
from tests.latency_table.tables import choices, staircase

DEVICE = ("--device", "roofline-edge-gpu")
PUBLISHED = "Conv-input:224x224x3-output:112x112x32:\n  mean: 2.5\n"


@pytest.fixture
def lut(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    """Runs `hwprof lut` in a folder of its own. Returns its status, and what it wrote to both streams."""
    monkeypatch.setenv("HWPROF_DEVICES", str(Path("devices").resolve()))
    monkeypatch.chdir(tmp_path)

    def in_folder(*arguments: str) -> tuple[int, str, str]:
        code = run(["lut", *arguments])
        told = capsys.readouterr()
        assert "Traceback" not in told.err
        return code, told.out, told.err

    return in_folder


@pytest.fixture
def refused(lut):
    """The one line of a command that ends with status 2."""

    def line(*arguments: str) -> str:
        code, out, err = lut(*arguments)
        assert (code, out) == (2, "")
        (only,) = err.splitlines()
        return only

    return line


def model(path: Path, *channels: int) -> str:
    b = GraphBuilder(path.stem)
    x = b.input((1, 3, 8, 8))
    for c in channels:
        x = b.relu(b.conv(x, c, 3))
    onnx_io.save(b.build(x), path)
    return path.name


def test_a_variant_s_operators_have_its_bits(lut, tmp_path: Path):
    name = model(tmp_path / "m.onnx", 4)
    code, _, _ = lut("build", name, *DEVICE, "--variant", "int8", "--fast", "--sweep", "cout=16:32:16", "-o", "t.json")
    table = LatencyTable.load("t.json")
    assert (code, {row.op for row in table.rows}) == (0, {"QuantizeLinear", "Conv", "DequantizeLinear"})
    assert [a.name for a in table.numeric] == ["cout", "w_bits", "a_bits"]
    assert table.steps("cout", "Conv", w_bits=8)[0].tolist() == [4, 16, 32]


def test_a_table_is_built_swept_checked_and_drawn(lut, tmp_path: Path):
    models = [model(tmp_path / f"{i}.onnx", *c) for i, c in enumerate([(4,), (8,), (4, 8), (8, 4), (8, 4, 8)])]
    code, out, _ = lut("build", *models, *DEVICE, "--fast", "--sweep", "cout=16:32:16", "-o", "t.json", "-f", "csv")
    (row,) = csv.DictReader(io.StringIO(out))
    assert (code, row["device"], row["operators"]) == (0, "roofline-edge-gpu", "Conv, Relu")
    assert row["protocol"].startswith("analytic")
    assert LatencyTable.load("t.json").steps("cout", "Conv", cin=3)[0].tolist() == [4, 8, 16, 32]

    code, out, _ = lut("check", "t.json", *models, "--fast", "--max-mape", "1%", "-o", "c.json", "-f", "json")
    (figures,) = json.loads(out)
    assert (code, figures["networks"]) == (0, 5)
    assert figures["raw_mape"] < 1
    assert LatencyTable.load("c.json").correction.networks == 5

    code, _, _ = lut("plot", "t.json", "cout", "cin=3", "-o", "steps.svg")
    assert code == 0
    assert "<!-- cout -->" in Path("steps.svg").read_text()


def test_a_table_that_is_off_fails_its_gate(lut, tmp_path: Path):
    models = [model(tmp_path / f"{i}.onnx", *c) for i, c in enumerate([(4,), (4, 8), (8, 4), (8, 4, 8)])]
    lut("build", *models, *DEVICE, "--fast", "-o", "t.json")
    record = json.loads(Path("t.json").read_text())
    for i, row in enumerate(record["rows"]):
        row["ms"] *= 1 + i
    Path("t.json").write_text(json.dumps(record))
    code, _, err = lut("check", "t.json", *models, "--fast", "--max-mape", "0.01%")
    assert code == 1
    assert err.splitlines()[-1].startswith("hwprof: the mean error of the sums is")


def test_a_foreign_table_goes_there_and_back(lut):
    Path("t.yaml").write_text(PUBLISHED)
    stated = ("-d", "note10", "--runtime", "tflite", "--threads", "1", "--batch", "1", "--dtype", "float32")
    assert lut("convert", "t.yaml", "t.json", "--from", "proxyless-yaml", *stated)[0] == 0
    table = LatencyTable.load("t.json")
    assert (table.metadata.device, table.lookup("Conv", cout=32)) == ("note10", 2.5)
    code, _, err = lut("convert", "t.json", "back.yaml", "--to", "proxyless-yaml")
    assert code == 0
    assert "warning: proxyless-yaml cannot hold: device note10, runtime tflite" in err
    assert "mean: 2.5" in Path("back.yaml").read_text()


def test_a_known_device_says_the_rest_itself(lut):
    Path("t.yaml").write_text(PUBLISHED)
    assert lut("convert", "t.yaml", "t.parquet", "--from", "ofa-yaml", "-d", "cpu-1t")[0] == 0
    assert LatencyTable.load("t.parquet").metadata.runtime == "onnxruntime"


def test_a_staircase_in_csv_keeps_its_steps_when_they_are_named(lut):
    staircase().save("t.json")
    lut("convert", "t.json", "t.csv", "--to", "csv")
    numeric = ("--numeric", "cout:8", "--numeric", "cin")
    lut("convert", "t.csv", "back.json", "--from", "csv", "-d", "cpu-1t", *numeric)
    assert LatencyTable.load("back.json")(op="Conv", kernel=3, cin=4, cout=9) == 3.0


def test_what_the_source_does_not_say_is_asked_for(refused):
    Path("t.csv").write_text("op,ms\nConv,1.0\n")
    assert refused("convert", "t.csv", "t.json", "--from", "csv", "-d", "phone", "--threads", "4") == (
        "hwprof: a table in csv does not state where its latencies were measured; give --runtime --batch --dtype"
    )


def test_a_unit_that_the_format_does_not_state_is_asked_for(refused):
    Path("t.txt").write_text(
        "{'op_name': 'conv', 'op_data_shape': (1, 1, 1, 1, 1), 'op_dtype': 'f', 'op_latency': 1}\n"
    )
    line = refused("convert", "t.txt", "t.json", "--from", "nni", "-d", "cpu-1t")
    assert "does not state its unit of time" in line


def test_a_foreign_file_without_its_format_lists_the_formats(refused):
    assert refused("convert", "t.txt", "t.json").startswith(
        "hwprof: t.txt is not hwprof's own format (.json, .parquet); give --from csv|fbnet-json"
    )


def test_a_table_without_its_device_is_refused(refused):
    choices([[1.0, 2.0]]).save("t.json")
    record = json.loads(Path("t.json").read_text())
    record["metadata"]["device"] = ""
    Path("t.json").write_text(json.dumps(record))
    assert "it names no device" in refused("convert", "t.json", "t.csv", "--to", "csv")


def test_a_table_of_another_space_is_refused(refused):
    table = with_space(choices([[1.0, 2.0]]), "fbnet")
    table.save("t.json")
    line = refused("check", "t.json", "--space", "nasbench201", "-d", "cpu-1t")
    assert line == "hwprof: the table holds choices of the space fbnet, not of nasbench201"


@pytest.fixture
def trained(tmp_path: Path) -> None:
    """Predictor files that learned from a device `roofline-edge-gpu` and the nasbench201 space."""
    space = plugins.load("space", "nasbench201")
    archs = sampling.random_archs(space, 40, np.random.default_rng(0))
    ms = np.array([1 + 0.1 * sum(arch) for arch in archs])
    origin = Origin(
        "lut", "d", "", "roofline-edge-gpu", "nasbench201", "", "imported", 40, 1.0, 4.0, 1.0, 0.5, 2.0
    )  # fmt: skip
    Trained(LutPredictor(space).fit(archs, ms), origin).save(tmp_path / "lut.hwp")


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("bert_tiny", "-d", "cpu-1t"), "the predictor has the device 'roofline-edge-gpu', not 'cpu-1t'"),
        (("--space", "fbnet", "--rows", "choices", *DEVICE), "the predictor has the space 'nasbench201', not 'fbnet'"),
        (("bert_tiny", *DEVICE), "takes architectures, not single operators; take physical or gcn, or --rows choices"),
    ],
)
@pytest.mark.usefixtures("trained")
def test_a_predictor_of_something_else_fills_no_table(refused, arguments, reason):
    assert reason in refused("build", *arguments, "--predictor", "lut.hwp", "-o", "t.json")


def test_a_missing_table_is_refused(refused):
    assert "none.json" in refused("check", "none.json", "--space", "nasbench201")


def test_an_operator_that_the_table_lacks_is_named(refused):
    staircase().save("t.json")
    assert "holds no operator 'Gemm'; known: Conv" in refused("plot", "t.json", "cout", "--op", "Gemm")


def test_a_key_that_the_table_lacks_is_named(refused):
    staircase().save("t.json")
    assert "holds no Conv(kernel=9" in refused("plot", "t.json", "cout", "kernel=9", "cin=4")


def test_an_attribute_without_steps_is_refused(refused):
    staircase().save("t.json")
    assert "'kernel' is not a numeric attribute of the table; those are: cin, cout" in refused(
        "plot", "t.json", "kernel"
    )


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("build", "-o", "t.json"), "give either models or --space"),
        (("build", "bert_tiny", "-o", "t.csv"), "other formats: hwprof lut convert"),
        (("build", "bert_tiny", "--rows", "choices", "-o", "t.json"), "--rows choices needs --space"),
        (("build", "bert_tiny", "--sweep", "cout=4", "-o", "t.json"), "not of the form cout=8:64:8"),
        (("build", "bert_tiny", "--sweep", "cout=5:9:2", "-o", "t.json"), "which starts at a multiple of its step"),
        (("build", "bert_tiny", "--predictor", "none.hwp", "-o", "t.json"), "no predictor file 'none.hwp'"),
        (("build", "--space", "nope", "-o", "t.json"), "no space is named 'nope'; known: blockqnn"),
        (("build", "bert_tiny", "-d", "nope", "-o", "t.json"), "no device is named 'nope'"),
    ],
)
def test_a_build_that_cannot_be_is_refused(refused, arguments, reason):
    assert reason in refused(*arguments)


@pytest.mark.parametrize("text", ["", "a=b", "cout:x", "cout:0:up"])
def test_a_numeric_attribute_that_cannot_be_read_is_refused(refused, text):
    Path("t.csv").write_text("op,ms\nConv,1.0\n")
    line = refused("convert", "t.csv", "t.json", "--from", "csv", "-d", "cpu-1t", "--numeric", text)
    assert "is not of the form NAME, NAME:8 or NAME:8:down" in line
