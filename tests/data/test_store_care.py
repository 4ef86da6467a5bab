import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from hwprof.data.store import Store
from hwprof.data.store_care import check, merge
from hwprof.errors import InputError
from hwprof.graph import Graph
from hwprof.measurement.estimate import Baseline, Clock
from tests.results import make_result
from tests.samples import make_measurement, make_process


def filled(path: Path, *keys: str, level_ns: float = 1e6, graph: Graph | None = None) -> Path:
    """A store with a finished measurement of one process for each key."""
    with Store(path) as store:
        for key in keys:
            number = store.begin(key, key, "digest", "d", "hw")
            store.add_process(number, make_process(0, [level_ns]))
            store.finish(number, make_measurement([make_process(0, [level_ns])], model=key))
            store.release([number])
        if graph is not None:
            store.add_graph(graph.digest, graph.to_json())
    return path


def changed(path: Path, *statements: str) -> Path:
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        for statement in statements:
            db.execute(statement)
    return path


def test_a_sound_store_has_no_damage(tmp_path: Path, tiny_graph: Graph):
    path = filled(tmp_path / "s.db", "a", "b", graph=tiny_graph)
    with Store(path) as store:
        store.begin("c", "c", "digest", "d", "hw")
        store.add_comparison([1, 2], 0.02)
    found = check(path)
    assert (found.measurements, found.unfinished, found.processes) == (2, 1, 2)
    assert (found.comparisons, found.graphs, found.damage) == (1, 1, ())


@pytest.mark.parametrize(
    ("statement", "told"),
    [
        ("UPDATE process SET record = '5', crc32 = NULL WHERE measurement = 2", "round 0 of measurement 2: "),
        ("UPDATE measurement SET status = 'budget' WHERE id = 1", "measurement 1 is 'budget' and 'converged'"),
        ("UPDATE measurement SET record = NULL WHERE id = 1", "measurement 1 is missing"),
        ("DELETE FROM measurement WHERE id = 1", "1 rows of the table 'process' belong to no measurement"),
        ("INSERT INTO comparison (measurements, margin) VALUES ('[1, 9]', 0.1)", "measurement 9 is missing"),
        ("INSERT INTO comparison (measurements, margin) VALUES ('x', 0.1)", "comparison 1: Expecting value"),
        ("UPDATE result SET record = '{}'", "result 1: "),
        ("UPDATE graph SET record = replace(record, 'Relu', 'Tanh')", "is not as it was written"),
        ("UPDATE graph SET record = 'x'", "graph "),
    ],
)
def test_whatever_cannot_be_read_is_a_line(tmp_path: Path, tiny_graph: Graph, statement: str, told: str):
    path = filled(tmp_path / "s.db", "a", "b", graph=tiny_graph)
    with Store(path) as store:
        store.add_result(make_result())
    changed(path, statement)
    (line,) = check(path).damage
    assert told in line
    assert "\n" not in line


def test_a_store_that_is_not_there_is_not_made(tmp_path: Path):
    for work in (lambda: check(tmp_path / "none.db"), lambda: merge([tmp_path / "none.db"], tmp_path / "out.db")):
        with pytest.raises(InputError, match="there is no store"):
            work()
    assert list(tmp_path.iterdir()) == []


def test_a_merged_store_holds_each_measurement_of_both_once(tmp_path: Path, tiny_graph: Graph):
    a = filled(tmp_path / "a.db", "x", "both", graph=tiny_graph)
    (tmp_path / "b.db").write_bytes(a.read_bytes())
    b = filled(tmp_path / "b.db", "y")
    with Store(b) as store:
        store.lower_baseline("machine", Baseline({"compute": 7.0}, {"compute": 6.0}, is_quiet=True))
        store.add_comparison([2, 3], 0.05)
        store.add_result(make_result())
        store.add_score("key", (1, 2), 0.5)
    merged = merge([a, b], tmp_path / "out.db")
    assert (merged.measurements, merged.repeated, merged.damage) == (3, 2, ())
    assert check(tmp_path / "out.db").damage == ()
    with Store(tmp_path / "out.db") as store:
        assert sorted(m.model for m in store.measurements()) == ["both", "x", "y"]
        assert all(len(m.processes) == 1 for m in store.measurements())
        found, margin = store.last_comparison()
        assert ([m.model for m in found], margin) == (["both", "y"], 0.05)
        assert store.results() == [make_result()]
        assert store.scores("key") == {(1, 2): 0.5}
        assert store.baseline_ns("machine") == {"compute": 7.0}
        assert store.baseline_ns("machine", Clock.CPU) == {"compute": 6.0}
        assert store.quiet_anchors("machine") == {"compute"}
        assert store.graph(tiny_graph.digest) == tiny_graph.to_json()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.db", "b.db", "out.db"]


def test_the_later_of_two_measurements_is_the_last_whatever_the_order_of_the_stores(tmp_path: Path):
    old = changed(
        filled(tmp_path / "old.db", "x", level_ns=1e6), "UPDATE measurement SET created = '2020-01-01 00:00:00'"
    )
    new = filled(tmp_path / "new.db", "x", level_ns=2e6)
    for place, order in enumerate(([old, new], [new, old])):
        merge(order, tmp_path / f"{place}.db")
        with Store(tmp_path / f"{place}.db") as store:
            (only,) = store.measurements()
            assert only.latency_ms == 2


def test_an_unfinished_measurement_goes_on_in_the_merged_store(tmp_path: Path):
    with Store(tmp_path / "a.db") as store:
        store.add_process(store.begin("key", "m", "digest", "d", "hw"), make_process(0, [1e6]))
        merge([tmp_path / "a.db"], tmp_path / "out.db")
    with Store(tmp_path / "out.db") as store:
        assert store.processes(store.begin("key", "m", "digest", "d", "hw")) == [make_process(0, [1e6])]


def test_what_is_damaged_is_left_out_and_told(tmp_path: Path):
    path = filled(tmp_path / "a.db", "x", "y")
    with Store(path) as store:
        store.add_comparison([1, 2], 0.02)
    changed(path, "UPDATE process SET record = '5' WHERE measurement = 1")
    merged = merge([path], tmp_path / "out.db")
    assert merged.measurements == 1
    (line,) = merged.damage
    assert "round 0 of measurement 1" in line
    found = check(tmp_path / "out.db")
    assert (found.measurements, found.comparisons, found.damage) == (1, 0, ())


def test_a_file_that_exists_is_not_overwritten(tmp_path: Path):
    path = filled(tmp_path / "a.db", "x")
    with pytest.raises(InputError, match="exists; give the name of a new file"):
        merge([path], path)
