"""Ends a process with the one that started it, or before it. Imports next to nothing, so that it can be the first
thing to run."""

from __future__ import annotations

import ctypes
import os
import select
import signal
from contextlib import suppress

_PR_SET_PDEATHSIG = 1
_FIRST = "1000"  # the kernel's highest score: proc(5), oom_score_adj


def die_with_parent() -> None:
    """Makes the kernel kill this process as soon as the thread that started it ends, however that ends."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def end_without_reader(descriptor: int = 1) -> None:
    """Ends this process when nobody is left to read the pipe that it writes to: what started it died before
    `die_with_parent`. (`os.getppid` cannot tell, for the parent may be the first process of a container.)"""
    pipe = select.poll()
    pipe.register(descriptor, 0)
    if any(events & select.POLLERR for _, events in pipe.poll(0)):
        os._exit(0)


def die_first_without_memory() -> None:
    """Makes the kernel kill this process, and not the one that started it, where the machine runs out of memory."""
    with suppress(OSError), open("/proc/self/oom_score_adj", "w") as score:  # noqa: PTH123 -- pathlib loads slowly
        score.write(_FIRST)
