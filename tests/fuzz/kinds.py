"""The kinds of files that hwprof reads: small valid ones, how to change them, and how they are read."""

from __future__ import annotations

import hashlib
import io
import random
import shutil
import sqlite3
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from onnx import ModelProto, parser

from hwprof import onnx_io
from hwprof.builder import GraphBuilder
from hwprof.data import dataset, foreign
from hwprof.data.store import Store
from hwprof.device import Device
from hwprof.graph import Graph
from hwprof.latency_table import LatencyTable, Metadata, Row
from hwprof.measurement.estimate import Baseline
from hwprof.predictors.trained import Trained
from tests.fuzz import mutation
from tests.fuzz.mutation import Mutate
from tests.latency_table.tables import METADATA, choices, staircase
from tests.predictors.conftest import network

STORED = Path(__file__).parents[1] / "predictors" / "stored"
DEVICES = Path(__file__).parents[2] / "devices"


@dataclass(frozen=True)
class Kind:
    """`name`: of the file. `seeds`: contents of valid ones. `mutations`: one is chosen for each file."""

    name: str
    seeds: list[bytes]
    mutations: tuple[Mutate, ...]
    read: Callable[[Path], object]


# -- models --------------------------------------------------------------------------------------------

_HEADER = '<ir_version: 8, opset_import: ["" : 17, "own" : 1]>'
_TEXTS = (
    "net (float[1, 3, 8, 8] x) => (float[N, C, H, W] y) <float[4, 3, 1, 1] w = {1,2,3,4,5,6,7,8,9,10,11,12}>"
    " { a = Conv <kernel_shape = [1, 1], strides = [2, 2]> (x, w) y = Relu (a) }",
    "net (float[2, 6] x) => (float[N, M] y) <int64[2] w = {3, -1}, int64 a = {0}>"
    " { s = Shape (x) g = Gather <axis = 0> (s, a) r = Reshape (x, w) t = Transpose (r) y = Add (t, t) }",
    "net (float[1, 4] x, int64[1] b) => (float[N, M] y) "
    " <int64[2] w = {1, 4}, int64 a = {0}, int64 c = {4}, int64 d = {1}>"
    " { r = Range (a, c, d) f = Cast <to = 1> (r) e = Expand (f, w) y = Mul (x, e) }",
    "net (float[1, 4] x, bool k) => (float[N, M] y)"
    " { y = If (k) <then_branch = t () => (float[1, 4] z) { z = Relu (x) }, else_branch = e () => (float[1, 4] q)"
    " { q = Neg (x) }> }",
    "net (float[1, 4] x, int64 n, bool k) => (float[N, M] y) { y = Loop (n, k, x)"
    " <body = b (int64 i, bool c, float[1, 4] v) => (bool c2, float[1, 4] v2) { c2 = Identity (c) v2 = Relu (v) }> }",
    "net (float[1, 4] x) => (float[N, M] y) <float w = {0.1}, uint8 a = {3}>"
    " { q = QuantizeLinear (x, w, a) d = DequantizeLinear (q, w, a) y = Softmax <axis = -1> (d) }",
    "net (float[1, 2, 4] x) => (float[A, B, C] y) <int64[6] w = {0, 0, 1, 0, 0, 1}, int64[3] a = {1, 2, 1}>"
    " { p = Pad (x, w) t = Tile (p, a) s, b = Split <axis = 1> (t) y = Concat <axis = -1> (s, b) }",
    "net (float[1, 4] x) => (float[N, M] y) { y = own.F (x) }"
    ' <domain: "own", opset_import: ["" : 17, "own" : 1]> G (a) => (b) { b = Relu (a) }'
    ' <domain: "own", opset_import: ["" : 17, "own" : 1]> F (a) => (b) { c = own.G (a) b = own.G (c) }',
    "net (float[3, 1, 4] x) => (float[A, B, C, D] y) <float[1, 8, 4] w = {" + ",".join("0" * 32) + "},"
    " float[1, 8, 2] a = {" + ",".join("0" * 16) + "}> { y, h, c = LSTM <hidden_size = 2> (x, w, a) }",
)  # fmt: skip


def _external() -> bytes:
    model = parser.parse_model(f"{_HEADER} {_TEXTS[1]}")
    tensor = model.graph.initializer[0]
    tensor.ClearField("int64_data")
    tensor.data_location = tensor.EXTERNAL
    for key, value in (("location", "data.bin"), ("offset", "0"), ("length", "16")):
        tensor.external_data.add(key=key, value=value)
    return model.SerializeToString()


def _models() -> list[bytes]:
    built = [network(2, 4, 1), _residual()]
    parsed = [parser.parse_model(f"{_HEADER} {text}").SerializeToString() for text in _TEXTS]
    return [*parsed, _external(), *(onnx_io.to_model(graph).SerializeToString() for graph in built)]


def _residual() -> Graph:
    b = GraphBuilder("residual")
    x = b.input((1, 4, 8, 8))
    return b.build(b.linear(b.flatten(b.global_average_pool(b.add(b.relu(b.conv(x, 4, 3)), x))), 10))


def _load(path: Path) -> None:
    data = path.parent / "data.bin"
    data.write_bytes(np.array([3, -1]).tobytes())
    graph = onnx_io.load(path)
    onnx_io.external_files(path)
    assert Graph.from_json(graph.to_json()).digest == graph.digest


# -- predictors ----------------------------------------------------------------------------------------

_ARCHS = [(0, 1, 2, 0), (2, 2, 1, 1)]
_GRAPHS = [network(1, 4), network(3, 8, 1)]


def _predict(path: Path) -> None:
    trained = Trained.load(path)
    trained.predict(_ARCHS if trained.predictor.takes == "arch" else _GRAPHS)


# -- tables --------------------------------------------------------------------------------------------


def _own(suffix: str, folder: Path) -> list[bytes]:
    path = folder / f"seed{suffix}"
    contents = []
    for table in (staircase(), choices([[1.0, 2.0], [3.0]])):
        table.save(path)
        contents.append(path.read_bytes())
    return contents


def _foreign(name: str, table: LatencyTable, folder: Path) -> list[bytes]:
    path = folder / "seed"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what the format cannot hold
        table.to(name, path)
    return [path.read_bytes()]


def _read_foreign(name: str, unit: str | None) -> Callable[[Path], object]:
    metadata = Metadata(device="pixel", runtime="tflite", threads=1, batch=1, dtype="float32")
    return lambda path: LatencyTable.read(name, path, metadata, unit=unit, allow_pickle=True)


def _rows(*rows: tuple[str, dict[str, Any]]) -> LatencyTable:
    return LatencyTable(METADATA, tuple(Row.of(op, attributes, 1.5 + i) for i, (op, attributes) in enumerate(rows)))


_SHAPE = {"h": 8, "w": 8, "cin": 4, "h_out": 8, "w_out": 8, "cout": 8}
_HALP = {"batch": 1, "cin": 4, "cout": 8, "h": 8, "w": 8, "kernel": 3, "stride": 1, "groups": 1}
_FBNET = {"input_shapes": "[[1, 3, 8, 8]]", "input_dtypes": '["float32"]', "op_args": "{}"}
_NNI = {"w": 8, "h": 8, "cin": 4, "cout": 8, "stride": 1}


def _parquet(content: bytes, rng: random.Random) -> bytes:
    """Another column, type or header in a Parquet file."""
    table = pq.read_table(pa.BufferReader(content))
    i = rng.randrange(table.num_columns)
    name = table.column_names[i]
    change = rng.randrange(6)
    if change == 0:
        table = table.drop_columns([name])
    elif change == 1:
        table = table.set_column(i, name, pa.array([rng.choice((None, "text", "1"))] * table.num_rows, pa.string()))
    elif change == 2:
        table = table.set_column(i, name, pa.nulls(table.num_rows, table.schema.field(i).type))
    elif change == 3:
        table = table.slice(0, rng.randrange(table.num_rows + 1))
    elif change == 4:
        table = table.append_column(name if rng.random() < 0.5 else "more", pa.nulls(table.num_rows, pa.int32()))
    else:
        held = dict(table.schema.metadata or {})
        header = {key: mutation.of_json(value, rng) if value[:1] == b"{" else b"" for key, value in held.items()}
        table = table.replace_schema_metadata(header)
    changed = io.BytesIO()
    pq.write_table(table, changed)
    return changed.getvalue()


# -- data sets -----------------------------------------------------------------------------------------


def _dataset(folder: Path) -> dict[str, bytes]:
    card = dataset.Card("small", "pixel", space="", source="a test", licence="MIT", evidence="imported")
    entries = [
        dataset.Entry(1.5 + i, None, digest=g.digest, graph=g) for i, g in enumerate((network(1, 4), network(2, 4)))
    ]
    dataset.write(folder / "seed-data", card, entries, with_graphs=True)
    return {f.name: f.read_bytes() for f in (folder / "seed-data").iterdir()}


def _read_dataset(files: dict[str, bytes], name: str) -> Callable[[Path], object]:
    """Reads the data set with one of its files replaced, and its sums set right, so that content is looked at."""

    def read(path: Path) -> None:
        held = {**files, name: path.read_bytes()}
        for other in (dataset.GRAPHS, dataset.MEASUREMENTS):
            old, new = (hashlib.sha256(c[other]).hexdigest().encode() for c in (files, held))
            held[dataset.CARD] = held[dataset.CARD].replace(old, new)
        folder = path.parent / "data"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        for file, content in held.items():
            (folder / file).write_bytes(content)
        found = dataset.read(folder)
        dataset.validate(found)

    return read


def _lines(content: bytes, rng: random.Random) -> bytes:
    lines = content.splitlines()
    i = rng.randrange(len(lines))
    lines[i] = mutation.of_json(lines[i], rng)
    return b"\n".join(lines) + b"\n"


def _toml(content: bytes, rng: random.Random) -> bytes:
    """One value replaced."""
    lines = content.decode().splitlines()
    i = rng.randrange(len(lines))
    key = lines[i].partition("=")[0]
    values = ("1", "-1", '"x"', "[]", "{}", "true", "nan", "1e400", "9" * 5000, "[" * 2000, "[[1]]", '"\\u0000"')
    lines[i] = f"{key}= {rng.choice(values)}"
    return "\n".join(lines).encode()


def _import(path: Path) -> None:
    def parse(text: str | int | float) -> tuple[int, ...]:
        return tuple(str(text).encode())

    card = dataset.Card("foreign", "pixel", space="tiny", source="a paper", licence="MIT")
    shutil.rmtree(path.parent / "imported", ignore_errors=True)
    foreign.import_file(
        path, path.parent / "imported", card, parse=parse, arch_columns=["arch"], latency_column="lat", unit="ms"
    )


# -- stores --------------------------------------------------------------------------------------------


def _store(folder: Path) -> bytes:
    path = folder / "seed.db"
    path.unlink(missing_ok=True)
    with Store(path) as store:
        number = store.begin("key", "net", "digest", "cpu-1t", "hardware")
        assert number
        store.add_graph("digest", network(1, 4).to_json())
        store.lower_baseline("machine", Baseline({"anchor": 1.0}))
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA journal_mode = DELETE")
    return path.read_bytes()


def _read_store(path: Path) -> None:
    with Store(path) as store:
        store.measurements()
        store.results()
        store.last_comparison()
        store.latest("key")
        store.baseline_ns("machine")
        store.graph("digest")


# -- all -----------------------------------------------------------------------------------------------


def every(folder: Path) -> list[Kind]:
    """All kinds; their valid files are made in the folder."""
    files = _dataset(folder)
    json_changes = (mutation.of_json, mutation.of_json, mutation.of_bytes)
    mixed = _rows(("Conv", _SHAPE | {"kernel": 3, "stride": 1}), ("Logits", {"cin": 4, "cout": 8}))
    tables = {
        "csv": ([staircase()], None, ()),
        "proxyless-yaml": ([mixed], None, ()),
        "ofa-yaml": ([mixed], None, ()),
        "fbnet-json": ([_rows(("conv", _FBNET))], None, (mutation.of_json,)),
        "halp": ([_rows(("Conv", _HALP))], None, ()),
        "haq": ([_rows(*(("layer", {"layer": 0, "weight_bits": b, "activation_bits": 1}) for b in (1, 2)))], "ns",
                (mutation.of_npy,)),
        "netadapt": ([_rows(("Conv2d", {"layer": "conv1", "cin": 4, "cout": 8, "kernel": "(3, 3)"}))], None, ()),
        "nni": ([_rows(("conv", _NNI))], "ms", ()),
    }  # fmt: skip
    model_change = mutation.of_message(ModelProto)
    return [
        Kind("net.onnx", _models(), (model_change, model_change, model_change, mutation.of_bytes), _load),
        Kind(
            "predictor.hwp",
            [p.read_bytes() for p in sorted(STORED.glob("*.hwp"))],
            (mutation.of_zip(mutation.of_predictor_member), mutation.of_zip(mutation.of_predictor_member),
             mutation.of_bytes),
            _predict,
        ),
        Kind("table.json", _own(".json", folder), json_changes, LatencyTable.load),
        Kind("table.parquet", _own(".parquet", folder), (_parquet, mutation.of_bytes), LatencyTable.load),
        *(
            Kind(f"table.{name}", _foreign(name, table[0], folder), (*changes, mutation.of_bytes),
                 _read_foreign(name, unit))
            for name, (table, unit, changes) in tables.items()
        ),
        Kind("dataset.toml", [files[dataset.CARD]], (_toml, mutation.of_bytes), _read_dataset(files, dataset.CARD)),
        Kind("graphs.jsonl", [files[dataset.GRAPHS]], (_lines, mutation.of_bytes),
             _read_dataset(files, dataset.GRAPHS)),
        Kind("measurements.parquet", [files[dataset.MEASUREMENTS]], (_parquet, mutation.of_bytes),
             _read_dataset(files, dataset.MEASUREMENTS)),
        Kind("rows.csv", [b"arch,lat\nab,1.5\ncd,2\n"], (mutation.of_bytes,), _import),
        Kind("rows.jsonl", [b'{"arch": "ab", "lat": 1.5}\n{"arch": "cd", "lat": 2}\n'], (_lines, mutation.of_bytes),
             _import),
        Kind("device.toml", [p.read_bytes() for p in sorted(DEVICES.glob("*.toml"))[:8]], (_toml, mutation.of_bytes),
             Device.load),
        Kind("store.db", [_store(folder)], (mutation.of_bytes,), _read_store),
    ]  # fmt: skip
