import json
import os
import signal
import sqlite3
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import asdict
from pathlib import Path

import pytest

from hwprof.data.store import Store, key_of, opened
from hwprof.errors import EnvironmentUnfitError, InputError
from hwprof.measurement.estimate import Baseline, Clock
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
        store.lower_baseline("machine", Baseline({"compute": 100.0}, {"compute": 90.0}))
        store.lower_baseline("machine", Baseline({"compute": 120.0, "copy": 7.0}, {"compute": 80.0}, is_quiet=True))
        assert store.baseline_ns("machine") == {"compute": 100.0, "copy": 7.0}
        assert store.baseline_ns("machine", Clock.CPU) == {"compute": 80.0}
        assert store.baseline_ns("another") == {}


def test_the_store_remembers_which_anchors_ran_on_the_quiet_machine():
    with Store() as store:
        store.lower_baseline("machine", Baseline({"compute": 100.0}, is_quiet=True))
        store.lower_baseline("machine", Baseline({"copy": 7.0}, is_quiet=False))
        assert store.quiet_anchors("machine") == {"compute"}
        assert store.quiet_anchors("another") == set()


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
        store._db.execute("INSERT INTO process (measurement, round, record) VALUES ('one', 'two', 3)")


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
        assert store.baseline_ns("machine", Clock.CPU) == {}
        assert store.quiet_anchors("machine") == set()
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


# -- several runs on one store ---------------------------------------------------------------------------

BEGIN = ("key", "m", "digest", "d", "hw")


def test_two_runs_never_work_on_the_same_measurement(tmp_path: Path):
    with Store(tmp_path / "s.db") as first, Store(tmp_path / "s.db") as second:
        a, b = first.begin(*BEGIN), second.begin(*BEGIN)
        assert a != b
        assert (first.begin(*BEGIN), second.begin(*BEGIN)) == (a, b)
        first.add_process(a, make_process(0, [1e6]))
        second.add_process(b, make_process(0, [2e6]))
        for number, store, median in ((a, first, 1e6), (b, second, 2e6)):
            (process,) = store.processes(number)
            assert process.blocks[0].samples_ns == (median,)
            store.finish(number, make_measurement([process]))


def test_samples_are_never_overwritten(tmp_path: Path):
    with Store(tmp_path / "s.db") as first, Store(tmp_path / "s.db") as second:
        number = first.begin(*BEGIN)
        first.add_process(number, make_process(0, [1e6]))
        with pytest.raises(EnvironmentUnfitError, match="another run"):
            second.add_process(number, make_process(1, [2e6]))
        with pytest.raises(EnvironmentUnfitError, match="UNIQUE"):
            first.add_process(number, make_process(0, [2e6]))
        assert second.processes(number) == [make_process(0, [1e6])]


def test_what_a_killed_run_has_begun_the_next_goes_on_with_and_that_of_a_living_one_it_does_not(tmp_path: Path):
    program = f"""
import sys
from hwprof.data.store import Store
with Store({str(tmp_path / "s.db")!r}) as store:
    print(store.begin(*{BEGIN}), flush=True)
    sys.stdin.readline()
"""
    run = subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    with run, Store(tmp_path / "s.db") as store:
        begun = int(run.stdout.readline())
        run.send_signal(signal.SIGSTOP)
        assert store.begin(*BEGIN) == begun + 1
        run.kill()
    assert [p.name for p in tmp_path.iterdir() if "-run-" in p.name]
    with Store(tmp_path / "s.db") as store:
        assert store.begin(*BEGIN) == begun + 1
        store.finish(begun + 1, make_measurement([]))
        store.release([begun + 1])
        assert store.begin(*BEGIN) == begun
    assert [p.name for p in tmp_path.iterdir()] == ["s.db"]


def test_a_run_sees_another_under_every_path_of_the_store(tmp_path: Path):
    (tmp_path / "link.db").symlink_to(tmp_path / "s.db")
    with Store(tmp_path / "s.db") as first, Store(os.path.relpath(tmp_path / "link.db")) as second:
        assert first.begin(*BEGIN) != second.begin(*BEGIN)


def test_only_what_a_run_left_before_its_job_was_done_can_be_taken_over(tmp_path: Path):
    with Store(tmp_path / "s.db") as store:
        left, done = store.begin(*BEGIN), store.begin("another", *BEGIN[1:])
        for number in (left, done):
            store.finish(number, make_measurement([]))
        store.release([done])
        with Store(tmp_path / "s.db") as other:
            assert not other.take_over(left)  # the run that made it lives
    with Store(tmp_path / "s.db") as store:
        assert store.take_over(left)
        assert not store.take_over(done)


def test_many_runs_may_open_a_new_store_at_once(tmp_path: Path):
    def begin(_: int) -> int:
        with Store(tmp_path / "s.db") as store:
            return store.begin("key", "m", "digest", "d", "hw", fresh=True)

    with ThreadPoolExecutor(8) as pool:
        assert sorted(pool.map(begin, range(16))) == list(range(1, 17))


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    with Store(tmp_path / "s.db") as store:
        monkeypatch.setattr("hwprof.data.store.new_locked_file", refuse)
        with pytest.raises(EnvironmentUnfitError, match=r"cannot use the store .*: Permission denied"):
            store.begin(*BEGIN)


# -- whose file it is, and whether it is whole -------------------------------------------------------------


@pytest.mark.parametrize("application_id", [0, 0x0F055112])
@pytest.mark.parametrize("table", ["moz_places", "measurement"])
def test_another_programs_database_is_refused_and_not_touched(tmp_path: Path, table: str, application_id: int):
    with closing(sqlite3.connect(tmp_path / "s.db")) as db:
        db.execute(f"CREATE TABLE {table} (url TEXT)")
        db.execute(f"PRAGMA application_id = {application_id}")
        db.execute("PRAGMA user_version = 1")
    before = (tmp_path / "s.db").read_bytes()
    with pytest.raises(InputError, match="is another program's database") as raised:
        Store(tmp_path / "s.db")
    assert str(tmp_path / "s.db") in str(raised.value)
    assert (tmp_path / "s.db").read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["s.db"]


def test_an_interrupted_measurement_of_the_first_format_goes_on(tmp_path: Path):
    process, done = make_process(0, [1e6]), make_measurement([make_process(0, [1e6])])
    with closing(sqlite3.connect(tmp_path / "s.db", isolation_level=None)) as db:
        db.executescript(FORMAT_1)
        insert = "INSERT INTO measurement (key, model, digest, device, hardware, is_compared, status, record) VALUES"
        db.execute(f"{insert} ('done', 'm', 'digest', 'd', 'hw', 0, 'converged', ?)",
                   [json.dumps(done.to_record(with_processes=False))])  # fmt: skip
        db.execute(f"{insert} ('key', 'm', 'digest', 'd', 'hw', 0, NULL, NULL)")
        for number in (1, 2):
            db.execute("INSERT INTO process VALUES (?, 0, ?)", [number, json.dumps(asdict(process))])
    for _ in range(2):
        with Store(tmp_path / "s.db") as store:
            assert store.measurements() == [done]
            assert store.begin(*BEGIN) == 2
            assert store.processes(2) == [process]


def damage(path: Path, change: str) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute(change)


@pytest.fixture
def finished(tmp_path: Path) -> Path:
    """A store with a finished measurement of one process."""
    with Store(tmp_path / "s.db") as store:
        number = store.begin(*BEGIN)
        store.add_process(number, make_process(0, [1e6]))
        store.finish(number, make_measurement([make_process(0, [1e6])]))
        store.release([number])
    return tmp_path / "s.db"


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ("UPDATE measurement SET record = 'no JSON', crc32 = NULL", "measurement 1: Expecting value"),
        ("UPDATE measurement SET record = '[]', crc32 = NULL", "measurement 1: "),
        ("UPDATE measurement SET record = '{}', crc32 = NULL", "measurement 1: not a measurement record"),
        ("UPDATE measurement SET record = CAST(x'7bff7d' AS TEXT), crc32 = NULL", "decode"),
        ("UPDATE process SET record = 'no JSON', crc32 = NULL", "round 0 of measurement 1: Expecting value"),
        ("UPDATE process SET record = '{}', crc32 = NULL", "round 0 of measurement 1: 'blocks' is missing"),
        (
            "UPDATE process SET record = replace(record, '1000000', '2000000')",
            "round 0 .*: it is not as it was written",
        ),
        ("UPDATE measurement SET record = replace(record, 'converged', 'budget')", "it is not as it was written"),
    ],
)
def test_a_record_that_is_not_as_it_was_written_is_one_line(finished: Path, change: str, told: str):
    damage(finished, change)
    with Store(finished) as store, pytest.raises(InputError, match=told) as raised:
        store.latest("key")
    assert str(raised.value).startswith(f"store {str(finished)!r} is damaged: ")
    assert "\n" not in str(raised.value)


def test_a_damaged_page_is_one_line_that_names_the_store(finished: Path):
    content = bytearray(finished.read_bytes())
    content[4096:] = os.urandom(len(content) - 4096)
    finished.write_bytes(content)
    with pytest.raises(InputError, match=f"store '{finished}' is damaged: "), Store(finished) as store:
        store.measurements()


@pytest.mark.parametrize("changed", [b"CREATE TABLE\x81\xcfmeasurement", b"CREATE\nTABLE\nmea,surement"])
def test_a_damaged_schema_is_one_line_even_if_it_is_no_text(finished: Path, changed: bytes):
    finished.write_bytes(finished.read_bytes().replace(b"CREATE TABLE measurement", changed[:24].ljust(24), 1))
    with pytest.raises(InputError, match=f"store '{finished}' is damaged: ") as raised, Store(finished):
        pass
    assert "\n" not in str(raised.value)
