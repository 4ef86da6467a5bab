"""Files made to fill the memory or to keep a reader busy: one line that names the file, at once."""

import io
import json
import zipfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hwprof.data import dataset
from hwprof.device import Device
from hwprof.errors import InputError
from hwprof.latency_table import LatencyTable
from hwprof.predictors.trained import Trained
from tests.latency_table.tables import METADATA, staircase

STORED = Path(__file__).parents[1] / "predictors" / "stored"


def error_of(read, path: Path, content: bytes | str) -> str:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(InputError) as caught:
        read(path)
    text = str(caught.value)
    assert path.name in text
    assert "\n" not in text
    assert len(text) < 2000
    return text


# -- tables --------------------------------------------------------------------------------------------


def table_with(ms: str) -> str:
    record = json.dumps({"op": "Conv", "attributes": {}, "ms": 0})
    return f'{{"schema": "hwprof.lut/1", "rows": [{record.replace("0}", ms + "}")}]}}'


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[" * 200_000, "nested too deep"),
        ('{"rows":' * 200_000, "nested too deep"),
        (table_with("1" + "0" * 400), "row 0 cannot be read|it is damaged"),
        (table_with("1" + "0" * 5000), "it is not JSON: Exceeds the limit"),
        (table_with("null"), "row 0 cannot be read"),
        ('{"schema": "hwprof.lut/1", "rows": null}', "it is damaged"),
        ('{"schema": "hwprof.lut/1", "metadata": [1], "rows": []}', "it is damaged"),
        (b"\xff\xfe\x00", "it is not JSON"),
        ("", "it is not JSON"),
    ],
    ids=range(9),
)
def test_json_tables(tmp_path, content, message):
    assert any(part in error_of(LatencyTable.load, tmp_path / "t.json", content) for part in message.split("|"))


LAUGHS = "a: &a [x, x]\n" + "".join(f"{b}: &{b} [*{a}, *{a}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True))


@pytest.mark.parametrize("name", ["ofa-yaml", "proxyless-yaml"])
@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[" * 100_000, "nested deeper than a table"),
        ("{a: " * 100_000, "nested deeper than a table"),
        ("- " * 100_000, "nested deeper than a table"),
        (LAUGHS, "an anchor, a merge key or a tag"),
        ("a: &a {x: 1}\n" + "b:\n" + "  <<: *a\n" * 20_000, "an anchor, a merge key or a tag"),
        ("a:\n" + "  <<: {}\n" * 20_000, "an anchor, a merge key or a tag"),
        ("a: {mean: " + "9" * 10_000 + "}", "a very long value"),
        ("a: {mean: " + "1:1" * 10_000 + "}", "a very long value"),
        ("a: {mean: 2001-99-99}", "has no number|it is damaged"),
    ],
    ids=range(9),
)
def test_yaml_tables(tmp_path, name, content, message):
    def read(path):
        LatencyTable.read(name, path, METADATA)

    assert any(part in error_of(read, tmp_path / "t.yaml", content) for part in message.split("|"))


def parquet(table: pa.Table) -> bytes:
    content = io.BytesIO()
    pq.write_table(table, content)
    return content.getvalue()


@pytest.fixture
def own_parquet(tmp_path) -> pa.Table:
    staircase().save(tmp_path / "own.parquet")
    return pq.read_table(tmp_path / "own.parquet")


def test_a_parquet_table_of_a_billion_equal_rows(tmp_path, own_parquet):
    """They take little space: a run of one value is stored as its length."""
    rows = pa.table({"op": pa.DictionaryArray.from_arrays(pa.array(np.zeros(3_000_000, np.int8)), pa.array(["Conv"]))})
    content = parquet(rows.replace_schema_metadata(own_parquet.schema.metadata))
    assert len(content) < 10_000
    assert "more than 2,000,000 rows" in error_of(LatencyTable.load, tmp_path / "t.parquet", content)


@pytest.mark.parametrize("column", ["op", "ms", "low_ms", "n"])
def test_a_parquet_table_without_a_column_or_with_one_of_another_type(tmp_path, own_parquet, column):
    i = own_parquet.column_names.index(column)
    text = own_parquet.set_column(i, column, pa.array([["x"]] * own_parquet.num_rows))
    for changed in (own_parquet.drop_columns([column]), text):
        assert error_of(LatencyTable.load, tmp_path / "t.parquet", parquet(changed))


@pytest.mark.parametrize("kept", [0, 4, 100, -8])
def test_a_part_of_a_parquet_table(tmp_path, own_parquet, kept):
    error_of(LatencyTable.load, tmp_path / "t.parquet", parquet(own_parquet)[:kept])


# -- predictors ----------------------------------------------------------------------------------------


def changed(**members: bytes) -> bytes:
    """A stored predictor with members replaced."""
    with zipfile.ZipFile(STORED / "mlp.hwp") as archive:
        held = {name: archive.read(name) for name in archive.namelist()}
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, value in {**held, **members}.items():
            archive.writestr(name, value)
    return content.getvalue()


def head(**values) -> bytes:
    with zipfile.ZipFile(STORED / "mlp.hwp") as archive:
        return json.dumps({**json.loads(archive.read("predictor.json")), **values}).encode()


def arrays(**values: np.ndarray) -> bytes:
    content = io.BytesIO()
    np.savez_compressed(content, **values)
    return content.getvalue()


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({"files/zeros": bytes(1 << 27)}, "unpacks to far more than its own size"),
        ({"arrays.npz": arrays(errors=np.zeros(1 << 24))}, "unpacks to far more than its own size"),
        ({"predictor.json": b"[" * 200_000}, "nested too deep"),
        ({"predictor.json": b"null"}, "its head is not a table"),
        ({"predictor.json": head(parameters=None)}, "its head lacks"),
        ({"predictor.json": head(predictor=None)}, "its head lacks"),
        ({"predictor.json": head(settings=None)}, "its head lacks"),
        ({"predictor.json": head(settings={})}, "does not fit the predictor 'mlp'"),
        ({"predictor.json": head(parameters={"hidden": "x"})}, "does not fit the predictor 'mlp'"),
        ({"predictor.json": head(parameters={"hidden": [10**6, 10**6]})}, "does not fit the predictor 'mlp'"),
        ({"arrays.npz": arrays(errors=np.array([None]))}, "an array that cannot be read"),
        ({"arrays.npz": arrays(errors=np.zeros(3, [("a", "f4")]))}, "not of plain numbers"),
        ({"arrays.npz": arrays()}, "does not fit the predictor 'mlp'"),
        ({"arrays.npz": b"no zip"}, "is not a predictor file"),
    ],
    ids=range(14),
)
def test_predictors(tmp_path, members, message):
    assert message in error_of(Trained.load, tmp_path / "p.hwp", changed(**members))


def test_an_encrypted_predictor(tmp_path):
    content = bytearray(changed())
    for signature, place in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        content[content.index(signature) + place] |= 1
    assert "is encrypted" in error_of(Trained.load, tmp_path / "p.hwp", bytes(content))


@pytest.mark.parametrize("origin", [b"[]", b"{}", b'{"predictor": 1}', b"3", b"["])
def test_an_origin_of_another_kind(tmp_path, origin):
    error_of(Trained.load, tmp_path / "p.hwp", changed(**{"origin.json": origin}))


# -- devices and data sets -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a = " + "[" * 100_000, "nested too deep"),
        ("a" + ".a" * 50_000 + " = 1", "a key of more than 32 parts"),
        ("x" * (1 << 21), "it has 2 MB; at most 1 MB are read"),
        ('schema = "hwprof.device/1"\nbackend = "torch"\ncores = [[1]]', "field 'cores'"),
    ],
    ids=range(4),
)
def test_devices(tmp_path, content, message):
    assert any(part in error_of(Device.load, tmp_path / "d.toml", content) for part in message.split("|"))


def test_a_device_that_is_a_folder(tmp_path):
    (tmp_path / "d.toml").mkdir()
    with pytest.raises(InputError, match=r"d\.toml"):
        Device.load(tmp_path / "d.toml")


def test_a_data_set_of_rows_of_text(tmp_path):
    card = 'schema = "hwprof.dataset/1"\nname = "n"\ndevice_name = "d"\nrows = "many"\n'
    (tmp_path / "measurements.parquet").touch()
    (tmp_path / "graphs.jsonl").touch()
    (tmp_path / "dataset.toml").write_text(card)
    with pytest.raises(InputError, match="rows in the card is 'many', not of type int"):
        dataset.read(tmp_path)
