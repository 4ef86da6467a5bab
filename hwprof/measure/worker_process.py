"""The parent's side of a worker: starts it, asks it, notices when it dies."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

from hwprof import errors
from hwprof.errors import DeviceLostError, HwprofError

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
    """A context manager. `ask` raises DeviceLostError when the worker is gone, and what the worker raised otherwise."""

    def __init__(self, cores: Sequence[int] = (), command: Sequence[str] = ()) -> None:
        arguments = [",".join(map(str, cores))] if cores else []
        self._errors = tempfile.TemporaryFile("w+", encoding="utf-8")  # noqa: SIM115 -- closed in __exit__
        self._process = subprocess.Popen(
            [*(command or (sys.executable, "-m", "hwprof.measure.worker")), *arguments],
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

    def ask(self, do: str, **arguments: Any) -> Iterator[dict[str, Any]]:
        """Sends one request and yields its answers."""
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None and stdout is not None  # noqa: PT018 -- both are pipes
        try:
            stdin.write(json.dumps({"do": do, **arguments}) + "\n")
            stdin.flush()
        except BrokenPipeError:
            raise self._lost() from None
        for line in stdout:
            if not line.endswith("\n"):
                break  # killed in the middle of a line
            answer = json.loads(line)
            if "error" in answer:
                raise _error(answer)
            if "done" in answer:
                return
            yield answer
        raise self._lost()

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


def _error(answer: dict[str, Any]) -> HwprofError:
    kind = getattr(errors, answer["error"], HwprofError)
    error = kind(answer["text"])
    assert isinstance(error, HwprofError)
    return error
