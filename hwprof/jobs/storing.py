"""Stores: whether one is as it was written, and several merged into one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from hwprof.data import store_care
from hwprof.data.store_care import Contents, Merged


def check_store(store: Path) -> Contents:
    """The content of the store, with a line for everything that cannot be read. Raises InputError where there is no
    store."""
    return store_care.check(store)


def merge_stores(stores: Sequence[Path], out: Path) -> Merged:
    """Writes all that can be read of the stores into the new store `out`. Raises InputError where a source is not a
    store or `out` exists."""
    return store_care.merge(stores, out)
