"""The working store: one SQLite file that keeps every finished process of every measurement, every score of a search
and every result.

The samples of a process are committed as soon as they are complete. A job that is killed at any moment loses none of
them, and the same job continues from there when it is started again. A search or compression that has its result in
the store is not computed again, and an architecture that has its score there is not trained again.

Several runs may share a store. Each has a name of its own, which is that of a file next to the store that the kernel
keeps locked while the run lives (`hwprof.files.lock`); a measurement holds the name of the run that works on it until
the run's job is done. So no two runs add to one measurement, also from two containers that see the same folder, and the
measurements that a killed run leaves are recognized by its name, which nobody holds any more.
"""

from __future__ import annotations

import glob
import hashlib
import json
import os
import platform
import sqlite3
import zlib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from time import sleep
from typing import Any, Self, TypeVar

from hwprof.data.result import Result, ResultKey
from hwprof.errors import EnvironmentUnfitError, InputError, one_line
from hwprof.files import new_locked_file, remove_unlocked
from hwprof.interfaces import Arch
from hwprof.measurement import Measurement, Process, process_from_record
from hwprof.measurement.estimate import Baseline, Clock

T = TypeVar("T")

DEFAULT_PATH = Path("hwprof.db")
_APPLICATION_ID = 0x68777066  # "hwpf", in bytes 68 to 71 of the file
_LOCKED_S = 20  # to wait for another run's commit
_MEASUREMENTS = """
CREATE TABLE IF NOT EXISTS measurement (
    id INTEGER PRIMARY KEY, key TEXT NOT NULL, model TEXT NOT NULL, digest TEXT NOT NULL, device TEXT NOT NULL,
    hardware TEXT NOT NULL, is_compared INTEGER NOT NULL, created TEXT NOT NULL DEFAULT (datetime('now')),
    status TEXT, record TEXT) STRICT;
CREATE INDEX IF NOT EXISTS measurement_key ON measurement (key);
CREATE TABLE IF NOT EXISTS process (
    measurement INTEGER NOT NULL REFERENCES measurement (id) ON DELETE CASCADE,
    round INTEGER NOT NULL, record TEXT NOT NULL, PRIMARY KEY (measurement, round)) STRICT;
CREATE TABLE IF NOT EXISTS comparison (
    id INTEGER PRIMARY KEY, measurements TEXT NOT NULL, margin REAL NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS baseline (
    machine TEXT NOT NULL, anchor TEXT NOT NULL, ns REAL NOT NULL, PRIMARY KEY (machine, anchor)) STRICT;
CREATE TABLE IF NOT EXISTS graph (digest TEXT PRIMARY KEY, record TEXT NOT NULL) STRICT;
"""
_RESULTS = """
CREATE TABLE IF NOT EXISTS result (
    id INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE, method TEXT NOT NULL, model TEXT NOT NULL, task TEXT NOT NULL,
    seed INTEGER NOT NULL, device TEXT NOT NULL, target_ms REAL, met TEXT, digest TEXT NOT NULL,
    created TEXT NOT NULL DEFAULT (datetime('now')), record TEXT NOT NULL) STRICT;
"""
_SCORES = """
CREATE TABLE IF NOT EXISTS score (
    key TEXT NOT NULL, arch TEXT NOT NULL, score REAL NOT NULL, created TEXT NOT NULL DEFAULT (datetime('now')),
    PRIMARY KEY (key, arch)) STRICT;
"""
# The run that works on a measurement, and the checksum of each record (none of an older one).
_RUNS = f"""
ALTER TABLE measurement ADD COLUMN run TEXT;
ALTER TABLE measurement ADD COLUMN crc32 INTEGER;
ALTER TABLE process ADD COLUMN crc32 INTEGER;
PRAGMA application_id = {_APPLICATION_ID};
"""
# Anchors by two clocks, on a quiet machine or not. The older ones are by the wall clock; whether it was quiet then is
# not known.
_CLOCKS = """
ALTER TABLE baseline RENAME TO older_baseline;
CREATE TABLE baseline (
    machine TEXT NOT NULL, anchor TEXT NOT NULL, clock TEXT NOT NULL, is_quiet INTEGER NOT NULL, ns REAL NOT NULL,
    PRIMARY KEY (machine, anchor, clock, is_quiet)) STRICT;
INSERT INTO baseline SELECT machine, anchor, 'wall time', 0, ns FROM older_baseline;
DROP TABLE older_baseline;
"""
# The i-th turns a store of format i into one of format i + 1; 0 is empty. Before format 4 there is no application_id.
_MIGRATIONS = (_MEASUREMENTS, _RESULTS, _SCORES, _RUNS, _CLOCKS)
_TABLES = {"measurement", "process", "comparison", "baseline", "graph", "result", "score"}
_FIRST_COLUMNS = {"id", "key", "model", "digest", "device", "hardware", "is_compared", "created", "status", "record"}


class DamagedStoreError(InputError):
    """`how`: what cannot be read."""

    def __init__(self, path: str, how: str) -> None:
        self.how = one_line(how)  # SQLite quotes the schema
        super().__init__(
            f"store {path!r} is damaged: {self.how} (hwprof store check finds all, hwprof store merge saves the rest)"
        )


class Store:
    """A context manager over one file (":memory:" for none). A store of an older format is brought up to date.

    Every method raises EnvironmentUnfitError when the file cannot be written (full disk, no permission,
    locked by another program) and InputError when it is not a store, or damaged.
    """

    def __init__(self, path: Path | str = ":memory:") -> None:
        self.path = str(path)
        self._run = ""
        self._lock: int | None = None
        with self._errors():
            self._db = sqlite3.connect(self.path, timeout=_LOCKED_S, isolation_level=None)
        try:
            with self._errors():
                self._prepare()
        except BaseException:
            self._db.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        """Frees the measurements that this run has not released for the next one."""
        self._db.close()
        if self._run:
            self._run_file.unlink(missing_ok=True)
        if self._lock is not None:
            os.close(self._lock)
        self._run, self._lock = "", None

    def begin(
        self, key: str, model: str, digest: str, device: str, hardware: str,
        *, is_compared: bool = False, fresh: bool = False,
    ) -> int:  # fmt: skip
        """Opens a measurement or, unless `fresh`, the one of the same key on which a run worked that has ended before
        its job was done. Returns its number. No other run works on it until it is released.

        `is_compared`: it belongs to a comparison and is not a profile of its own.
        """
        run = self._my_run()
        with self.transaction():
            found = self.query(
                "SELECT id FROM measurement WHERE key = ? AND (status IS NULL OR run <> ?) ORDER BY id DESC", key, run
            )
            for (number,) in [] if fresh else found:
                if self._taken(number):
                    return int(number)
            cursor = self._db.execute(
                "INSERT INTO measurement (key, model, digest, device, hardware, is_compared, run) "
                "VALUES (?, ?, ?, ?, ?, ?, ?)",
                (key, model, digest, device, hardware, int(is_compared), run),
            )
            return int(cursor.lastrowid or 0)

    def take_over(self, measurement: int) -> bool:
        """Whether a run worked on the measurement and ended before its job was done; it is this run's now."""
        self._my_run()
        with self.transaction():
            ((run,),) = self.query("SELECT run FROM measurement WHERE id = ?", measurement)
            return run is not None and self._taken(measurement)

    def release(self, measurements: Collection[int]) -> None:
        """The job for which this run worked on the measurements is done."""
        with self.transaction():
            self._db.executemany(
                "UPDATE measurement SET run = NULL WHERE id = ? AND run = ?", [(m, self._run) for m in measurements]
            )

    def add_process(self, measurement: int, process: Process) -> None:
        """Raises EnvironmentUnfitError for a measurement on which another run works."""
        record = json.dumps(asdict(process))
        with self.transaction():
            if self.query("SELECT id FROM measurement WHERE id = ? AND run = ?", measurement, self._run) == []:
                raise EnvironmentUnfitError(
                    f"another run has taken measurement {measurement} of the store {self.path!r} over; "
                    "give each its own with --store, and merge them with hwprof store merge"
                )
            self._db.execute(
                "INSERT INTO process (measurement, round, record, crc32) VALUES (?, ?, ?, ?)",
                (measurement, process.round, record, crc32(record)),
            )

    def processes(self, measurement: int) -> list[Process]:
        """The processes of a measurement, in the order of their rounds."""
        return [
            self._read(f"round {number} of measurement {measurement}", record, checksum, process_from_record)
            for number, record, checksum in self.process_rows(measurement)
        ]

    def keep_processes(self, measurement: int, rounds: Collection[int]) -> None:
        """Removes the processes of all other rounds: halves of a group, left by a run that was killed between two."""
        with self._errors():
            self._db.execute(
                "DELETE FROM process WHERE measurement = ? AND round NOT IN (SELECT value FROM json_each(?))",
                (measurement, json.dumps([*rounds])),
            )

    def finish(self, measurement: int, result: Measurement) -> None:
        """Ends a measurement. A second call replaces the record (to add operator times, say). Processes that are
        not part of it go."""
        record = json.dumps(result.to_record(with_processes=False))
        with self.transaction():
            self.keep_processes(measurement, [p.round for p in result.processes])
            self._db.execute(
                "UPDATE measurement SET status = ?, record = ?, crc32 = ? WHERE id = ?",
                (str(result.status), record, crc32(record), measurement),
            )

    def latest(self, key: str) -> tuple[int, Measurement, str] | None:
        """The last finished measurement of the key: its number, itself, and when it was made (UTC)."""
        rows = self.query(
            "SELECT id, created FROM measurement WHERE key = ? AND status IS NOT NULL ORDER BY id DESC LIMIT 1", key
        )
        return next(((int(number), self.measurement(number), str(created)) for number, created in rows), None)

    def measurements(self) -> list[Measurement]:
        """The last finished profile of each key, oldest first."""
        rows = self.query(
            "SELECT max(id) FROM measurement WHERE status IS NOT NULL AND NOT is_compared GROUP BY key ORDER BY max(id)"
        )
        return [self.measurement(number) for (number,) in rows]

    def history(self, model: str) -> list[Measurement]:
        """Every finished profile of the model of this name, oldest first."""
        rows = self.query(
            "SELECT id FROM measurement WHERE status IS NOT NULL AND NOT is_compared AND model = ? ORDER BY id", model
        )
        return [self.measurement(number) for (number,) in rows]

    def measurement(self, number: int) -> Measurement:
        """A finished measurement."""
        rows = self.query("SELECT record, crc32 FROM measurement WHERE id = ? AND record IS NOT NULL", number)
        for record, checksum in rows:
            found = self._read(f"measurement {number}", record, checksum, Measurement.from_record)
            return found.with_processes(*self.processes(number))
        raise self._damaged(f"measurement {number} is missing")

    def add_comparison(self, measurements: Sequence[int], margin: float) -> None:
        """measurements: numbers of finished ones, made against the first of them."""
        with self._errors():
            self._db.execute(
                "INSERT INTO comparison (measurements, margin) VALUES (?, ?)", (json.dumps([*measurements]), margin)
            )

    def last_comparison(self) -> tuple[list[Measurement], float] | None:
        """The measurements of the last comparison, in its order, and its margin."""
        rows = self.query("SELECT id, measurements, margin FROM comparison ORDER BY id DESC LIMIT 1")
        for number, text, margin in rows:
            return [self.measurement(n) for n in self.compared(number, text)], float(margin)
        return None

    def compared(self, comparison: int, text: str) -> list[int]:
        """The numbers of the measurements that the text of a comparison holds."""
        return self._read(f"comparison {comparison}", text, None, lambda numbers: [int(n) for n in numbers])

    def add_result(self, result: Result) -> None:
        """Keeps the result, in place of an earlier one of the same key."""
        target = result.target
        row = (
            _result_key(result.key), result.method, result.model, result.task, result.seed, target.device, target.ms,
            result.met, result.digest, json.dumps(result.to_record(), allow_nan=False),
        )  # fmt: skip
        with self._errors():
            self._db.execute(
                "INSERT INTO result (key, method, model, task, seed, device, target_ms, met, digest, record) "
                "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (key) DO UPDATE SET met = excluded.met, "
                "digest = excluded.digest, created = datetime('now'), record = excluded.record",
                row,
            )

    def result(self, key: ResultKey) -> Result | None:
        """The finished result of the key, which need not be computed again; None where there is none."""
        rows = self.query("SELECT id, record FROM result WHERE key = ?", _result_key(key))
        return next((self.read_result(number, record) for number, record in rows), None)

    def results(self) -> list[Result]:
        """All results, in the order in which their keys were first added."""
        rows = self.query("SELECT id, record FROM result ORDER BY id")
        return [self.read_result(number, record) for number, record in rows]

    def read_result(self, number: int, record: str) -> Result:
        """The result that the record holds; `number` is for errors."""
        return self._read(f"result {number}", record, None, Result.from_record)

    def add_score(self, key: str, arch: Arch, score: float) -> None:
        """Keeps the score of an architecture. key: over everything else that decides it (`key_of`)."""
        with self._errors():
            self._db.execute(
                "INSERT OR REPLACE INTO score (key, arch, score) VALUES (?, ?, ?)", (key, json.dumps(arch), score)
            )

    def scores(self, key: str) -> dict[Arch, float]:
        """The scores of the key by architecture, which need not be taken again."""
        rows = self.query("SELECT arch, score FROM score WHERE key = ? ORDER BY rowid", key)
        return {self._read(f"a score of {key}", arch, None, tuple): float(score) for arch, score in rows}

    def add_graph(self, digest: str, record: str) -> None:
        with self._errors():
            self._db.execute("INSERT OR REPLACE INTO graph VALUES (?, ?)", (digest, record))

    def graph(self, digest: str) -> str | None:
        rows = self.query("SELECT record FROM graph WHERE digest = ?", digest)
        return next((str(record) for (record,) in rows), None)

    def baseline_ns(self, machine: str, clock: Clock = Clock.WALL) -> dict[str, float]:
        """The undisturbed time of one run of each anchor on a machine (hardware, device and versions together)."""
        rows = self.query(
            "SELECT anchor, min(ns) FROM baseline WHERE machine = ? AND clock = ? GROUP BY anchor", machine, clock.value
        )
        return {str(anchor): float(ns) for anchor, ns in rows}

    def baselines(self) -> list[tuple[str, Baseline]]:
        """All undisturbed times of anchors, each with its machine."""
        rows = self.query("SELECT machine, anchor, clock, is_quiet, ns FROM baseline")
        return [
            (
                str(machine),
                Baseline(
                    {str(anchor): float(ns)} if clock == Clock.WALL.value else {},
                    {str(anchor): float(ns)} if clock == Clock.CPU.value else {},
                    bool(is_quiet),
                ),
            )
            for machine, anchor, clock, is_quiet, ns in rows
        ]

    def quiet_anchors(self, machine: str) -> set[str]:
        """The anchors that were seen when the machine was quiet."""
        return {str(a) for (a,) in self.query("SELECT anchor FROM baseline WHERE machine = ? AND is_quiet", machine)}

    def lower_baseline(self, machine: str, seen: Baseline) -> None:
        """Keeps the smaller of the stored and the given times: nothing runs faster than undisturbed."""
        times = [(Clock.WALL.value, *item) for item in seen.wall_ns.items()]
        times += [(Clock.CPU.value, *item) for item in seen.cpu_ns.items()]
        with self._errors():
            self._db.executemany(
                "INSERT INTO baseline VALUES (?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET ns = min(ns, excluded.ns)",
                [(machine, anchor, clock, int(bool(seen.is_quiet)), ns) for clock, anchor, ns in times],
            )

    def row(self, measurement: int) -> tuple[Any, ...]:
        """A measurement as the table holds it, for `add_row` of another store."""
        (found,) = self.query(
            "SELECT key, model, digest, device, hardware, is_compared, created, status, record, crc32 "
            "FROM measurement WHERE id = ?", measurement,
        )  # fmt: skip
        return found

    def process_rows(self, measurement: int) -> list[tuple[Any, ...]]:
        """Round, record and checksum of its processes, in the order of their rounds."""
        return self.query("SELECT round, record, crc32 FROM process WHERE measurement = ? ORDER BY round", measurement)

    def add_row(self, row: tuple[Any, ...], process_rows: Sequence[tuple[Any, ...]]) -> int:
        """Copies a measurement that another store holds. Returns its number here."""
        with self._errors():
            cursor = self._db.execute(
                "INSERT INTO measurement "
                "(key, model, digest, device, hardware, is_compared, created, status, record, crc32) "
                "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", row,
            )  # fmt: skip
            self._db.executemany(
                "INSERT INTO process (measurement, round, record, crc32) VALUES (?, ?, ?, ?)",
                [(cursor.lastrowid, *process) for process in process_rows],
            )
        return int(cursor.lastrowid or 0)

    def query(self, sql: str, *values: object) -> list[tuple[Any, ...]]:
        """All rows of a question to the tables."""
        with self._errors():
            return self._db.execute(sql, values).fetchall()

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Everything in the context is kept, or nothing of it; no other run writes meanwhile."""
        with self._errors():
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield self._db
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise

    @property
    def identity(self) -> str:
        """A name by which others tell this store from all others: of its machine and file, or for one in memory its
        own."""
        if self.path in ("", ":memory:"):
            return f"memory {os.urandom(8).hex()}"
        return f"{platform.node()}:{os.path.realpath(self.path)}"

    # -- whose file it is ----------------------------------------------------------------------------------

    def _prepare(self) -> None:
        """Nothing is written into a file before it is known to be ours."""
        with self._snapshot():
            is_older = self._format() < len(_MIGRATIONS)
        if is_older:
            with self.transaction():
                for number, script in enumerate(_MIGRATIONS[self._format() :], self._format() + 1):
                    for statement in f"{script} PRAGMA user_version = {number}".split(";"):
                        self._db.execute(statement)
        self._log_ahead()
        self._db.execute("PRAGMA foreign_keys = ON")

    @contextmanager
    def _snapshot(self) -> Iterator[None]:
        """Every question in the context is answered from one state of the file: another run may be creating it."""
        with self._errors():
            self._db.execute("BEGIN")
            try:
                yield
            finally:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")

    def _format(self) -> int:
        """0 for a new file. Raises InputError for another program's database and for a newer format."""
        ((application,),), ((version,),) = self.query("PRAGMA application_id"), self.query("PRAGMA user_version")
        if application != _APPLICATION_ID and not (application == 0 and self._has_only_our_tables()):
            raise InputError(
                f"{self.path!r} is another program's database, not a hwprof store; nothing was changed in it: "
                "give another file with --store"
            )
        if version > len(_MIGRATIONS):
            raise InputError(
                f"store {self.path!r} was written by a newer hwprof (format {version}, this one reads up to "
                f"{len(_MIGRATIONS)}); upgrade hwprof or give another with --store"
            )
        return int(version)

    def _has_only_our_tables(self) -> bool:
        """Also where it has none yet."""
        names = [str(name) for (name,) in self.query("SELECT name FROM sqlite_master WHERE type = 'table'")]
        tables = {name for name in names if not name.startswith("sqlite_")}
        columns = {str(name) for _, name, *_ in self.query("PRAGMA table_info(measurement)")}
        return not tables or (tables <= _TABLES and columns == _FIRST_COLUMNS)

    def _log_ahead(self) -> None:
        """Readers and a writer do not wait for each other. SQLite itself does not wait when two switch at once."""
        for _ in range(10 * _LOCKED_S):
            try:
                self._db.execute("PRAGMA journal_mode = WAL")
                return
            except sqlite3.OperationalError as error:
                if "locked" not in str(error):
                    raise
            sleep(0.1)
        raise EnvironmentUnfitError(f"cannot use the store {self.path!r}: another program holds it")

    # -- runs ----------------------------------------------------------------------------------------------

    @property
    def _run_file(self) -> Path:
        return self._beside(self._run)

    def _beside(self, run: str) -> Path:
        return Path(f"{os.path.realpath(self.path)}-run-{run}")

    def _my_run(self) -> str:
        """The name of this run, which other runs see to be alive from now on. Those of dead runs are cleared away."""
        if not self._run and self.path in ("", ":memory:"):
            self._run = "memory"
        if not self._run:
            prefix = self._beside("")
            try:
                for abandoned in prefix.parent.glob(f"{glob.escape(prefix.name)}*"):
                    remove_unlocked(abandoned)
                path, self._lock = new_locked_file(prefix)
            except OSError as error:
                raise self._unusable(error.strerror) from None
            self._run = path.name.removeprefix(prefix.name)
        return self._run

    def _taken(self, measurement: int) -> bool:
        """Makes a measurement this run's, unless a living one works on it."""
        ((run,),) = self.query("SELECT run FROM measurement WHERE id = ?", measurement)
        if run is not None and run != self._run and not remove_unlocked(self._beside(run)):
            return False
        self._db.execute("UPDATE measurement SET run = ? WHERE id = ?", (self._run, measurement))
        return True

    # -- damage --------------------------------------------------------------------------------------------

    def _read(self, what: str, text: object, checksum: int | None, parse: Callable[[Any], T]) -> T:
        try:
            if checksum is not None and checksum != crc32(str(text)):
                raise ValueError("it is not as it was written")
            return parse(json.loads(str(text)))
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError, InputError) as error:
            reason = f"{error} is missing" if isinstance(error, KeyError) else str(error)
            raise self._damaged(f"{what}: {reason}") from None

    def _damaged(self, how: str) -> DamagedStoreError:
        return DamagedStoreError(self.path, how)

    def _unusable(self, why: object) -> EnvironmentUnfitError:
        return EnvironmentUnfitError(f"cannot use the store {self.path!r}: {why}; give another with --store")

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except UnicodeDecodeError:  # of SQLite's own message, which quotes what it read
            raise self._damaged("its schema is not text") from None
        except sqlite3.DatabaseError as error:
            text = str(error)
            if "not a database" in text:
                raise InputError(f"store {self.path!r} is not a hwprof store: {text}") from None
            if any(sign in text for sign in ("malformed", "no such", "decode")):
                raise self._damaged(text) from None
            raise self._unusable(text) from None


def crc32(record: str) -> int:
    """The checksum that is kept with a record."""
    return zlib.crc32(record.encode("utf-8", "surrogatepass"))


@contextmanager
def opened(store: Store | Path | str) -> Iterator[Store]:
    """The store itself, which stays open, or that of the file, which is closed at the end."""
    if isinstance(store, Store):
        yield store
        return
    with Store(store) as own:
        yield own


def _result_key(key: ResultKey) -> str:
    return key_of(asdict(key))


def key_of(parts: Mapping[str, Any]) -> str:
    """A key over everything that makes two measurements the same one."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()[:32]
