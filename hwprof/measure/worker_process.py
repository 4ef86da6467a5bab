"""Workers on this machine: each is a child process that talks through its standard input and output, but where there is
nothing to run (`hwprof.measure.formula`)."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from types import TracebackType
from typing import IO, Any, Self

from hwprof.device import Device
from hwprof.errors import DeviceLostError, TimeLimitError
from hwprof.files import temporary_folder
from hwprof.measure.formula import open_formula
from hwprof.measure.machine import is_formula
from hwprof.measure.transport import LIMIT_S, Answer, Transport, Worker, limit_of, read_answers

_COMMAND = (sys.executable, "-m", "hwprof.measure.worker")
# Libraries that would otherwise start threads of their own, or report home.
_ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "ORT_DISABLE_TELEMETRY": "1",
    "PYTHONHASHSEED": "0",
    "PYTHONUNBUFFERED": "1",
}
_CHUNK_BYTES = 1 << 16
_LONGEST_LINE_BYTES = 1 << 28  # a process of 40 blocks takes less than a hundredth of it
_LOOK_S = 1.0  # between two looks whether a silent worker still runs
_CLOSED_S = 2.0  # from the end of a worker's output to its own end
_END_S = 10.0  # to wait for a process that was killed: a driver that hangs may keep it
_COMPILED = "TORCHINDUCTOR_CACHE_DIR"


class WorkerProcess:
    """A `Worker`: a context manager that starts the process at once and kills it at its end.

    Its temporary files are in a folder of its own, which is removed after it, however it ends."""

    def __init__(self, command: Sequence[str] = _COMMAND, limit_s: float = LIMIT_S) -> None:
        """Raises DeviceLostError when the process cannot start."""
        self._limit_s = limit_s
        self._rest = bytearray()  # read, but not yet a whole line
        with ExitStack() as stack:
            folder = stack.enter_context(temporary_folder())
            self._errors = stack.enter_context(tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace"))
            self._process = _started(command, self._errors, folder)
            self._stack = stack.pop_all()

    @property
    def pid(self) -> int:
        return self._process.pid

    def ask(self, do: str, **arguments: Any) -> Iterator[Answer]:
        """Sends one request and yields its answers. Raises as `Worker.ask` does."""
        request = {"do": do, **arguments}
        limit_s = limit_of(request, self._limit_s)
        try:
            self._require_silence()
            self._send(json.dumps(request).encode() + b"\n", monotonic() + limit_s)
            yield from read_answers(self._lines(limit_s))
        except (BrokenPipeError, EOFError):
            raise self._lost() from None
        except TimeoutError:
            self._end()
            raise TimeLimitError(
                f"the worker did not answer the request {do!r} within {limit_s:g} s and was ended; "
                "--time-limit gives it more time"
            ) from None
        except DeviceLostError:
            self._end()
            raise

    def _require_silence(self) -> None:
        """Raises DeviceLostError when there are answers that nobody has asked for: the next would be taken wrongly."""
        if self._rest or (self._is_ready(_stdout(self._process), select.POLLIN, 0) & select.POLLIN):
            raise DeviceLostError("the worker answered more than it was asked; it was ended")

    def _send(self, message: bytes, until: float) -> None:
        """Raises TimeoutError when the worker does not take the message, BrokenPipeError when it is gone."""
        rest, stdin = memoryview(message), _stdin(self._process)
        while rest:
            self._wait(stdin, select.POLLOUT, until)
            with suppress(BlockingIOError):
                rest = rest[os.write(stdin.fileno(), rest[:_CHUNK_BYTES]) :]

    def _lines(self, limit_s: float) -> Iterator[bytes]:
        """The lines that the worker writes, each within the limit; the last may lack its end.

        Raises TimeoutError, EOFError when the worker is gone, and DeviceLostError for a line that does not end."""
        stdout = _stdout(self._process)
        until = monotonic() + limit_s
        while len(self._rest) < _LONGEST_LINE_BYTES:
            while (end := self._rest.find(b"\n")) >= 0:
                line = bytes(self._rest[: end + 1])
                del self._rest[: end + 1]
                yield line
                until = monotonic() + limit_s
            self._wait(stdout, select.POLLIN, until)
            chunk = os.read(stdout.fileno(), _CHUNK_BYTES)
            if not chunk:
                yield bytes(self._rest)
                return
            self._rest += chunk
        raise DeviceLostError(f"the worker's answer is longer than {_LONGEST_LINE_BYTES >> 20} MiB; it was ended")

    def _wait(self, pipe: IO[bytes], event: int, until: float) -> None:
        """Until the pipe is ready. Raises TimeoutError, and EOFError when the worker has ended meanwhile."""
        while not self._is_ready(pipe, event, min(_LOOK_S, until - monotonic())):
            if self._process.poll() is not None and not self._is_ready(pipe, event, 0):
                raise EOFError
            if monotonic() >= until:
                raise TimeoutError

    def _is_ready(self, pipe: IO[bytes], event: int, wait_s: float) -> int:
        """The events that came (`select.poll`); 0 for none."""
        waiting = select.poll()
        waiting.register(pipe, event)
        return next((events for _, events in waiting.poll(max(0, wait_s) * 1e3)), 0)

    def _lost(self) -> DeviceLostError:
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(_CLOSED_S)
        status = self._process.poll()
        self._end()
        self._errors.seek(0)
        last = self._errors.read().strip().splitlines()[-1:]
        return DeviceLostError(f"the worker process {_fate(status)}" + (f": {last[0]}" if last else ""))

    def _end(self) -> None:
        self._process.kill()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(_END_S)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()
        _stdin(self._process).close()
        _stdout(self._process).close()
        self._stack.close()


def _started(command: Sequence[str], stderr: IO[str], folder: Path) -> subprocess.Popen[bytes]:
    """Raises DeviceLostError."""
    environment = {**os.environ, **_ENVIRONMENT, **_folders(folder)}
    pipe = subprocess.PIPE
    try:
        process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=stderr, bufsize=0, env=environment)
    except OSError as error:
        raise DeviceLostError(f"cannot start a worker with {command[0]!r}: {error.strerror}") from None
    os.set_blocking(_stdin(process).fileno(), False)
    os.set_blocking(_stdout(process).fileno(), False)
    return process


def _folders(folder: Path) -> Mapping[str, str]:
    """Where a worker writes. What PyTorch compiles must outlive it, or each process would compile it again."""
    compiled = str(Path(tempfile.gettempdir(), f"torchinductor_{os.getuid()}"))
    return {"TMPDIR": str(folder), _COMPILED: os.environ.get(_COMPILED, compiled)}


def _stdin(process: subprocess.Popen[bytes]) -> IO[bytes]:
    assert process.stdin is not None  # a pipe
    return process.stdin


def _stdout(process: subprocess.Popen[bytes]) -> IO[bytes]:
    assert process.stdout is not None  # a pipe
    return process.stdout


def _fate(status: int | None) -> str:
    if status is None:
        return "closed its output"
    if status >= 0:
        return f"ended with status {status}"
    memory = " (out of memory?)" if status == -signal.SIGKILL else ""
    return f"was killed by {_name(-status)}{memory}"


def _name(number: int) -> str:
    return signal.Signals(number).name if number in set(signal.Signals) else f"signal {number}"


@dataclass(frozen=True, slots=True)
class LocalTransport:
    """Opens each worker as a child process of this one; a formula is asked in this one, unless there is another
    command."""

    command: tuple[str, ...] = _COMMAND

    def open(self, device: Device, limit_s: float = LIMIT_S) -> Worker:
        if self.command == _COMMAND and is_formula(device):
            return open_formula()
        return WorkerProcess(self.command, limit_s)


LOCAL: Transport = LocalTransport()
