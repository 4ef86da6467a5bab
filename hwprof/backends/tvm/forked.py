"""Runs work that may crash or never end, such as compiling an untested schedule, in a fork of this process."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import TypeVar

from hwprof.backends import lifetime
from hwprof.errors import HwprofError

T = TypeVar("T")

_ERRORS = (RuntimeError, ValueError)  # raised by the library


def result_of(work: Callable[[], T], limit_s: float) -> T | None:
    """The result, or None when the work fails, crashes, or has not ended after `limit_s` seconds; then it is killed.

    The calling process must have one thread. Raises the HwprofErrors of the work.
    """
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_send, args=(work, sender), daemon=True)
    process.start()
    sender.close()
    try:
        result = receiver.recv() if receiver.poll(limit_s) else None
    except EOFError:
        return None
    finally:
        process.kill()
        process.join()
        receiver.close()
    if isinstance(result, HwprofError):
        raise result
    found: T | None = result
    return found


def _send(work: Callable[[], T], sender: Connection) -> None:
    # The fork must not outlive a killed worker: the work may be endless.
    lifetime.die_with_parent()
    try:
        sender.send(work())
    except HwprofError as error:
        sender.send(error)
    except _ERRORS:
        sender.send(None)
