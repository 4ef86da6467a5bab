"""Where a worker runs: one method opens it, and everything else asks it without knowing the place.

A worker takes one request at a time, a JSON object {"do": NAME, ...}, and answers with JSON objects
(`hwprof.measure.worker`). `WorkerProcess` is a child process of this machine, `MockTransport` a function of this
process; a board over SSH or a node of a cluster is another `Transport`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Protocol, Self

from hwprof import errors
from hwprof.device import Device
from hwprof.errors import DeviceLostError, HwprofError

Request = Mapping[str, Any]  # JSON-ready; "do" names what to do
Answer = dict[str, Any]


class Worker(Protocol):
    """A context manager; the worker ends with it."""

    def ask(self, do: str, **arguments: Any) -> Iterator[Answer]:
        """Sends one request and yields its answers. Raises DeviceLostError when the worker is gone, and what the
        worker raised otherwise. The next request may be sent when all answers were taken."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None: ...


class Transport(Protocol):
    """A place where workers run."""

    def open(self, device: Device) -> Worker:
        """A fresh worker process where the device's networks run. Raises DeviceLostError when none can start."""
        ...


def read_answers(lines: Iterable[str]) -> Iterator[Answer]:
    """The answers to one request, from the lines that a worker writes: the only place that reads them.

    Raises what the worker raised, and EOFError when the lines end before the request is done."""
    for line in lines:
        if not line.endswith("\n"):
            break  # the worker was killed in the middle of a line
        answer = json.loads(line)
        if "error" in answer:
            raise _error(answer)
        if "done" in answer:
            return
        yield answer
    raise EOFError


def _error(answer: Answer) -> HwprofError:
    kind = getattr(errors, answer["error"], HwprofError)
    error = kind(answer["text"])
    assert isinstance(error, HwprofError)
    return error


@dataclass(frozen=True, slots=True)
class MockTransport:
    """Workers that a function of this process plays: `answer(request)` returns the answers, or raises.

    Requests and answers pass through JSON, as they do on the way to a process."""

    answer: Callable[[Request], Iterable[Mapping[str, Any]]]

    def open(self, device: Device) -> Worker:  # noqa: ARG002 -- the function sees it in each request
        return _MockWorker(self.answer)


@dataclass(slots=True)
class _MockWorker:
    """After a DeviceLostError it stays lost, as a process does."""

    answer: Callable[[Request], Iterable[Mapping[str, Any]]]
    is_lost: bool = False

    def ask(self, do: str, **arguments: Any) -> Iterator[Answer]:
        if self.is_lost:
            raise DeviceLostError("the worker was lost")
        try:
            for answer in self.answer(json.loads(json.dumps({"do": do, **arguments}))):
                yield json.loads(json.dumps(answer))
        except DeviceLostError:
            self.is_lost = True
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        pass
