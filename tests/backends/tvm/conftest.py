"""Small networks and devices for TVM, and a real tracker with a real server of its RPC on this machine."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from hwprof.backends.tvm import target, tuning
from hwprof.builder import GraphBuilder
from hwprof.device import Device
from hwprof.graph import Graph

LOCAL = Device("here", "tvm")
KEY = "board"


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Candidates are small here; what makes one slow is other work on this machine."""
    monkeypatch.setattr(tuning, "_LONGEST_S", 1000.0)


@dataclass
class Nodes:
    """A tracker, and servers that can die."""

    tracker: int = 0
    processes: list[subprocess.Popen[str]] = field(default_factory=list)

    def start(self, *arguments: object, python: str = sys.executable) -> int:
        """Returns the port."""
        node = subprocess.Popen(
            [python, Path(__file__).with_name("rpc_node.py"), *map(str, arguments)],
            stdout=subprocess.PIPE, text=True, start_new_session=True, env={**os.environ, "TVM_USE_RUNTIME_LIB": "1"},
        )  # fmt: skip
        self.processes.append(node)
        assert node.stdout is not None
        port = node.stdout.readline()
        assert port, f"{arguments} ended with status {node.wait()}"
        return int(port)

    def start_server(self, python: str = sys.executable) -> None:
        self.start("server", "127.0.0.1", self.tracker, KEY, python=python)

    def stop_last(self) -> None:
        """Silent from now on, as a board that lost power: nothing is closed."""
        os.killpg(self.processes[-1].pid, signal.SIGSTOP)

    def kill_last(self) -> None:
        """With the child that serves the session."""
        node = self.processes.pop()
        with suppress(ProcessLookupError):
            os.killpg(node.pid, signal.SIGKILL)
        node.wait()
        assert node.stdout is not None
        node.stdout.close()

    @property
    def device(self) -> Device:
        processor = str(target.of(LOCAL).attrs["mcpu"])
        options = LOCAL.with_options(key=KEY, mcpu=processor, wait_s=20.0)
        return replace(options, name="there", remote=f"127.0.0.1:{self.tracker}", cores="big")


@pytest.fixture(scope="module")
def nodes() -> Iterator[Nodes]:
    """A tracker with one server."""
    started = Nodes()
    try:
        started.tracker = started.start("tracker")
        started.start_server()
        yield started
    finally:
        while started.processes:
            started.kill_last()


@pytest.fixture
def product() -> Graph:
    """Two kernels: a matrix product with its activation, and a softmax."""
    b = GraphBuilder("product")
    return b.build(b.softmax(b.relu(b.matmul(b.input((32, 32)), b.weight((32, 32))))))


@pytest.fixture(autouse=True)
def tuning_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No test finds what another has tuned."""
    monkeypatch.setenv("HWPROF_TUNING", str(tmp_path / "tuning"))
    return tmp_path / "tuning"
