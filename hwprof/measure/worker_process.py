"""Workers on this machine: each is a child process that talks through its standard input and output."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from hwprof.device import Device
from hwprof.errors import DeviceLostError
from hwprof.measure.transport import Answer, Transport, read_answers

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


class WorkerProcess:
    """A `Worker`: a context manager that starts the process at once and kills it at its end."""

    def __init__(self, command: Sequence[str] = _COMMAND) -> None:
        self._errors = tempfile.TemporaryFile("w+", encoding="utf-8")  # noqa: SIM115 -- closed in __exit__
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            encoding="utf-8",
            env={**os.environ, **_ENVIRONMENT},
        )

    @property
    def pid(self) -> int:
        return self._process.pid

    def ask(self, do: str, **arguments: Any) -> Iterator[Answer]:
        """Sends one request and yields its answers. Raises as `Worker.ask` does."""
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None and stdout is not None  # noqa: PT018 -- both are pipes
        try:
            stdin.write(json.dumps({"do": do, **arguments}) + "\n")
            stdin.flush()
            yield from read_answers(stdout)
        except (BrokenPipeError, EOFError):
            raise self._lost() from None

    def _lost(self) -> DeviceLostError:
        status = self._process.wait()
        if status < 0:
            how = f"was killed by {signal.Signals(-status).name}"
            if status == -signal.SIGKILL:
                how += " (out of memory?)"
        else:
            how = f"ended with status {status}"
        self._errors.seek(0)
        last = self._errors.read().strip().splitlines()[-1:]
        return DeviceLostError(f"the worker process {how}" + (f": {last[0]}" if last else ""))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with suppress(BrokenPipeError):  # a request that it never read
                    pipe.close()
        self._errors.close()


@dataclass(frozen=True, slots=True)
class LocalTransport:
    """Opens each worker as a child process of this one."""

    command: tuple[str, ...] = _COMMAND

    def open(self, device: Device) -> WorkerProcess:  # noqa: ARG002 -- every device is asked from this machine
        return WorkerProcess(self.command)


LOCAL: Transport = LocalTransport()
