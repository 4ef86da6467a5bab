"""A qemu process that runs ONNX Runtime for one ARM core, and the models that are open in it.

2026-11-21, what makes counts repeat. Any difference between two processes moves memory, and then loops over memory
branch differently. So nothing in the guest is random or specific to this machine: not the bytes that Linux gives to a
new process, not the names of temporary files, not the folders that Python lists to find its modules, not the remains
of another model, not the clock (guest.py).
"""

from __future__ import annotations

import json
import socket
import subprocess
import tempfile
import weakref
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, TextIO

import numpy as np

from hwprof.backends.emulator import location
from hwprof.backends.emulator.cores import Core
from hwprof.backends.emulator.instruction_classes import table
from hwprof.errors import DeviceLostError, InputError
from hwprof.instructions import CLASSES, Counts
from hwprof.onnx_io.runtime_messages import plain_error

_GUEST = Path(__file__).parent / "guest.py"
_MARKER = 0x68775066  # not the number of any prctl option
_MOST_SECONDS_TO_START = 300  # 3 s on an idle machine
_SOCKET, _MODEL, _INPUTS = "socket", "model", "inputs"  # in the guest's folder


@dataclass(frozen=True, slots=True)
class Model:
    """The guest's files: an .onnx file and its inputs (.npz), the optimization level, sizes of named dimensions."""

    file: Path
    inputs: Path
    level: str
    dimensions: Mapping[str, int]


class OpenModel:
    """A model that is open in a process of its own; see `Guest.open`."""

    def __init__(self, guest: Guest, name: str, connection: socket.socket, answers: TextIO) -> None:
        self._guest, self._name, self._connection, self._answers = guest, name, connection, answers
        self._answered()

    def count(self, n: int) -> list[Counts]:
        """The instructions of each of n inferences, without those of the marks around it. Raises as `open` does."""
        lines = self._ask({"count": n})
        stamps = np.array([[int(number) for number in line.split()] for line in lines])
        differences = np.diff(stamps, axis=0)[::2]  # n inferences, then an empty run
        return [dict(zip(CLASSES, row.tolist(), strict=True)) for row in differences[:n] - differences[n]]

    def outputs(self) -> Mapping[str, np.ndarray]:
        """The outputs of one inference, by name, each of the output's shape [...]. Raises as `open` does."""
        with tempfile.TemporaryDirectory(prefix="hwprof-emulator-") as folder:
            file = Path(folder, "outputs.npz")
            self._ask({"save": str(file)})
            with np.load(file) as arrays:
                return dict(arrays)

    def _ask(self, command: Mapping[str, Any]) -> list[str]:
        try:
            self._connection.sendall((json.dumps(command) + "\n").encode())
        except OSError:
            raise self._guest.lost(self._name) from None
        return self._answered()

    def _answered(self) -> list[str]:
        """The lines that the plugin wrote before the guest's answer."""
        counts: list[str] = []
        with suppress(ConnectionError):
            for line in self._answers:
                if not line.startswith("{"):
                    counts.append(line)
                    continue
                if reason := json.loads(line).get("error"):
                    raise InputError(f"onnxruntime cannot run {self._name!r}: {plain_error(reason)}")
                return counts
        raise self._guest.lost(self._name)


class Guest:
    """Started once per core: each model gets a fork of the state right after the runtime was loaded."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._folder = tempfile.TemporaryDirectory(prefix="hwprof-emulator-")
        self._errors = tempfile.TemporaryFile("w+", encoding="utf-8")  # noqa: SIM115 -- closed in close()
        folder = Path(self._folder.name)
        (folder / "classes").write_text(table(), encoding="ascii")
        plugin = f"{location.qemu() / 'counting.so'},table={folder / 'classes'},marker={_MARKER}"
        self._process = subprocess.Popen(
            command(core, prefix(core, folder), [_GUEST, _MARKER], ["-seed", "1", "-plugin", plugin]),
            stdin=subprocess.PIPE, stderr=self._errors, text=True, encoding="utf-8", env={}, cwd=folder,
        )  # fmt: skip
        self._end = weakref.finalize(self, _end, self._process, self._errors, self._folder)
        self._fate = "closed"

    @property
    def is_running(self) -> bool:
        return self._end.alive and self._process.poll() is None

    def close(self) -> None:
        self._end()

    @contextmanager
    def open(self, name: str, model: Model) -> Iterator[OpenModel]:
        """`name` is used in errors. Raises InputError when the runtime rejects the model, DeviceLostError when its
        process ends."""
        with ExitStack() as opened:
            with self._in_folder(model), socket.socket(socket.AF_UNIX) as listener:
                listener.bind(str(Path(self._folder.name, _SOCKET)))
                listener.listen()
                self._fork(name)
                connection = opened.enter_context(self._connected(name, listener))
                with suppress(OSError):  # it is gone; reading the answer reports that
                    connection.sendall((json.dumps(_request(model)) + "\n").encode())
                answers = opened.enter_context(connection.makefile(encoding="utf-8"))
                found = OpenModel(self, name, connection, answers)
            yield found

    def lost(self, name: str) -> DeviceLostError:
        """The last words of the process. It serves no further model, since the same cause may end that one, too."""
        if self._end.alive:
            what = "qemu" if self._process.poll() is not None else "the process that ran it"
            self._errors.seek(0)
            last = self._errors.read().strip().splitlines()[-1:]
            self._fate = f"{what} ended" + (f": {last[0]}" if last else "")
            self.close()
        return DeviceLostError(f"{name!r} on {self._core.name}: {self._fate}")

    @contextmanager
    def _in_folder(self, model: Model) -> Iterator[None]:
        """Uses the same file names for each model: the name of its own folder is random."""
        folder = Path(self._folder.name)
        (folder / _MODEL).symlink_to(model.file.parent)
        (folder / _INPUTS).symlink_to(model.inputs)
        try:
            yield
        finally:
            for name in (_MODEL, _INPUTS, _SOCKET):
                (folder / name).unlink(missing_ok=True)

    def _fork(self, name: str) -> None:
        assert self._process.stdin is not None  # it is a pipe
        try:
            self._process.stdin.write("\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise self.lost(name) from None

    def _connected(self, name: str, listener: socket.socket) -> socket.socket:
        listener.settimeout(1)
        for _ in range(_MOST_SECONDS_TO_START):
            with suppress(TimeoutError):
                connection = listener.accept()[0]
                connection.settimeout(None)
                return connection
            if not self.is_running:
                break
        raise self.lost(name)


def _request(model: Model) -> Mapping[str, object]:
    names = {"model": f"{_MODEL}/{model.file.name}", "inputs": _INPUTS}
    return {**names, "level": model.level, "dimensions": dict(model.dimensions)}


def command(core: Core, prefix_: Path, program: Sequence[object], options: Sequence[str] = ()) -> list[str]:
    """The command line that runs a Python program of the emulated root on the core."""
    root = location.root()
    environment = {
        "PYTHONHOME": root / "usr",
        "PYTHONPATH": root / "packages",
        "PYTHONHASHSEED": 0,
        "PYTHONDONTWRITEBYTECODE": 1,
        "PYTHONSAFEPATH": 1,
        "ORT_DISABLE_TELEMETRY": 1,
        "OMP_NUM_THREADS": 1,
    }
    variables = [word for name, value in environment.items() for word in ("-E", f"{name}={value}")]
    python = [root / "usr" / "bin" / "python3.11", "-S", *program]
    emulator = [location.qemu() / "qemu-aarch64", "-cpu", core.name, "-L", prefix_]
    return [str(word) for word in (*emulator, *options, *variables, *python)]


def prefix(core: Core, folder: Path) -> Path:
    """A view of the emulated root in `folder` with the /proc/cpuinfo of the core."""
    for entry in location.root().iterdir():
        (folder / entry.name).symlink_to(entry)
    (folder / "proc").mkdir()
    (folder / "proc" / "cpuinfo").write_text(core.cpuinfo(), encoding="ascii")
    return folder


def _end(process: subprocess.Popen[str], errors: IO[str], folder: tempfile.TemporaryDirectory[str]) -> None:
    """A model that is still open ends when its connection does."""
    process.kill()
    process.communicate()
    errors.close()
    folder.cleanup()
