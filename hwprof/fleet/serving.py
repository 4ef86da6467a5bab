"""Runs the parts of a fleet that serve: the scheduler, and the agent of a board, until they are told to end."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from threading import Thread
from time import monotonic

from hwprof.errors import EnvironmentUnfitError, one_line
from hwprof.files import lock
from hwprof.fleet import agent as agents
from hwprof.fleet import engine
from hwprof.fleet.agent import Agent
from hwprof.fleet.certificates import Credentials, Role, require_access
from hwprof.fleet.plan import Plan
from hwprof.measure.transport import Transport

FOLDER = Path("hwprof.fleet")
_AGAIN_S = (1.0, 3.0)  # at random, so that a thousand agents do not all call a new scheduler at once
_PATIENCE_S = 10.0  # a scheduler that was started with the agent needs a moment, of which nobody is told
_ACCESS_S = 20.0  # for a scheduler that all of them call
_LOOK_S = 1.0  # seldom, for each look takes a little of the board
_DELIVERED_S = 20.0  # for a driver to take the last answers of an agent that drains

Tell = Callable[[str], None]


def run_scheduler(plan: Plan, tell: Tell, listen: str | None = None) -> None:
    """Serves until the process is told to end, at the plan's address or at `listen` of this machine. Raises
    EnvironmentUnfitError where the port is taken."""
    keys = Credentials.of(plan.keys, Role.SCHEDULER)
    keys.context()
    engine.silence()
    with engine.settings():
        asyncio.run(_schedule(plan, keys, tell, listen))


async def _schedule(plan: Plan, keys: Credentials, tell: Tell, listen: str | None) -> None:
    host, port = plan.host_and_port
    try:
        async with engine.scheduler(listen or host, port, keys):
            tell(f"scheduler: serves at {host}:{port}")
            await _until_told()
    except (OSError, RuntimeError) as error:
        raise EnvironmentUnfitError(f"cannot serve at {plan.scheduler}: {one_line(error)}") from None


def run_agent(
    plan: Plan, board: str, tell: Tell, folder: Path = FOLDER, host: str | None = None,
    transport: Transport | None = None,
) -> None:  # fmt: skip
    """Measures what drivers ask for until the board is drained, also by a signal to end: it finishes what it has begun.

    folder: for what is measured and not yet in a driver's store. host: the address by which the scheduler reaches this
    machine. transport: where its workers run, if not where the plan says.

    Raises EnvironmentUnfitError where another agent serves the board, or the scheduler refuses this one.
    """
    planned, keys = plan.board(board), Credentials.of(plan.keys, Role.AGENT)
    own = folder / board
    own.mkdir(parents=True, exist_ok=True, mode=0o700)
    if (held := lock(own)) is None:
        raise EnvironmentUnfitError(f"another agent serves board {board!r} with the folder {str(own)!r}")
    engine.silence()
    try:
        agent = Agent(planned, own, transport or agents.transport_of(planned))
        with engine.settings():
            asyncio.run(_serve(plan, agent, keys, tell, host))
    finally:
        os.close(held)


async def _serve(plan: Plan, agent: Agent, keys: Credentials, tell: Tell, host: str | None) -> None:
    """Goes on when the scheduler was away: it is disposable, and the next one knows nothing of the last one."""
    _on_end_signals(agent)
    told, alone_since = "", None
    for start in range(sys.maxsize):
        if agent.is_draining:
            return
        try:
            await asyncio.to_thread(require_access, *plan.host_and_port, keys, _ACCESS_S)
            await _work(plan, agent, keys, f"{agent.board.name}-{os.getpid()}-{start}", host)
            told, alone_since = "", None
        except OSError as error:
            alone_since = alone_since or monotonic()
            if str(error) != told and monotonic() - alone_since >= _PATIENCE_S:
                tell(f"{agent.board.name}: {one_line(error)}; the agent goes on trying")
                told = str(error)
        except (ValueError, RuntimeError) as error:  # what Dask raises where it refuses a worker
            tell(f"{agent.board.name}: the scheduler refused the agent: {one_line(error)}")
        await asyncio.sleep(random.uniform(*_AGAIN_S))


async def _work(plan: Plan, agent: Agent, keys: Credentials, name: str, host: str | None) -> None:
    agents.register(name, agent)
    worker = engine.worker(plan.address, keys, name, agent.board.name, host, agent.facts(), agent.metric)
    async with worker:
        ended = asyncio.ensure_future(worker.finished())  # type: ignore[no-untyped-call]
        while not ended.done() and not await _is_drained(agent):
            await asyncio.wait([ended], timeout=_LOOK_S)
        ended.cancel()
        await worker.close(timeout=1, executor_wait=False)


async def _is_drained(agent: Agent) -> bool:
    """Whether nothing is measured any more, and a driver that is there has taken the answers."""
    if not agent.is_draining or agent.lock.locked():
        return False
    for _ in range(round(_DELIVERED_S / _LOOK_S)):
        if not any(agent.outbox.names()):
            break
        await asyncio.sleep(_LOOK_S)
    return True


def _on_end_signals(agent: Agent) -> None:
    def drain() -> None:
        agent.is_draining = True

    with suppress(NotImplementedError, ValueError, RuntimeError):  # not in the main thread
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, drain)


async def _until_told() -> None:
    told = asyncio.Event()
    with suppress(NotImplementedError, ValueError, RuntimeError):
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, told.set)
    await told.wait()


def end_with_input() -> None:
    """Ends this process when its standard input does: the one that started it is gone."""

    def watch() -> None:
        while os.read(0, 1024):
            pass
        os._exit(0)

    Thread(target=watch, daemon=True).start()
