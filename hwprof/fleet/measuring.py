"""Opens a fleet, and turns the options of any measuring job into those of a job on it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from threading import Lock
from typing import Any

from hwprof.device import Device
from hwprof.fleet.driver import Fleet
from hwprof.fleet.plan import Plan
from hwprof.fleet.pool import Pool
from hwprof.fleet.rounds import FleetRounds
from hwprof.fleet.transport import FleetTransport
from hwprof.measure.recording import Options


@dataclass(frozen=True, slots=True)
class OpenFleet:
    """A fleet with the pools of the devices that were asked for.

    with hp.open_fleet("fleet.toml") as fleet:
        hp.profile("model.onnx", "cpu-1t", options=fleet.options())
    """

    fleet: Fleet
    pools: dict[tuple[str, bool], Pool] = field(default_factory=dict)
    lock: Lock = field(default_factory=Lock)

    @property
    def devices(self) -> list[str]:
        """The names of the devices that the fleet has."""
        return self.fleet.plan.devices

    def options(self, options: Options | None = None) -> Options:
        """The options of a job that measures on the fleet instead of on this machine."""
        asked = options or Options()
        places = _Places(self, asked.allow_unfit)
        rounds = partial(_rounds, places, asked)
        return replace(asked, transport=FleetTransport(places), rounds=rounds, machines=len(self.fleet.plan.boards))

    def pool(self, device: Device, allow_unfit: bool) -> Pool:
        with self.lock:
            key = (device.digest, allow_unfit)
            if key not in self.pools:
                self.pools[key] = Pool(self.fleet, device, allow_unfit)
            return self.pools[key]


@dataclass(frozen=True, slots=True)
class _Places:
    opened: OpenFleet
    allow_unfit: bool

    def of(self, device: Device) -> Pool:
        return self.opened.pool(device, self.allow_unfit)


def _rounds(places: _Places, options: Options, device: Device, *arguments: Any, **settings: Any) -> FleetRounds:
    """From the arguments of `Rounds`."""
    rounds = FleetRounds(device, *arguments, **settings)
    rounds.pool, rounds.limit_s = places.of(device), options.answer_limit_s
    return rounds


@contextmanager
def open_fleet(plan: Plan | Path | str, tell: Callable[[str], None] = lambda _text: None) -> Iterator[OpenFleet]:
    """A fleet, by its file, for jobs of this process; tell: takes what happens to its boards, and the figures
    of `hp.pick_device`, a line each.

    Raises InputError for a wrong file, and EnvironmentUnfitError where the scheduler does not answer or refuses this
    machine's keys."""
    opened = plan if isinstance(plan, Plan) else Plan.load(plan)
    with Fleet(opened, tell) as fleet:
        yield OpenFleet(fleet)
