import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hwprof.data.dataset import Card
from hwprof.data.foreign import import_file
from hwprof.errors import InputError
from hwprof.spaces.nasbench201 import NasBench201

CARD = Card("foreign", "pixel", space="tiny", source="a paper", licence="MIT")
SHARED = next((p / "shared" / "data" for p in Path(__file__).parents if (p / "shared" / "data").is_dir()), None)
OPERATIONS = ["skip", "conv", "pool"]


def parse(text):
    for name in text.split("|"):
        if name not in OPERATIONS:
            raise InputError(f"unknown operation {name!r}")
    return tuple(OPERATIONS.index(name) for name in text.split("|"))


def imported(tmp_path, content, suffix=".csv", **changes):
    path = tmp_path / f"data{suffix}"
    path.write_text(content)
    arguments = {"parse": parse, "arch_columns": ["arch"], "latency_column": "lat", "unit": "ms", **changes}
    return import_file(path, tmp_path / "out", CARD, **arguments)


def test_every_bad_row_is_refused_with_its_number_and_the_rest_is_taken(tmp_path):
    content = "arch,lat\n" + "\n".join(
        [
            "skip,1.0",
            "conv,0",
            "conv,-1",
            "conv,nan",
            "conv,",
            "conv,fast",
            "fly,1.0",
            "pool,2.0",
            "pool,2.5",
            "conv,3.0",
        ]
    )
    found = imported(tmp_path, content)
    assert [r.row for r in found.refused] == [2, 3, 4, 5, 6, 7, 8, 9]
    assert found.refused[5].reason == "unknown operation 'fly'"
    assert found.refused[6].reason == "rows 8, 9 give one network 2 to 2.5 ms"
    assert dict(zip(found.dataset.archs, found.dataset.latency_ms, strict=True)) == {(0,): 1.0, (1,): 3.0}


def test_a_row_that_only_repeats_is_counted_and_taken_once(tmp_path):
    found = imported(tmp_path, "arch,lat\nskip,1.0\nskip,1.0\n")
    assert (found.repeated, found.refused, found.dataset.card.rows) == (1, (), 1)


def test_the_unit_is_converted_and_the_source_is_kept(tmp_path):
    found = imported(tmp_path, "arch,lat\nskip,1500\n", unit="us")
    assert found.dataset.latency_ms.tolist() == [1.5]
    card = found.dataset.card
    assert (card.source, card.licence, card.evidence) == ("a paper", "MIT", "imported")


def test_json_lines_with_structured_columns_are_read(tmp_path):
    lines = "\n".join(json.dumps({"ks": [3, k], "r": 224, "lat": k}) for k in (3, 5))
    found = imported(
        tmp_path, lines, ".jsonl", parse=lambda ks, r: (*(k // 2 for k in ks), r // 224), arch_columns=["ks", "r"]
    )
    assert found.dataset.archs == [(1, 1, 1), (1, 2, 1)]


def test_an_unknown_column_is_refused_with_the_known_ones(tmp_path):
    with pytest.raises(InputError, match="no column 'arch'; known: cell, lat"):
        imported(tmp_path, "cell,lat\nskip,1\n")


def test_a_file_of_bad_rows_only_is_refused(tmp_path):
    with pytest.raises(InputError, match="no row can be imported, 1 were refused; row 1: latency '-1'"):
        imported(tmp_path, "arch,lat\nskip,-1\n")


def test_data_without_source_and_licence_is_refused(tmp_path):
    with pytest.raises(InputError, match="source and a licence"):
        import_file(tmp_path / "x.csv", tmp_path / "out", Card("x", "d"), parse, ["arch"], "lat", "ms")


@pytest.mark.parametrize("name", ["data.xlsx", "missing.csv", "text.parquet", "text.jsonl"])
def test_a_file_that_cannot_be_read_is_refused_with_its_name(tmp_path, name):
    if name.startswith("text"):
        (tmp_path / name).write_text("no data")
    with pytest.raises(InputError, match=name):
        import_file(tmp_path / name, tmp_path / "out", CARD, parse, ["arch"], "lat", "ms")


@pytest.mark.skipif(SHARED is None, reason="needs the shared folder of other people's measurements")
def test_a_published_device_of_nas_bench_201_is_imported(tmp_path):
    table = pq.read_table(SHARED / "nb201_latency_ms.parquet", columns=["arch", "raspi4"]).slice(0, 500)
    pq.write_table(pa.table(table), tmp_path / "part.parquet")
    card = Card("raspi4", "raspi4", space="nasbench201", source="HW-NAS-Bench", licence="MIT")
    space = NasBench201()
    found = import_file(tmp_path / "part.parquet", tmp_path / "out", card, space.parse, ["arch"], "raspi4", "ms")
    assert len(found.dataset.entries) == 500
    assert [space.format(arch) for arch in found.dataset.archs] == table.column("arch").to_pylist()
