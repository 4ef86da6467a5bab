"""A worker that a test plays: its measurements are made up, and nothing is started."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from hwprof.device import Device
from hwprof.measure.transport import LIMIT_S, MockTransport, Request, Worker
from hwprof.measurement import Evidence
from tests.samples import make_process

HARDWARE = {"cpu": "cortex-a72", "machine": "aarch64"}


@dataclass
class ScriptedTransport:
    """Answers as a quiet device whose networks take 1 ms. `spoil(request)` sees each request first: what it raises the
    worker raises, what it returns is the answer. `workers` counts those that were opened, `limits_s` what each of their
    answers may take; `requests` keeps all."""

    spoil: Callable[[Request], Iterable[Mapping[str, Any]] | None] = lambda _request: None
    evidence: Evidence = Evidence.MEASURED
    workers: int = 0
    requests: list[Request] = field(default_factory=list)
    limits_s: list[float] = field(default_factory=list)

    def open(self, device: Device, limit_s: float = LIMIT_S) -> Worker:
        self.workers += 1
        self.limits_s.append(limit_s)
        return MockTransport(self._answer).open(device, limit_s)

    def asked(self, do: str) -> list[Request]:
        return [request for request in self.requests if request["do"] == do]

    def _answer(self, request: Request) -> Iterable[Mapping[str, Any]]:
        self.requests.append(request)
        spoiled = self.spoil(request)
        return getattr(self, request["do"])(request) if spoiled is None else spoiled

    def hold(self, _request: Request) -> Iterator[Mapping[str, Any]]:
        yield {"is_held": self.evidence is Evidence.MEASURED}

    def preflight(self, _request: Request) -> Iterator[Mapping[str, Any]]:
        yield {"name": "turbo", "fitness": "warning", "found": "on", "advice": "turn it off to compare"}

    def hello(self, _request: Request) -> Iterator[Mapping[str, Any]]:
        yield {
            "versions": {"runtime": "1.0"}, "evidence": str(self.evidence), "hardware": HARDWARE,
            "fingerprint": "0123456789ab", "state": None,
        }  # fmt: skip

    def overhead(self, _request: Request) -> Iterator[Mapping[str, Any]]:
        yield {"empty_ns": [70.0, 20.0]}
        yield {"identity_ns": None}

    def opening(self, _request: Request) -> Iterator[Mapping[str, Any]]:
        yield {"opened": True}

    def snapshot(self, _request: Request) -> Iterator[Mapping[str, Any]]:
        yield {"cores": [3]}

    def measure(self, request: Request) -> Iterator[Mapping[str, Any]]:
        for place, _ in enumerate(request["graphs"]):
            yield {"index": place, "process": asdict(make_process(request["round"], [1e6] * request["blocks"]))}

    def operators(self, _request: Request) -> Iterator[Mapping[str, Any]]:
        kernel = {"name": "conv", "op": "Conv", "ns": 9e5, "members": ["conv"]}
        yield {"operators": [kernel], "profiled_ns": 1.1e6, "machine": "aarch64"}
