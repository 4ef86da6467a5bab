"""Keeps two measuring processes off one machine: each would disturb the other."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager

from hwprof.errors import MachineBusyError

_LOCK = "HWPROF_LOCK"  # environment: another name for the lock, for tests that do not care what they measure


@contextmanager
def machine_to_ourselves(name: str = "") -> Iterator[None]:
    """Raises MachineBusyError when another hwprof is measuring on this machine.

    name: the lock's name; by default $HWPROF_LOCK, or else one for the whole machine. It is a name in the kernel's
    abstract socket space: nothing is written, nothing can be connected to (it never listens), and it vanishes with its
    process, however that ends.
    """
    lock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    try:
        lock.bind(f"\0{name or os.environ.get(_LOCK) or 'hwprof-measuring'}")
    except OSError:
        lock.close()
        raise MachineBusyError(
            "another hwprof is measuring on this machine; both would disturb each other: wait for it to end, or let "
            "this one wait with --wait SECONDS"
        ) from None
    try:
        yield
    finally:
        lock.close()
