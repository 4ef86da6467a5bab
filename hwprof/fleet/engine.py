"""Dask distributed as a fleet needs it: encrypted and with a certificate on both sides, silent, and without its web
server, its profiler, its memory manager and its stealing.

The only function that is ever sent is `hwprof.fleet.agent.answer`, by its name; what it takes and returns is JSON text.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from hwprof import plugins
from hwprof.fleet.certificates import Credentials

with plugins.optional_library("a fleet"):
    import dask
    from distributed import Client, Scheduler, Worker, get_worker
    from distributed.security import Security

_SETTINGS = {
    "distributed.admin.system-monitor.interval": "60s",
    "distributed.admin.tick.interval": "2s",
    "distributed.admin.tick.limit": "1h",  # a busy board is not a fault
    "distributed.client.scheduler-info-interval": "1h",  # the driver asks by itself
    "distributed.comm.require-encryption": True,
    "distributed.comm.timeouts.connect": "60s",  # a first connection takes seconds of a small board's processor
    "distributed.scheduler.active-memory-manager.start": False,
    "distributed.scheduler.allowed-failures": 0,  # a request that kills agents must not visit them all
    "distributed.scheduler.http.routes": [],
    "distributed.scheduler.work-stealing": False,
    "distributed.scheduler.worker-ttl": "60s",  # a board whose plug was pulled
    "distributed.worker.daemon": True,
    "distributed.worker.http.routes": [],
    "distributed.worker.profile.enabled": False,  # it would disturb what is measured
}
_RECONNECT_S = 5.0


class QuietScheduler(Scheduler):
    """A scheduler that listens to certificates of its fleet and to nothing else."""

    def start_http_server(self, *arguments: Any, **options: Any) -> None:
        """Starts none: it would answer whoever asks."""

    def identity(self, n_workers: int = -1) -> dict[str, Any]:
        """Dask's, and `drivers`: the names of the clients that are connected now."""
        return {**super().identity(n_workers), "drivers": list(self.clients)}


class QuietWorker(Worker):
    """A worker that listens to certificates of its fleet and to nothing else."""

    def start_http_server(self, *arguments: Any, **options: Any) -> None:
        """Starts none: it would answer whoever asks."""


def security(keys: Credentials) -> Security:
    """TLS 1.2 or newer on both sides, with the role's certificate."""
    files = {"tls_ca_file": str(keys.authority)}
    for role in ("scheduler", "worker", "client"):
        files |= {f"tls_{role}_cert": str(keys.certificate), f"tls_{role}_key": str(keys.key)}
    return Security(require_encryption=True, **files)


@contextmanager
def settings() -> Iterator[None]:
    """Dask's settings for what is made inside of the context."""
    with dask.config.set(_SETTINGS):
        yield


def silence() -> None:
    """Keeps Dask's log, which tells of every lost connection with a traceback, from the user's screen."""
    for name in ("distributed", "tornado", "asyncio"):
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)


def scheduler(host: str, port: int, keys: Credentials) -> QuietScheduler:
    """A scheduler, which starts when it is awaited."""
    return QuietScheduler(host=host, port=port, protocol="tls", security=security(keys), dashboard=False)


def worker(
    scheduler_address: str, keys: Credentials, name: str, board: str, host: str | None,
    facts: Mapping[str, Any], metric: Any,
) -> QuietWorker:  # fmt: skip
    """A worker for one board: one thread, one resource. facts: what the driver must know of it, JSON-ready. metric: a
    function that tells its state with every heartbeat."""
    return QuietWorker(
        scheduler_address, nthreads=1, name=name, host=host, resources={f"board:{board}": 1}, memory_limit=0,
        security=security(keys), startup_information={"hwprof": lambda _: dict(facts)},
        metrics={"hwprof": lambda _: metric()},
    )  # fmt: skip


def worker_name(known: Worker | None = None) -> str:
    """The name of the worker that runs the caller."""
    return str((known or get_worker()).name)


def client(address: str, keys: Credentials) -> Client:
    """A connected client. Raises OSError where the scheduler does not answer."""
    return Client(address, security=security(keys), timeout=_RECONNECT_S, set_as_default=False, name="hwprof")
