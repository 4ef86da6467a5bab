"""The agent of one board: it measures one request at a time, and keeps each answer until the driver's store has it.

A runtime runs in worker processes (`hwprof.measure`), which die with the agent; so one that crashes, hangs or takes all
memory is an answer. The kernel releases the lock on the agent's folder when it ends, however that ends, and its workers
hold the lock on the machine that `hwprof profile` takes, too.

2026-11-29, why an agent has no process of its own for each request. It would load NumPy and ONNX again for each, a
second on a small board, to wait for workers that are processes already.
"""

from __future__ import annotations

import json
import os
import shutil
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from threading import Lock
from time import time
from typing import Any

from hwprof import __version__
from hwprof.device import Device
from hwprof.errors import DeviceLostError, EnvironmentUnfitError, HwprofError, InputError, one_line
from hwprof.fleet import engine, parcel
from hwprof.fleet import request as requests
from hwprof.fleet.cache import Cache
from hwprof.fleet.carrying import CarryingTransport
from hwprof.fleet.outbox import Outbox
from hwprof.fleet.plan import Launch, PlannedBoard
from hwprof.fleet.request import DrainingError
from hwprof.measure.hold import held
from hwprof.measure.opening import require_runnable, smallest
from hwprof.measure.rounds import Cohort, Rounds
from hwprof.measure.transport import LimitedTransport, RestartedWorker, Transport
from hwprof.measure.worker_process import LocalTransport
from hwprof.measurement import ProtocolSettings

_BUSY_S = 86400.0  # to wait for a `hwprof profile` that somebody runs on the board
_GREETING_S = 300.0
_MOST_ERRORS = 3  # of the last ones, which are told with every heartbeat
_LONGEST_ERROR = 300  # characters
_AGENTS: dict[str, Agent] = {}  # those that serve in this process, by the name of their Dask worker


@dataclass(slots=True)
class State:
    """The agent's work at this moment, told with every heartbeat. failures: requests in a row after which the board
    was not well. delivered: answers of this agent that a store has. hardware: in words, by the name of the device.
    errors: the last ones, with their times (Unix, s)."""

    doing: str = "idle"
    models: str = ""
    progress: float = 0.0
    names: tuple[str, ...] = ()
    since: float = field(default_factory=time)
    answered: int = 0
    delivered: int = 0
    failures: int = 0
    hardware: dict[str, str] = field(default_factory=dict)
    errors: deque[tuple[float, str]] = field(default_factory=partial(deque, maxlen=_MOST_ERRORS))

    def begin(self, doing: str, models: str = "", names: Sequence[str] = ()) -> None:
        self.doing, self.models, self.names = doing, models, tuple(names)
        self.progress, self.since = 0.0, time()

    def note(self, error: HwprofError, models: str = "") -> None:
        """Keeps an error."""
        self.errors.append((time(), one_line(f"{models}: {error}" if models else error, _LONGEST_ERROR)))


@dataclass(slots=True)
class Agent:
    """Answers requests from one thread at a time. folder: its own. transport: where the workers of the board run.
    stopped: the jobs whose time was over."""

    board: PlannedBoard
    folder: Path
    transport: Transport = field(default_factory=LocalTransport)
    state: State = field(default_factory=State)
    outbox: Outbox = field(init=False)
    cache: Cache = field(init=False)
    is_draining: bool = False
    stopped: set[str] = field(default_factory=set)
    started: float = field(default_factory=time)
    lock: Lock = field(default_factory=Lock)

    def __post_init__(self) -> None:
        """Makes its folders. Only one agent may have them."""
        self.outbox, self.cache = Outbox(self.folder / "outbox"), Cache(self.folder / "cache")
        self.outbox.open()
        self.cache.open()

    def facts(self) -> dict[str, Any]:
        """The facts that the driver must know before it sends a request. JSON-ready."""
        return {"hwprof": __version__, "board": self.board.name, "started": self.started, "pid": os.getpid()}

    def metric(self) -> dict[str, Any]:
        """The state. `names`: the answers that are measured now; `holds`: those that wait. JSON-ready."""
        state = self.state
        return {
            "doing": "draining" if self.is_draining else state.doing, "models": state.models, "since": state.since,
            "progress": round(state.progress, 3), "names": list(state.names), "holds": sorted(self.outbox.names()),
            "answered": state.answered, "delivered": state.delivered, "failures": state.failures,
            "hardware": dict(state.hardware), "errors": [list(error) for error in state.errors],
        }  # fmt: skip

    def answer(self, text: str) -> str:
        """The answer to a request; whatever happens, it is one."""
        try:
            request = requests.read_request(text)
            self.state.delivered += self.outbox.remove(str(name) for name in request.get("done", ()))
            return json.dumps(self._answered(request))
        except HwprofError as error:
            self.state.failures += isinstance(error, DeviceLostError | EnvironmentUnfitError)
            return json.dumps(self._refusal(error))
        except Exception as error:  # noqa: BLE001 -- the border of the agent, which must outlive every request
            text = f"board {self.board.name}: {type(error).__name__}: {one_line(error)}"
            return json.dumps(self._refusal(DeviceLostError(text)))

    def _refusal(self, error: HwprofError) -> dict[str, Any]:
        if not isinstance(error, DrainingError):
            self.state.note(error)
        return requests.error_record(error)

    def _answered(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Also while the board measures: what only changes what it does next."""
        if request["do"] == "forget":
            return {}
        if request["do"] == "stop":
            self.stopped.add(str(request["job"]))
            return {}
        if request["do"] == "drain":
            self.is_draining = True
            return {}
        if self.is_draining:
            raise DrainingError(f"board {self.board.name} is draining")
        known: dict[str, Callable[[Mapping[str, Any]], dict[str, Any]]] = {
            "greet": self._greet, "measure": self._measure, "ask": self._ask,
        }  # fmt: skip
        if request["do"] not in known:
            raise InputError(f"the request {request['do']!r} is not known")
        with self.lock:
            try:
                found = known[request["do"]](request)
            finally:
                self.state.begin("idle")
            self.state.answered += 1
            return found

    # -- requests ------------------------------------------------------------------------------------------

    def _greet(self, request: Mapping[str, Any]) -> dict[str, Any]:
        device = Device.from_record(request["device"])
        self.state.begin("greeting", device.name)
        record = device.to_record(with_address=True)
        with self._to_ourselves(device, _GREETING_S) as alone, RestartedWorker(alone, device) as worker:
            greeting = {do: list(worker.ask(do, device=record)) for do in requests.GREETINGS}
        self.state.hardware[device.name] = _words(greeting["hello"])
        return greeting

    def _ask(self, request: Mapping[str, Any]) -> dict[str, Any]:
        device, asked = Device.from_record(request["device"]), dict(request["request"])
        if missing := self._missing(request, request["graphs"]):
            return {"missing": missing}
        self.state.begin(str(asked["do"]), device.name)
        with self._files() as folder:
            graphs = parcel.unpacked(request["graphs"], self.cache, folder)
            asked |= dict(_as_asked(asked, graphs))
            with self._to_ourselves(device, request["limit_s"]) as alone, alone.open(device) as worker:
                return {"answers": list(worker.ask(**asked))}

    def _measure(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Each cohort is measured once, however often it is asked for; one that was stopped goes on."""
        device, is_over = Device.from_record(request["device"]), partial(self._is_over, str(request["job"]))
        records = {str(record["name"]): record for record in request["cohorts"]}
        if not all(name.isalnum() for name in records):
            raise InputError("a cohort's name is not a digest")
        if missing := self._missing(request, [packed for one in records.values() for packed in one["graphs"]]):
            return {"missing": missing}
        left = {name: record for name, record in records.items() if not self._has_final(name)}
        is_well = True
        if left and not is_over():
            with self._files() as folder, self._to_ourselves(device, request["limit_s"], is_over) as alone:
                cohorts = {name: self._cohort(record, folder / name) for name, record in left.items()}
                is_well = self._measured(cohorts, device, request, alone)
        answers = [self.outbox.get(name) or requests.not_begun(record) for name, record in records.items()]
        return {"cohorts": answers, "is_well": is_well}

    def _measured(
        self, cohorts: Mapping[str, Cohort], device: Device, request: Mapping[str, Any], alone: Transport
    ) -> bool:  # fmt: skip
        """Puts the cohorts into the outbox as they end. Returns whether the board is well."""
        settings, names = ProtocolSettings(**request["settings"]), {id(c): name for name, c in cohorts.items()}
        is_over = partial(self._is_over, str(request["job"]))
        self.state.begin("measuring", _models(cohorts.values()), list(cohorts))
        reached = dict.fromkeys(names, 0.0)

        def show(cohort: Cohort) -> None:
            reached[id(cohort)] = cohort.progress(settings)
            self.state.progress = sum(reached.values()) / len(reached)

        rounds = Rounds(
            device, settings, _nothing, show, alone, in_detail=request["in_detail"], is_over=is_over
        )  # fmt: skip
        is_well = True
        for cohort in rounds.run(list(cohorts.values())):
            if isinstance(cohort.error, DeviceLostError):
                is_well = self._is_well(device, alone)
            if cohort.error is not None and not is_over():
                self.state.note(cohort.error, _models([cohort]))
            self.outbox.put(names[id(cohort)], requests.cohort_answer(cohort, is_over()))
        self.state.failures = 0 if is_well else self.state.failures + 1
        return is_well

    def _cohort(self, record: Mapping[str, Any], folder: Path) -> Cohort:
        """With the processes that the driver has, or that a stopped job left here."""
        graphs = parcel.unpacked(record["graphs"], self.cache, folder)
        kept = self.outbox.get(str(record["name"])) or record
        found = requests.processes(kept["processes"])
        return Cohort(tuple(graphs), found, margin=record["margin"], limit=record.get("limit"))

    def _has_final(self, name: str) -> bool:
        answer = self.outbox.get(name)
        return answer is not None and not answer.get("is_stopped")

    def _is_over(self, job: str) -> bool:
        return job in self.stopped

    def _missing(self, request: Mapping[str, Any], packed: Sequence[parcel.Packed]) -> list[str]:
        """The digests of what must be sent before the graphs can be unpacked; keeps what was sent."""
        wanted = parcel.digests(packed)
        self.cache.add(request["contents"])
        self.cache.trim(wanted)
        return self.cache.missing(wanted)

    def _is_well(self, device: Device, transport: Transport) -> bool:
        """Whether the board still runs the smallest network: one that crashed was the network's fault."""
        try:
            require_runnable(smallest(device), device, transport)
        except HwprofError:
            return False
        return True

    @contextmanager
    def _files(self) -> Iterator[Path]:
        """A folder for the files of one request, which are removed after it."""
        folder = (self.folder / "files").resolve()
        shutil.rmtree(folder, ignore_errors=True)  # of an agent that was killed
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    @contextmanager
    def _to_ourselves(
        self, device: Device, limit_s: float, is_over: Callable[[], bool] = lambda: False
    ) -> Iterator[Transport]:
        """A transport with the lock of the board's machine, which a local `hwprof profile` may hold for now."""
        self.state.doing, doing = "waiting", self.state.doing
        with held(LimitedTransport(self.transport, limit_s), device, _BUSY_S, is_over) as alone:
            self.state.doing = doing
            yield alone


def answer(text: str, dask_worker: Any = None) -> str:
    """The only function that a driver runs on an agent: a request as JSON, and its answer. dask_worker: is filled in
    by Dask where the function runs outside of the queue of requests."""
    agent = _AGENTS.get(engine.worker_name(dask_worker))
    if agent is None:
        return json.dumps(requests.error_record(EnvironmentUnfitError("there is no agent in this process")))
    return agent.answer(text)


def register(name: str, agent: Agent) -> None:
    """The Dask worker of this name in this process answers as the agent does."""
    _AGENTS[name] = agent


def transport_of(board: PlannedBoard) -> Transport:
    """Where the workers of the board run: here, or at the other end of an SSH connection."""
    if board.launch is not Launch.SSH:
        return LocalTransport()
    options = ("-T", "-o", "BatchMode=yes", "-o", "ConnectTimeout=10", "-o", "ServerAliveInterval=5")
    command = ("ssh", *options, "--", board.host, f"exec {board.python} -m hwprof.measure.worker")
    return CarryingTransport(LocalTransport(command))


def _as_asked(asked: Mapping[str, Any], graphs: Sequence[Any]) -> Iterator[tuple[str, Any]]:
    """The graphs of a request to a worker, under the name that it had for them."""
    texts = [graph.to_json() for graph in graphs]
    if "graphs" in asked:
        yield "graphs", texts
    elif texts:
        yield "graph", texts[0]


def _words(hello: Sequence[Mapping[str, Any]]) -> str:
    """The hardware that a worker told of: "Cortex-A72, 4 cores"."""
    hardware = dict(hello[0].get("hardware", {})) if hello else {}
    cores = f"{hardware['cores']} cores" if "cores" in hardware else ""
    named = (str(hardware.get("gpu", "")), str(hardware.get("cpu", "")), cores)
    return ", ".join(filter(None, named))


def _models(cohorts: Iterable[Cohort]) -> str:
    """The networks in a few words."""
    first, *others = dict.fromkeys(graph.name for cohort in cohorts for graph in cohort.graphs)
    return f"{first} and {len(others)} more" if others else first


def _nothing(cohort: Cohort, place: int, process: object) -> None:
    """The processes are in the cohort."""
