"""Reads the trace of torch.profiler: labelled intervals of the host's time and the kernels launched in them."""

from __future__ import annotations

import json
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from torch.profiler import ProfilerActivity, profile

_DEVICE_WORK = frozenset({"kernel", "gpu_memcpy", "gpu_memset"})
_LAUNCHES = frozenset({"cuda_runtime", "cuda_driver"})
LABEL = "hwprof#"


@dataclass(frozen=True, slots=True)
class Event:
    """An interval of one thread of the host, us; for a kernel on the device, the moment of its launch and its duration
    there."""

    name: str
    start_us: float
    duration_us: float
    thread: object

    @property
    def end_us(self) -> float:
        return self.start_us + self.duration_us


@dataclass(frozen=True, slots=True)
class Trace:
    """Lists in the order of time: labels (with the prefix `LABEL`), calls of PyTorch's operators, kernels on the
    device."""

    labels: Sequence[Event]
    calls: Sequence[Event]
    kernels: Sequence[Event]


def record(work: Callable[[], object], on_device: bool) -> Trace:
    """Runs the work under the profiler. The work must wait for the device itself."""
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if on_device else [])]
    with TemporaryDirectory() as folder:
        file = Path(folder) / "trace.json"
        with profile(activities=activities) as profiler:
            work()
        profiler.export_chrome_trace(str(file))
        events = json.loads(file.read_text(encoding="utf-8"))["traceEvents"]
    return read(events)


def read(events: Iterable[Mapping[str, Any]]) -> Trace:
    """events: of a Chrome trace as PyTorch writes it."""
    timed = [e for e in events if e.get("ph") == "X" and "cat" in e]
    launches = {e["args"]["correlation"]: e for e in timed if e["cat"] in _LAUNCHES and "correlation" in _args(e)}
    kernels = [
        Event(event["name"], launch["ts"], event["dur"], launch["tid"])
        for event in timed
        if event["cat"] in _DEVICE_WORK and (launch := launches.get(_args(event).get("correlation")))
    ]
    labels = [_event(e) for e in timed if e["cat"] == "user_annotation" and e["name"].startswith(LABEL)]
    calls = [_event(e) for e in timed if e["cat"] == "cpu_op"]
    return Trace(*(sorted(found, key=lambda e: (e.start_us, -e.duration_us)) for found in (labels, calls, kernels)))


def inside(events: Sequence[Event], stretches: Sequence[Event]) -> Iterator[tuple[Event, Event]]:
    """Each event with the interval of its thread in which it starts; intervals of one thread do not overlap."""
    by_thread: dict[object, list[Event]] = {}
    for stretch in stretches:
        by_thread.setdefault(stretch.thread, []).append(stretch)
    starts = {thread: [s.start_us for s in found] for thread, found in by_thread.items()}
    for event in events:
        place = bisect_right(starts.get(event.thread, []), event.start_us) - 1
        if place >= 0 and event.start_us <= by_thread[event.thread][place].end_us:
            yield event, by_thread[event.thread][place]


def outermost(events: Sequence[Event]) -> list[Event]:
    """The events that do not start inside another one of the list; events in the order of time."""
    kept: dict[object, Event] = {}
    result = []
    for event in events:
        if event.thread not in kept or event.start_us >= kept[event.thread].end_us:
            kept[event.thread] = event
            result.append(event)
    return result


def _event(record: Mapping[str, Any]) -> Event:
    return Event(record["name"], record["ts"], record["dur"], record["tid"])


def _args(record: Mapping[str, Any]) -> Mapping[str, Any]:
    found: Mapping[str, Any] = record.get("args", {})
    return found
