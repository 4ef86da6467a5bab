import warnings

import pytest

from hwprof.errors import InputError
from hwprof.latency_table import Correction, LatencyTable, NumericAttribute, Row, formats
from tests.latency_table.tables import METADATA

BLOCK = {
    "h": 112, "w": 112, "cin": 16, "h_out": 56, "w_out": 56, "cout": 24,
    "expand": 3, "kernel": 5, "stride": 2, "idskip": 0,
}  # fmt: skip
CONV = {"batch": 1, "cin": 16, "cout": 24, "h": 56, "w": 56, "kernel": 3, "stride": 1, "groups": 1}
# For each format the rows that it can hold whole.
ROWS = {
    "csv": [Row.of("Conv", {"kernel": 3, "pad": "1x2", "sparsity": 0.5}, 1.5, (1.4, 1.6), 9), Row.of("Relu", {}, 0.25)],
    "fbnet-json": [
        Row.of("Conv", {"input_shapes": "[[1, 3, 8]]", "input_dtypes": "[1]", "op_args": '["name: \\"k\\""]'}, 0.5)
    ],
    "halp": [Row.of("Conv", CONV, 1.5), Row.of("Conv", {**CONV, "cout": 32}, 2.5)],
    "haq": [
        Row.of("layer", {"layer": layer, "weight_bits": w, "activation_bits": a}, float(1 + layer + w * a))
        for layer in range(2) for w in (1, 2) for a in (1, 2, 3)
    ],
    "modelopt": [
        Row.of("gemm", {"layer": "layers.*.up_proj", "recipe": recipe, "rows": 32, "cin": 64, "cout": 128}, ms)
        for recipe, ms in (("NONE", 0.5), ("FP8_DEFAULT_CFG", 0.25))
    ],
    "netadapt": [
        Row.of("Conv2d", {"layer": "features.0", "cin": 3, "cout": c, "kernel_size": "(3, 3)", "groups": "1"}, c / 4)
        for c in (8, 16)
    ],
    "nni": [Row.of("conv3x3", {"w": 56, "h": 56, "cin": 16, "cout": 24, "stride": 1, "dtype": "float32"}, 1.5)],
    "ofa-yaml": [
        Row.of("expanded_conv", {**BLOCK, "se": 1, "hs": 0}, 2.0, (1.9, 2.1), 50),
        Row.of("Logits", {"h": 1, "w": 1, "cin": 1280, "cout": 1000}, 0.5),
    ],
    "proxyless-yaml": [Row.of("expanded_conv", BLOCK, 2.0)],
}  # fmt: skip
UNIT = {"nni": "ms", "haq": "cycles@1GHz"}


def converted(name, rows, path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        LatencyTable(METADATA, tuple(rows)).to(name, path)
    return LatencyTable.read(name, path, METADATA, unit=UNIT.get(name), allow_pickle=True)


@pytest.mark.parametrize("name", sorted(ROWS))
def test_what_a_format_can_hold_comes_back(name, tmp_path):
    found = {(r.op, r.attributes): r for r in converted(name, ROWS[name], tmp_path / "table").rows}
    assert set(found) == {(r.op, r.attributes) for r in ROWS[name]}
    for row in ROWS[name]:
        back = found[row.op, row.attributes]
        assert back.ms == pytest.approx(row.ms)
        assert back.n == row.n
        assert (back.low_ms, back.high_ms) == (pytest.approx(row.low_ms), pytest.approx(row.high_ms))


def test_every_format_but_the_one_that_is_only_read_is_converted_above():
    assert set(formats.names()) - set(ROWS) == {"tfnas"}


@pytest.mark.parametrize("name", sorted(ROWS))
def test_a_format_warns_of_everything_that_it_cannot_hold(name, tmp_path):
    table = LatencyTable(METADATA, tuple(ROWS[name]), (NumericAttribute("cout", 8),), Correction(0, 1))
    with pytest.warns(UserWarning, match=rf"{name} cannot hold: .*runtime tflite, threads 1.*correction.*granules"):
        table.to(name, tmp_path / "table")


@pytest.mark.parametrize("name", sorted(ROWS))
def test_a_file_of_another_kind_is_refused_with_its_name(name, tmp_path):
    path = tmp_path / "no_table"
    path.write_text("this is: [no table")
    with pytest.raises(InputError, match=r"no_table|at least one row"):
        LatencyTable.read(name, path, METADATA, unit=UNIT.get(name), allow_pickle=True)


def test_an_unknown_format_is_refused_with_the_known_ones():
    with pytest.raises(InputError, match="no table format is named 'onnx'; known: csv, fbnet-json"):
        formats.load("onnx")
