"""Checks whether a store is as it was written, and merges stores into a new one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from operator import itemgetter
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

from hwprof.data.store import DamagedStoreError, Store, crc32
from hwprof.errors import EnvironmentUnfitError, HwprofError, InputError
from hwprof.graph import Graph

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Contents:
    """How much a store holds, and what of it cannot be read, one line each."""

    measurements: int
    unfinished: int
    processes: int
    comparisons: int
    results: int
    scores: int
    graphs: int
    damage: tuple[str, ...]


def check(path: Path) -> Contents:
    """Reads everything. Raises InputError where there is no store."""
    damage = _Damage()
    with existing(path) as store:
        counts = {name: damage.of(_count, store, query) or 0 for name, query in _COUNTED.items()}
        damage.of(_require_sound_pages, store)
        for (number,) in damage.of(store.query, "SELECT id FROM measurement") or ():
            damage.of(_require_sound, store, number)
        for number, text in damage.of(store.query, "SELECT id, measurements FROM comparison") or ():
            damage.of(_require_compared, store, number, text)
        for number, record in damage.of(store.query, "SELECT id, record FROM result") or ():
            damage.of(store.read_result, number, record)
        for (key,) in damage.of(store.query, "SELECT DISTINCT key FROM score") or ():
            damage.of(store.scores, key)
        for digest, record in damage.of(store.query, "SELECT digest, record FROM graph") or ():
            damage.of(_require_digest, store, digest, record)
    return Contents(**counts, damage=tuple(dict.fromkeys(damage.lines)))


@dataclass(frozen=True, slots=True)
class Merged:
    """How many measurements the new store holds, how many were there twice, and what could not be read."""

    measurements: int
    repeated: int
    damage: tuple[str, ...]


def merge(sources: Sequence[Path], out: Path) -> Merged:
    """Writes all that can be read of the stores into the new store `out`, the older measurements first.

    A measurement that several of them hold is copied once. Raises InputError where a source is not a store or `out`
    exists.
    """
    if out.exists():
        raise InputError(f"{str(out)!r} exists; give the name of a new file")
    try:
        with TemporaryDirectory(prefix=f".{out.name}.", dir=out.parent) as folder, ExitStack() as stack:
            stores = [stack.enter_context(existing(path)) for path in sources]
            with Store(Path(folder, out.name)) as target:
                merged = _Merging(stores, target).run()
            Path(folder, out.name).rename(out)
    except OSError as error:
        raise EnvironmentUnfitError(f"cannot write {str(out)!r}: {error.strerror}") from None
    return merged


def existing(path: Path) -> Store:
    """Raises InputError where there is none: it is not made."""
    if not path.exists():
        raise InputError(f"there is no store {str(path)!r}; hwprof profile creates one")
    return Store(path)


_COUNTED = {
    "measurements": "SELECT count(*) FROM measurement WHERE status IS NOT NULL",
    "unfinished": "SELECT count(*) FROM measurement WHERE status IS NULL",
    "processes": "SELECT count(*) FROM process",
    "comparisons": "SELECT count(*) FROM comparison",
    "results": "SELECT count(*) FROM result",
    "scores": "SELECT count(*) FROM score",
    "graphs": "SELECT count(*) FROM graph",
}


@dataclass(slots=True)
class _Damage:
    lines: list[str] = field(default_factory=list)

    def of(self, read: Callable[..., T], *arguments: Any) -> T | None:
        """The result of `read`; None, and a line of damage, where it cannot be read from the store."""
        try:
            return read(*arguments)
        except DamagedStoreError as error:
            self.lines.append(error.how)
            return None


def _count(store: Store, query: str) -> int:
    return int(store.query(query)[0][0])


def _require_sound_pages(store: Store) -> None:
    """Raises DamagedStoreError for what SQLite itself finds."""
    found = [str(text) for (text,) in store.query("PRAGMA integrity_check(1)") if text != "ok"]
    lost = store.query("PRAGMA foreign_key_check")
    if found or lost:
        how = found[0] if found else f"{len(lost)} rows of the table {lost[0][0]!r} belong to no measurement"
        raise DamagedStoreError(store.path, how)


def _require_sound(store: Store, number: int) -> None:
    """Raises DamagedStoreError for a measurement that cannot be read, or is not as it was written."""
    ((status,),) = store.query("SELECT status FROM measurement WHERE id = ?", number)
    if status is None:
        store.processes(number)
        return
    measurement = store.measurement(number)
    if str(measurement.status) != status:
        raise DamagedStoreError(store.path, f"measurement {number} is {status!r} and {str(measurement.status)!r}")


def _require_compared(store: Store, number: int, text: str) -> None:
    for measurement in store.compared(number, text):
        store.measurement(measurement)


def _require_digest(store: Store, digest: str, record: str) -> None:
    try:
        found = Graph.from_json(record).digest
    except HwprofError as error:
        raise DamagedStoreError(store.path, f"graph {digest}: {error}") from None
    if found != digest:
        raise DamagedStoreError(store.path, f"graph {digest} is not as it was written")


@dataclass(slots=True)
class _Merging:
    """`places`: where the measurements of each store are in the target, by their number."""

    stores: Sequence[Store]
    target: Store
    damage: _Damage = field(default_factory=_Damage)
    places: list[dict[int, int]] = field(default_factory=list)
    seen: dict[tuple[Any, ...], int] = field(default_factory=dict)
    repeated: int = 0

    def run(self) -> Merged:
        self.places = [{} for _ in self.stores]
        with self.target.transaction():
            for _, place, number in sorted(self._all()):
                self.damage.of(self._copy, place, number)
            for _, numbers, margin in sorted(self._comparisons()):
                self.target.add_comparison(numbers, margin)
            for _, store, number, record in sorted(self._results(), key=itemgetter(0)):
                if (result := self.damage.of(store.read_result, number, record)) is not None:
                    self.target.add_result(result)
            for store in self.stores:
                self._copy_the_rest(store)
        return Merged(len(self.seen), self.repeated, tuple(self.damage.lines))

    def _copy_the_rest(self, store: Store) -> None:
        """Scores, graphs and baselines, which have no numbers."""
        for (key,) in self.damage.of(store.query, "SELECT DISTINCT key FROM score") or ():
            for arch, score in (self.damage.of(store.scores, key) or {}).items():
                self.target.add_score(key, arch, score)
        for digest, record in self.damage.of(store.query, "SELECT digest, record FROM graph") or ():
            self.damage.of(self._copy_graph, store, digest, record)
        for machine, baseline in self.damage.of(store.baselines) or ():
            self.target.lower_baseline(machine, baseline)

    def _all(self) -> Iterator[tuple[str, int, int]]:
        """When it was made, place of its store, and number of each measurement."""
        for place, store in enumerate(self.stores):
            rows = self.damage.of(store.query, "SELECT created, id FROM measurement") or ()
            yield from ((created, place, number) for created, number in rows)

    def _copy(self, place: int, number: int) -> None:
        store = self.stores[place]
        _require_sound(store, number)
        row, processes = store.row(number), store.process_rows(number)
        identity = (*row, *(crc32(record) for _, record, _ in processes))
        if identity in self.seen:
            self.repeated += 1
        else:
            self.seen[identity] = self.target.add_row(row, processes)
        self.places[place][number] = self.seen[identity]

    def _copy_graph(self, store: Store, digest: str, record: str) -> None:
        _require_digest(store, digest, record)
        self.target.add_graph(digest, record)

    def _results(self) -> Iterator[tuple[str, Store, int, str]]:
        """When it was made, its store, its number and its record. Of one key the latest replaces the others."""
        for store in self.stores:
            rows = self.damage.of(store.query, "SELECT created, id, record FROM result ORDER BY id") or ()
            yield from ((created, store, number, record) for created, number, record in rows)

    def _comparisons(self) -> set[tuple[int, tuple[int, ...], float]]:
        """The last of its measurements, all of them, and the margin of each comparison that is there whole."""
        found = set()
        for place, store in enumerate(self.stores):
            for number, text, margin in (
                self.damage.of(store.query, "SELECT id, measurements, margin FROM comparison") or ()
            ):
                numbers = self.damage.of(store.compared, number, text) or ()
                if numbers and all(n in self.places[place] for n in numbers):
                    copied = tuple(self.places[place][n] for n in numbers)
                    found.add((max(copied), copied, float(margin)))
        return found
