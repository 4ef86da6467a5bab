"""The working store: one SQLite file that keeps every finished process of every measurement, every score of a search
and every result.

The samples of a process are committed as soon as they are complete. A job that is killed at any moment loses none of
them, and the same job continues from there when it is started again. A search or compression that has its result in
the store is not computed again, and an architecture that has its score there is not trained again.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, Self

from hwprof.data.result import Result, ResultKey
from hwprof.errors import EnvironmentUnfitError, InputError
from hwprof.interfaces import Arch
from hwprof.measurement import Measurement, Process, process_from_record

DEFAULT_PATH = Path("hwprof.db")
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
_MIGRATIONS = (
    _MEASUREMENTS,
    _RESULTS,
    _SCORES,
)  # the i-th turns a store of format i into one of format i + 1; 0 is empty


class Store:
    """A context manager over one file (":memory:" for none). A store of an older format is brought up to date.

    Every method raises EnvironmentUnfitError when the file cannot be written (full disk, no permission,
    locked by another program) and InputError when it is not a store.
    """

    def __init__(self, path: Path | str = ":memory:") -> None:
        self.path = str(path)
        with self._errors():
            self._db = sqlite3.connect(self.path, timeout=20, isolation_level=None)
            version = self._db.execute("PRAGMA user_version").fetchone()[0]
            if version > len(_MIGRATIONS):
                raise InputError(
                    f"store {self.path!r} was written by a newer hwprof (format {version}, this one reads up to "
                    f"{len(_MIGRATIONS)}); upgrade hwprof or give another with --store"
                )
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA foreign_keys = ON")
            for number, script in enumerate(_MIGRATIONS[version:], version + 1):
                self._db.executescript(f"BEGIN IMMEDIATE; {script} PRAGMA user_version = {number}; COMMIT;")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._db.close()

    def begin(
        self, key: str, model: str, digest: str, device: str, hardware: str,
        *, is_compared: bool = False, fresh: bool = False,
    ) -> int:  # fmt: skip
        """Opens a measurement or, unless `fresh`, the unfinished one of the same key. Returns its number.

        `is_compared`: it belongs to a comparison and is not a profile of its own.
        """
        with self._errors():
            row = self._db.execute(
                "SELECT id FROM measurement WHERE key = ? AND status IS NULL ORDER BY id DESC", (key,)
            ).fetchone()
            if row and not fresh:
                return int(row[0])
            cursor = self._db.execute(
                "INSERT INTO measurement (key, model, digest, device, hardware, is_compared) VALUES (?, ?, ?, ?, ?, ?)",
                (key, model, digest, device, hardware, int(is_compared)),
            )
            return int(cursor.lastrowid or 0)

    def add_process(self, measurement: int, process: Process) -> None:
        with self._errors():
            self._db.execute(
                "INSERT OR REPLACE INTO process VALUES (?, ?, ?)",
                (measurement, process.round, json.dumps(asdict(process))),
            )

    def processes(self, measurement: int) -> list[Process]:
        """The processes of a measurement, in the order of their rounds."""
        with self._errors():
            rows = self._db.execute(
                "SELECT record FROM process WHERE measurement = ? ORDER BY round", (measurement,)
            ).fetchall()
        return [process_from_record(json.loads(record)) for (record,) in rows]

    def finish(self, measurement: int, result: Measurement) -> None:
        """Ends a measurement. A second call replaces the record (to add operator times, say). Deletes processes that
        are not part of it, left by a run that was killed between two graphs of a group."""
        rounds = json.dumps([p.round for p in result.processes])
        with self._errors():
            self._db.execute(
                "DELETE FROM process WHERE measurement = ? AND round NOT IN (SELECT value FROM json_each(?))",
                (measurement, rounds),
            )
            self._db.execute(
                "UPDATE measurement SET status = ?, record = ? WHERE id = ?",
                (str(result.status), json.dumps(result.to_record(with_processes=False)), measurement),
            )

    def latest(self, key: str) -> tuple[int, Measurement, str] | None:
        """The last finished measurement of the key: its number, itself, and when it was made (UTC)."""
        with self._errors():
            row = self._db.execute(
                "SELECT id, record, created FROM measurement WHERE key = ? AND status IS NOT NULL ORDER BY id DESC",
                (key,),
            ).fetchone()
        return (int(row[0]), self._loaded(int(row[0]), row[1]), str(row[2])) if row else None

    def measurements(self) -> list[Measurement]:
        """The last finished profile of each key, oldest first."""
        with self._errors():
            rows = self._db.execute(
                "SELECT max(id), record FROM measurement WHERE status IS NOT NULL AND NOT is_compared GROUP BY key "
                "ORDER BY max(id)"
            ).fetchall()
        return [self._loaded(int(number), record) for number, record in rows]

    def add_comparison(self, measurements: Sequence[int], margin: float) -> None:
        """measurements: numbers of finished ones, made against the first of them."""
        with self._errors():
            self._db.execute(
                "INSERT INTO comparison (measurements, margin) VALUES (?, ?)", (json.dumps([*measurements]), margin)
            )

    def last_comparison(self) -> tuple[list[Measurement], float] | None:
        """The measurements of the last comparison, in its order, and its margin."""
        with self._errors():
            row = self._db.execute("SELECT measurements, margin FROM comparison ORDER BY id DESC").fetchone()
            if row is None:
                return None
            numbers = json.loads(row[0])
            records = [
                self._db.execute("SELECT record FROM measurement WHERE id = ?", (number,)).fetchone()[0]
                for number in numbers
            ]
        return [self._loaded(*pair) for pair in zip(numbers, records, strict=True)], float(row[1])

    def _loaded(self, number: int, record: str) -> Measurement:
        return Measurement.from_record(json.loads(record)).with_processes(*self.processes(number))

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
        with self._errors():
            row = self._db.execute("SELECT record FROM result WHERE key = ?", (_result_key(key),)).fetchone()
        return Result.from_record(json.loads(row[0])) if row else None

    def results(self) -> list[Result]:
        """All results, in the order in which their keys were first added."""
        with self._errors():
            rows = self._db.execute("SELECT record FROM result ORDER BY id").fetchall()
        return [Result.from_record(json.loads(record)) for (record,) in rows]

    def add_score(self, key: str, arch: Arch, score: float) -> None:
        """Keeps the score of an architecture. key: over everything else that decides it (`key_of`)."""
        with self._errors():
            self._db.execute(
                "INSERT OR REPLACE INTO score (key, arch, score) VALUES (?, ?, ?)", (key, json.dumps(arch), score)
            )

    def scores(self, key: str) -> dict[Arch, float]:
        """The scores of the key by architecture, which need not be taken again."""
        with self._errors():
            rows = self._db.execute("SELECT arch, score FROM score WHERE key = ? ORDER BY rowid", (key,)).fetchall()
        return {tuple(json.loads(arch)): float(score) for arch, score in rows}

    def add_graph(self, digest: str, record: str) -> None:
        with self._errors():
            self._db.execute("INSERT OR REPLACE INTO graph VALUES (?, ?)", (digest, record))

    def graph(self, digest: str) -> str | None:
        with self._errors():
            row = self._db.execute("SELECT record FROM graph WHERE digest = ?", (digest,)).fetchone()
        return str(row[0]) if row else None

    def baseline_ns(self, machine: str) -> dict[str, float]:
        """The undisturbed time of one run of each anchor on a machine (hardware, device and versions together)."""
        with self._errors():
            rows = self._db.execute("SELECT anchor, ns FROM baseline WHERE machine = ?", (machine,)).fetchall()
        return {str(anchor): float(ns) for anchor, ns in rows}

    def lower_baseline(self, machine: str, anchors_ns: Mapping[str, float]) -> None:
        """Keeps the smaller of the stored and the given times: nothing runs faster than undisturbed."""
        with self._errors():
            self._db.executemany(
                "INSERT INTO baseline VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET ns = min(ns, excluded.ns)",
                [(machine, anchor, ns) for anchor, ns in anchors_ns.items()],
            )

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.DatabaseError as error:
            text = str(error)
            if "not a database" in text or "malformed" in text:
                raise InputError(f"store {self.path!r} is not a hwprof store: {text}") from None
            raise EnvironmentUnfitError(
                f"cannot use the store {self.path!r}: {text}; give another with --store"
            ) from None


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
