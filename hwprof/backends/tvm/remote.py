"""A device on TVM's RPC: found at a tracker by its key, reached through one session per process.

There is no authentication, and the server runs whatever it receives: for trusted networks only.
"""

from __future__ import annotations

import errno
import logging
import os
import shutil
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic, sleep
from typing import Any

from hwprof.backends.tvm import target, time_limit
from hwprof.backends.tvm.library import rpc, tvm
from hwprof.device import Device
from hwprof.errors import DeviceLostError, EnvironmentUnfitError, InputError

_CONNECT_S = 5.0
_POLL_S = 0.5
_ERRORS = (RuntimeError, OSError)  # raised by the library when a session breaks
_TIMED_OUT = os.strerror(errno.EAGAIN)
# The modes of `runtime.config_threadpool`: the threads go to the fastest cores, or to the slowest.
_CLUSTERS = {"auto": 1, "big": 1, "little": -1}


@dataclass(slots=True)
class RpcSession:
    """An open connection to one device. A server serves one at a time, so a process must share it."""

    connection: Any
    device: Device
    answer_s: float
    _names: Iterator[int] = field(default_factory=count)

    @property
    def place(self) -> Any:
        return self.connection.cpu(0)

    @contextmanager
    def guarded(self) -> Iterator[None]:
        """Raises DeviceLostError when the device is lost inside."""
        try:
            yield
        except _ERRORS as error:
            reason = (str(error).strip().splitlines() or [type(error).__name__])[-1]
            if _TIMED_OUT in reason:
                reason = f"no answer within {self.answer_s:g} s (its option `answer_s`)"
            raise DeviceLostError(f"device {self.device.name!r} was lost: {reason}") from None

    def send(self, executable: Any, compiler: str) -> Any:
        """Links the network for the device, sends it and loads it there. Raises EnvironmentUnfitError when the compiler
        is missing or fails, DeviceLostError when the device is lost."""
        with TemporaryDirectory() as folder:
            library = Path(folder, "network.so")
            link(executable, library, compiler)
            return self.load(library)

    def load(self, library: Path) -> Any:
        """Sends the file that `link` wrote and loads it there. Raises DeviceLostError when the device is lost."""
        name = f"network{next(self._names)}.so"
        with self.guarded():
            self.connection.upload(bytearray(library.read_bytes()), target=name)
            return self.connection.load_module(name)

    def choose_cores(self, mode: int) -> None:
        """Sets the device's number of threads, and the cluster on which they run."""
        with self.guarded():
            self.connection.get_function("runtime.config_threadpool")(mode, self.device.threads)
            granted = int(self.connection.get_function("runtime.NumThreads")())
        if granted < self.device.threads:
            raise EnvironmentUnfitError(
                f"device {self.device.name!r} asks for {self.device.threads} threads, but its server grants {granted}; "
                "start the server with TVM_NUM_THREADS"
            )


class RpcSessions:
    """One session per device, kept for the life of the process: a server takes a while to become free again."""

    def __init__(self) -> None:
        self._open: dict[tuple[str, str], RpcSession] = {}

    def of(self, device: Device) -> RpcSession:
        """Raises InputError for a bad address, EnvironmentUnfitError without a compiler that links for the device or
        when the device does not answer in time."""
        chosen = target.read(device)
        mode = _mode(device)
        if shutil.which(chosen.compiler) is None:
            raise EnvironmentUnfitError(
                f"device {device.name!r} needs the compiler {chosen.compiler!r} to link for it; install it "
                "or name another one with the option `compiler`"
            )
        where = (device.remote, chosen.key)
        if found := self._open.pop(where, None):
            with suppress(DeviceLostError):  # it may have been lost since it was used last
                found.choose_cores(mode)
                self._open[where] = found
                return found
        session = RpcSession(_connect(device, chosen), device, chosen.answer_s)
        session.choose_cores(mode)
        self._open[where] = session
        return session


def link(executable: Any, library: Path, compiler: str) -> None:
    """Writes the network as a shared library. Raises EnvironmentUnfitError when the compiler fails."""
    try:
        executable.export_library(str(library), fcompile=tvm.support.cc.cross_compiler(compiler))
    except RuntimeError as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise EnvironmentUnfitError(f"{compiler!r} cannot link for the device: {reason}") from None


def hardware(device: Device) -> Mapping[str, Any]:
    """The hardware as the device file describes it: RPC does not show more."""
    built_for = target.of(device)
    return {
        "machine": str(built_for.attrs.get("mtriple", "")).partition("-")[0],
        "cpu": str(built_for.attrs["mcpu"]),
        "features": sorted(map(str, built_for.attrs.get("mattr", ()))),
        "key": target.read(device).key,
    }


def _mode(device: Device) -> int:
    mode = _CLUSTERS.get(str(device.cores))
    if mode is None:
        raise InputError(
            f"device {device.name!r} is remote; cores must be one of {', '.join(_CLUSTERS)}, not {device.cores!r}"
        )
    return mode


def address(device: Device) -> tuple[str, int]:
    """Host and port of the tracker. Raises InputError."""
    host, _, port = device.remote.rpartition(":")
    if not host or not port.isdigit() or int(port) > 65535:
        raise InputError(f"device {device.name!r}: remote must be HOST:PORT of a tracker, not {device.remote!r}")
    return host.strip("[]"), int(port)


def _connect(device: Device, chosen: target.Options) -> Any:
    """A session with a server of the device's key; waits as long as the options say."""
    end = monotonic() + chosen.wait_s
    while True:
        missing = _missing(device, chosen.key)
        if not missing:
            try:
                return _request(device, chosen)
            except _ERRORS as error:  # lost or taken since the tracker was asked
                missing = (str(error).strip().splitlines() or [type(error).__name__])[-1]
        if monotonic() >= end:
            raise EnvironmentUnfitError(f"device {device.name!r}: {missing} (waited {chosen.wait_s:g} s)")
        sleep(min(_POLL_S, max(0.0, end - monotonic())))


def _missing(device: Device, key: str) -> str:
    """Says what is missing: the tracker, the key, or a free server."""
    try:
        tracker = _tracker(device)
    except _ERRORS as error:
        reason = getattr(error, "strerror", None) or error
        return f"no TVM tracker answers at {device.remote}: {reason}"
    try:
        summary = tracker.summary()
    except _ERRORS as error:
        return f"the tracker at {device.remote} closed the connection: {error}"
    finally:
        tracker.close()
    keys = sorted({server["key"].partition(":")[2] for server in summary["server_info"]})
    if key not in keys:
        registered = f"it knows {', '.join(keys)}" if keys else "no server is registered there"
        return f"the tracker at {device.remote} has no server with the key {key!r}; {registered}"
    if not summary["queue_info"].get(key, {}).get("free"):
        return f"every server with the key {key!r} at {device.remote} is busy"
    return ""


def _tracker(device: Device) -> Any:
    """Connects by itself first, since the library would retry for a minute."""
    host, port = address(device)
    with socket.create_connection((host, port), timeout=_CONNECT_S):
        pass
    tracker = rpc.connect_tracker(host, port)
    tracker._sock.settimeout(_CONNECT_S)  # the library has no time limit of its own
    return tracker


def _request(device: Device, chosen: target.Options) -> Any:
    logging.getLogger("RPCTracker").setLevel(logging.ERROR)
    tracker = _tracker(device)
    try:
        return time_limit.connected(lambda: tracker.request(chosen.key, max_retry=1), chosen.answer_s)
    finally:
        tracker.close()
