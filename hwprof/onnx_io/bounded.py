"""Runs work on files that nobody vouches for in a child process with a limit of time and of memory.

2026-11-29, why a child for every model file, and why by fork. ONNX's shape inference and inliner are C++ that some
files keep busy for ever, or end by a bad access; only a process can be ended from outside. To judge by a file's size or
structure which files need a child would repeat that code. A fork costs 8 ms (25 ms with PyTorch loaded), where loading
a ResNet-50 takes 80 ms; a server of its own would cost half a second of imports, and something would have to end it.
A child of a process with threads must not take their locks: it does its work, answers and exits at once.
"""

from __future__ import annotations

import ctypes
import faulthandler
import gc
import os
import pickle
import resource
import signal
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from hwprof.errors import EnvironmentUnfitError, HwprofError, InputError

T = TypeVar("T")
_PR_SET_PDEATHSIG = 1
_DEFAULTS = (signal.SIGALRM, signal.SIGINT, signal.SIGTERM)


def run(work: Callable[[], T], subject: str, limit_s: float, limit_bytes: int) -> T:
    """Returns the result of `work`, computed in a child process; raises its errors.

    subject: begins the messages. Raises InputError when the work ends the process or takes more than limit_s,
    EnvironmentUnfitError when it takes more than limit_bytes on top of this process's memory.
    """
    answers, sent = os.pipe()
    pid = _fork(subject)
    if not pid:
        os.close(answers)
        _answer(work, sent, limit_s, limit_bytes)
    os.close(sent)
    try:
        with os.fdopen(answers, "rb") as stream:
            answer = stream.read()
    finally:
        os.kill(pid, signal.SIGKILL)  # one that has answered is gone, or about to go
        _, status = os.waitpid(pid, 0)
    if not answer:
        raise InputError(f"{subject}: {_ending(os.waitstatus_to_exitcode(status), limit_s)}")
    result, error = pickle.loads(answer)  # noqa: S301 -- written by our own child
    if isinstance(error, MemoryError):
        raise EnvironmentUnfitError(f"{subject}: it takes more than {limit_bytes / 1e9:.1f} GB of memory to read it")
    if error is not None:
        raise error
    value: T = result
    return value


def _fork(subject: str) -> int:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12 warns about threads; see above
            return os.fork()
    except OSError as error:
        raise EnvironmentUnfitError(f"{subject}: no process could be started to read it: {error.strerror}") from None


def _ending(status: int, limit_s: float) -> str:
    if status == -signal.SIGALRM:
        return f"it was not read within {limit_s:.0f} s; it is too complex, or made to keep readers busy"
    name = signal.Signals(-status).name if status < 0 else f"status {status}"
    return f"it ended the process that read it ({name}); it is damaged, or made to do so"


# -- in the child ------------------------------------------------------------------------------------------


def _answer(work: Callable[[], Any], sent: int, limit_s: float, limit_bytes: int) -> NoReturn:
    try:
        _confine(limit_s, limit_bytes)
        with os.fdopen(sent, "wb") as stream:
            stream.write(_outcome(work))
    finally:
        os._exit(0)  # nothing of the parent's is cleaned up here


def _confine(limit_s: float, limit_bytes: int) -> None:
    gc.disable()  # the parent's garbage may own its temporary folders
    faulthandler.disable()
    for number in _DEFAULTS:
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _DEFAULTS)
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    signal.setitimer(signal.ITIMER_REAL, limit_s)
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    _limit(resource.RLIMIT_AS, pages * resource.getpagesize() + limit_bytes)
    _limit(resource.RLIMIT_CORE, 0)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # the last words of C++ are not for the user


def _limit(kind: int, value: int) -> None:
    _, hard = resource.getrlimit(kind)
    resource.setrlimit(kind, (value if hard == resource.RLIM_INFINITY else min(value, hard), hard))


def _outcome(work: Callable[[], Any]) -> bytes:
    try:
        return pickle.dumps((work(), None), pickle.HIGHEST_PROTOCOL)
    except MemoryError:
        return pickle.dumps((None, MemoryError()))
    except Exception as error:  # noqa: BLE001 -- the rim of this process
        return pickle.dumps((None, _portable(error)))


def _portable(error: Exception) -> Exception:
    """The error, with where it was raised, or one of the same text where it cannot be sent."""
    if not isinstance(error, HwprofError):
        error.add_note(traceback.format_exc())
    try:
        pickle.loads(pickle.dumps(error))  # noqa: S301
    except Exception:  # noqa: BLE001 -- any error at all may come out of an error's own reduction
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error
