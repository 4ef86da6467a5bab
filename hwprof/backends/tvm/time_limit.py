"""Limits how long the library waits for a device: it has no limit of its own, and a board without power is silent.

The library does not expose its socket, so it is found as the one that a call has opened. The limit on the socket holds
wherever the library waits, including its destructors, where no Python thread could interrupt it.
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from threading import Timer
from typing import TypeVar

T = TypeVar("T")
_QUIET_S = 30  # without a packet from the device's kernel, which answers whatever its programs do
_PROBES = ((socket.TCP_KEEPIDLE, 10), (socket.TCP_KEEPINTVL, 5), (socket.TCP_KEEPCNT, (_QUIET_S - 10) // 5))


def connected(connect: Callable[[], T], limit_s: float) -> T:
    """The result of `connect`. A round trip on the connection that it opens may take `limit_s`, and the device's kernel
    may be silent for half a minute; after that the library raises RuntimeError."""
    before = _sockets()
    impatience = Timer(limit_s, _shut_all_but, [before])
    impatience.daemon = True
    impatience.start()
    try:
        connection = connect()
    finally:
        impatience.cancel()
    for fd in _sockets() - before:
        _limit(fd, limit_s)
    return connection


def _sockets() -> set[int]:
    """The open sockets of this process."""
    found = set()
    for entry in Path("/proc/self/fd").iterdir():
        with suppress(OSError):  # closed in the meantime
            if str(entry.readlink()).startswith("socket:"):
                found.add(int(entry.name))
    return found


def _limit(fd: int, limit_s: float) -> None:
    with socket.socket(fileno=os.dup(fd)) as shared:
        duration = struct.pack("@ll", int(limit_s), int(limit_s % 1 * 1e6))
        shared.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, duration)
        shared.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, duration)
        shared.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in _PROBES:
            shared.setsockopt(socket.IPPROTO_TCP, option, value)
        shared.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 1000 * _QUIET_S)


def _shut_all_but(before: set[int]) -> None:
    for fd in _sockets() - before:
        with suppress(OSError), socket.socket(fileno=os.dup(fd)) as shared:
            shared.shutdown(socket.SHUT_RDWR)
