"""A fleet within this process: a scheduler and agents on the loopback interface, whose workers are played."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from threading import Thread

from hwprof.fleet import certificates, engine, serving
from hwprof.fleet.agent import Agent
from hwprof.fleet.certificates import Credentials, Role
from hwprof.fleet.plan import Plan
from hwprof.measure.transport import Transport
from tests.fleet.chaos import free_port

DEVICE = "any"


def plan_of(folder: Path, names: list[str], **settings: object) -> Plan:
    """A plan with its keys, for a free port."""
    lines = ['schema = "hwprof.fleet/1"', f'scheduler = "127.0.0.1:{free_port()}"', 'keys = "keys"']
    lines += [f"{name} = {value}" for name, value in settings.items()]
    for name in names:
        lines += ["[[board]]", f'name = "{name}"', f'devices = ["{DEVICE}"]']
    path = folder / "fleet.toml"
    path.write_text("\n".join(lines) + "\n")
    if not (folder / "keys").exists():
        certificates.make(folder / "keys", "test")
    return Plan.load(path)


@dataclass
class Loopback:
    """A context manager. transports: of each board by its name; one without has no agent yet (`start_agent`)."""

    plan: Plan
    transports: Mapping[str, Transport]
    agents: dict[str, Agent] = field(default_factory=dict)
    told: list[str] = field(default_factory=list)
    loop: asyncio.AbstractEventLoop = field(default_factory=asyncio.new_event_loop)
    serving: list[Future] = field(default_factory=list)

    def __enter__(self):
        engine.silence()
        self.thread = Thread(target=self.loop.run_forever, daemon=True)
        self.thread.start()
        self.settings = engine.settings()
        self.settings.__enter__()
        self.scheduler = self.wait_for(self._scheduler())
        for name, transport in self.transports.items():
            self.start_agent(name, transport)
        return self

    async def _scheduler(self):
        host, port = self.plan.host_and_port
        return await engine.scheduler(host, port, Credentials.of(self.plan.keys, Role.SCHEDULER))

    def start_agent(self, name: str, transport: Transport) -> Agent:
        agent = Agent(self.plan.board(name), self.plan.path.parent / name, transport)
        self.agents[name] = agent
        keys = Credentials.of(self.plan.keys, Role.AGENT)
        served = serving._serve(self.plan, agent, keys, self.told.append, None)
        self.serving.append(asyncio.run_coroutine_threadsafe(served, self.loop))
        return agent

    def wait_for(self, awaitable, limit_s: float = 60):
        return asyncio.run_coroutine_threadsafe(awaitable, self.loop).result(limit_s)

    def __exit__(self, *error: object) -> None:
        for agent in self.agents.values():
            agent.is_draining = True
            agent.outbox.remove([*agent.outbox.names()])
        for served in self.serving:
            served.result(30)
        self.wait_for(self.scheduler.close())
        self.settings.__exit__(None, None, None)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(10)
        self.loop.close()
