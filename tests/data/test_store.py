import json
import sqlite3
import stat
from pathlib import Path

import pytest

from hwprof.data.store import Store, key_of, opened
from hwprof.errors import EnvironmentUnfitError, InputError
from tests.results import make_result
from tests.samples import make_measurement, make_process


def test_processes_come_back_as_they_were(tmp_path: Path):
    process = make_process(0, [1e6, 2e6])
    with Store(tmp_path / "s.db") as store:
        number = store.begin("key", "m", "digest", "d", "hw")
        store.add_process(number, process)
    with Store(tmp_path / "s.db") as store:
        assert store.begin("key", "m", "digest", "d", "hw") == number
        assert store.processes(number) == [process]


def test_a_finished_measurement_is_found_with_its_samples(tmp_path: Path):
    measurement = make_measurement([make_process(0, [1e6]), make_process(1, [2e6])])
    with Store(tmp_path / "s.db") as store:
        number = store.begin("key", "m", "digest", "d", "hw")
        for process in measurement.processes:
            store.add_process(number, process)
        assert store.latest("key") is None
        store.finish(number, measurement)
        found = store.latest("key")
    assert found is not None
    assert found[1].to_record() == measurement.to_record()


def test_a_finished_measurement_is_not_opened_again():
    with Store() as store:
        number = store.begin("key", "m", "digest", "d", "hw")
        store.finish(number, make_measurement([make_process(0, [1e6])]))
        assert store.begin("key", "m", "digest", "d", "hw") != number


def test_measurements_gives_the_last_of_each_key():
    with Store() as store:
        for level in (1e6, 2e6):
            number = store.begin("key", "m", "digest", "d", "hw")
            store.add_process(number, make_process(0, [level]))
            store.finish(number, make_measurement([make_process(0, [level])]))
        (only,) = store.measurements()
    assert only.latency_ms == 2


def test_the_baseline_only_falls():
    with Store() as store:
        store.lower_baseline("machine", {"compute": 100.0})
        store.lower_baseline("machine", {"compute": 120.0, "copy": 7.0})
        assert store.baseline_ns("machine") == {"compute": 100.0, "copy": 7.0}
        assert store.baseline_ns("another") == {}


def test_a_foreign_file_is_refused_in_one_line(tmp_path: Path):
    (tmp_path / "s.db").write_text("this is no database, but a text of some length " * 50)
    with pytest.raises(InputError, match="is not a hwprof store"):
        Store(tmp_path / "s.db")


def test_a_newer_store_is_refused(tmp_path: Path):
    with sqlite3.connect(tmp_path / "s.db") as db:
        db.execute("PRAGMA user_version = 99")
    db.close()
    with pytest.raises(InputError, match="newer hwprof"):
        Store(tmp_path / "s.db")


def test_a_folder_that_is_not_there_is_an_unfit_environment(tmp_path: Path):
    with pytest.raises(EnvironmentUnfitError, match="cannot use the store"):
        Store(tmp_path / "missing" / "s.db")


def test_a_full_disk_is_told_and_loses_nothing_that_was_committed(tmp_path: Path):
    with Store(tmp_path / "s.db") as store:
        number = store.begin("key", "m", "digest", "d", "hw")
        store.add_process(number, make_process(0, [1e6]))
        pages = store._db.execute("PRAGMA page_count").fetchone()[0]
        store._db.execute(f"PRAGMA max_page_count = {pages}")  # as full as a disk can be
        with pytest.raises(EnvironmentUnfitError, match="full"):
            store.add_process(number, make_process(1, [1e6] * 100_000))
        assert len(store.processes(number)) == 1


def test_tables_are_strict(tmp_path: Path):
    with Store(tmp_path / "s.db") as store, pytest.raises(sqlite3.IntegrityError):
        store._db.execute("INSERT INTO process VALUES ('one', 'two', 3)")


def test_the_key_depends_on_values_and_not_on_their_order():
    assert key_of({"a": 1, "b": 2}) == key_of(json.loads('{"b": 2, "a": 1}'))
    assert key_of({"a": 1}) != key_of({"a": 2})


def test_nothing_but_the_store_is_written(tmp_path: Path):
    with Store(tmp_path / "s.db") as store:
        store.begin("key", "m", "digest", "d", "hw")
    assert [p.name for p in tmp_path.iterdir()] == ["s.db"]
    assert stat.S_ISREG((tmp_path / "s.db").stat().st_mode)


def test_fresh_opens_a_measurement_of_its_own():
    with Store() as store:
        first = store.begin("key", "m", "digest", "d", "hw")
        assert store.begin("key", "m", "digest", "d", "hw", fresh=True) != first


def test_a_comparison_is_kept_in_its_order_with_its_margin_and_is_no_profile():
    with Store() as store:
        assert store.last_comparison() is None
        numbers = [store.begin(name, name, "digest", "d", "hw", is_compared=True) for name in "ab"]
        for number, name in zip(numbers, "ab", strict=True):
            store.add_process(number, make_process(0, [1e6]))
            store.finish(number, make_measurement([make_process(0, [1e6])], model=name))
        store.add_comparison(numbers[::-1], 0.05)
        found, margin = store.last_comparison()
        assert [m.model for m in found] == ["b", "a"]
        assert margin == 0.05
        assert store.measurements() == []


def test_finishing_drops_processes_that_are_not_part_of_the_result():
    with Store() as store:
        number = store.begin("key", "m", "digest", "d", "hw")
        for i in range(3):
            store.add_process(number, make_process(i, [1e6]))
        store.finish(number, make_measurement([make_process(0, [1e6]), make_process(1, [1e6])]))
        assert [p.round for p in store.processes(number)] == [0, 1]


FORMAT_1 = """
CREATE TABLE measurement (
    id INTEGER PRIMARY KEY, key TEXT NOT NULL, model TEXT NOT NULL, digest TEXT NOT NULL, device TEXT NOT NULL,
    hardware TEXT NOT NULL, is_compared INTEGER NOT NULL, created TEXT NOT NULL DEFAULT (datetime('now')),
    status TEXT, record TEXT) STRICT;
CREATE TABLE process (
    measurement INTEGER NOT NULL REFERENCES measurement (id) ON DELETE CASCADE,
    round INTEGER NOT NULL, record TEXT NOT NULL, PRIMARY KEY (measurement, round)) STRICT;
CREATE TABLE comparison (id INTEGER PRIMARY KEY, measurements TEXT NOT NULL, margin REAL NOT NULL) STRICT;
CREATE TABLE baseline (
    machine TEXT NOT NULL, anchor TEXT NOT NULL, ns REAL NOT NULL, PRIMARY KEY (machine, anchor)) STRICT;
CREATE TABLE graph (digest TEXT PRIMARY KEY, record TEXT NOT NULL) STRICT;
PRAGMA user_version = 1;
"""


def test_a_store_of_the_first_format_keeps_what_it_holds_and_takes_results(tmp_path: Path):
    db = sqlite3.connect(tmp_path / "s.db", isolation_level=None)
    db.executescript(FORMAT_1)
    db.execute("INSERT INTO baseline VALUES ('machine', 'compute', 100.0)")
    db.close()
    with Store(tmp_path / "s.db") as store:
        assert store.baseline_ns("machine") == {"compute": 100.0}
        assert store.results() == []
        store.add_result(make_result())
    with Store(tmp_path / "s.db") as store:
        assert store.results() == [make_result()]


def test_a_finished_result_is_found_by_its_key(tmp_path: Path):
    result = make_result()
    with Store(tmp_path / "s.db") as store:
        assert store.result(result.key) is None
        store.add_result(result)
    with Store(tmp_path / "s.db") as store:
        assert store.result(result.key) == result
        assert store.result(make_result(seed=1).key) is None


def test_a_result_replaces_the_one_of_its_key_and_keeps_its_place():
    with Store() as store:
        for result in (make_result(5.0), make_result(seed=1), make_result(7.0)):
            store.add_result(result)
        assert store.results() == [make_result(7.0), make_result(seed=1)]


def test_the_order_of_settings_does_not_make_another_key():
    with Store() as store:
        store.add_result(make_result(settings={"keep": 0.5, "epochs": 3}))
        assert store.result(make_result(settings={"epochs": 3, "keep": 0.5}).key) is not None


def test_a_store_that_was_opened_elsewhere_stays_open(tmp_path: Path):
    with Store() as store:
        with opened(store) as same:
            assert same is store
        assert store.results() == []
    with opened(tmp_path / "s.db") as own:
        own.add_result(make_result())
    with pytest.raises(EnvironmentUnfitError, match="closed database"):
        own.results()
