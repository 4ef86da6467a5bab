"""Keeps two measuring processes off one machine: each would disturb the other."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hwprof.errors import MachineBusyError

_LOCK = "HWPROF_LOCK"  # environment: another name for the lock, for tests that do not care what they measure
_PROC = Path("/proc")
_STOPPED = ("T", "t")  # by a signal, by a debugger


@contextmanager
def machine_to_ourselves(name: str = "") -> Iterator[None]:
    """Raises MachineBusyError when another hwprof is measuring on this machine; it names one that is stopped, which
    holds the lock until it continues or dies.

    name: the lock's name; by default $HWPROF_LOCK, or else one for the whole machine. It is a name in the kernel's
    abstract socket space: nothing is written, nothing can be connected to (it never listens), and it vanishes with its
    process, however that ends.
    """
    lock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    taken = name or os.environ.get(_LOCK) or "hwprof-measuring"
    try:
        lock.bind(f"\0{taken}")
    except OSError:
        lock.close()
        raise MachineBusyError(_busy(taken)) from None
    try:
        yield
    finally:
        lock.close()


def _busy(name: str) -> str:
    """Who holds the lock, and what to do, in words."""
    holder = _holder(name)
    stopped = _stopped(holder) if holder is not None else None
    if stopped is not None:
        return (
            f"another hwprof is measuring on this machine: process {stopped}, which is stopped; let it go on "
            f"(kill -CONT {stopped}) or end it (kill -KILL {stopped})"
        )
    return (
        "another hwprof is measuring on this machine; both would disturb each other: wait for it to end, or let "
        "this one wait with --wait SECONDS"
    )


def _holder(name: str) -> int | None:
    """The process that holds the lock; None where that cannot be seen."""
    try:
        sockets = [line.split() for line in (_PROC / "net/unix").read_text().splitlines()]
    except OSError:
        return None
    links = {f"socket:[{fields[6]}]" for fields in sockets if fields[7:] == [f"@{name}"]}
    return next((int(fd.parts[2]) for fd in _PROC.glob("[0-9]*/fd/*") if _link(fd) in links), None)


def _link(path: Path) -> str | None:
    try:
        return str(path.readlink())
    except OSError:  # closed meanwhile, or another user's
        return None


def _stopped(holder: int) -> int | None:
    """The holder of the lock, or the job whose worker it is, where that is stopped (SIGSTOP, Ctrl-Z)."""
    state, job = _state_and_parent(holder)
    if state in _STOPPED:
        return holder
    return job if _state_and_parent(job)[0] in _STOPPED else None


def _state_and_parent(pid: int) -> tuple[str, int]:
    try:
        state, parent, *_ = (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except (OSError, ValueError):  # ended meanwhile
        return "", 0
    return state, int(parent)
