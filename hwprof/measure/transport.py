"""Where a worker runs: one method opens it, and everything else asks it without knowing the place.

A worker takes one request at a time, a JSON object {"do": NAME, ...}, and answers with JSON objects
(`hwprof.measure.worker`). `WorkerProcess` is a child process of this machine, `MockTransport` a function of this
process; a board over SSH or a node of a cluster is another `Transport`.

What a worker answers is not trusted: one that answers too late, or something that is not the protocol's, has ended.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import chain
from types import TracebackType
from typing import Any, Protocol, Self

from hwprof import errors
from hwprof.device import Device
from hwprof.errors import DeviceLostError, HwprofError

Request = Mapping[str, Any]  # JSON-ready; "do" names what to do
Answer = dict[str, Any]

LIMIT_S = 900.0  # for one answer, unless a job says otherwise
STARTS = 3  # how often a worker is started that is lost before it has measured anything
_SHOWN = 60  # characters of an answer that cannot be read


class Worker(Protocol):
    """A context manager; the worker ends with it."""

    def ask(self, do: str, **arguments: Any) -> Iterator[Answer]:
        """Sends one request and yields its answers. Raises DeviceLostError when the worker is gone, TimeLimitError
        when it took too long, and what the worker raised otherwise. The next request may be sent when all answers were
        taken."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None: ...


class Transport(Protocol):
    """A place where workers run."""

    def open(self, device: Device, limit_s: float = LIMIT_S) -> Worker:
        """A fresh worker process where the device's networks run. Raises DeviceLostError when none can start.

        Each answer of the worker may take `limit_s` seconds (for each network of the request), or it is ended."""
        ...


@dataclass(frozen=True, slots=True)
class LimitedTransport:
    """Opens workers that have `limit_s` for an answer, whoever opens them."""

    transport: Transport
    limit_s: float

    def open(self, device: Device, limit_s: float = LIMIT_S) -> Worker:  # noqa: ARG002 -- its own holds
        return self.transport.open(device, self.limit_s)


def limit_of(request: Request, limit_s: float) -> float:
    """Seconds in which each answer to the request must come."""
    return limit_s * max(1, len(request.get("graphs", ())))


def read_answers(lines: Iterable[bytes]) -> Iterator[Answer]:
    """The answers to one request, from the lines that a worker writes: the only place that reads them.

    Raises what the worker raised, EOFError when the lines end before the request is done, and DeviceLostError for a
    line that is not the protocol's."""
    for line in lines:
        if not line.endswith(b"\n"):
            break  # the worker was killed in the middle of a line
        answer = _answer(line)
        if "error" in answer:
            raise _error(answer)
        if "done" in answer:
            return
        yield answer
    raise EOFError


def _answer(line: bytes) -> Answer:
    try:
        answer = json.loads(line.decode("utf-8"))
    except (ValueError, RecursionError):
        answer = None
    if not isinstance(answer, dict):
        raise DeviceLostError(f"the worker answered with {_shown(line)}, which is not a JSON object; it was ended")
    return answer


def _shown(line: bytes) -> str:
    text = line.decode("utf-8", "backslashreplace").rstrip("\n")
    return repr(text if len(text) <= _SHOWN else f"{text[:_SHOWN]}...")


def _error(answer: Answer) -> HwprofError:
    kind = getattr(errors, str(answer["error"]), None)
    text = " ".join(str(answer.get("text", "")).split()) or "it did not say why"
    return kind(text) if isinstance(kind, type) and issubclass(kind, HwprofError) else HwprofError(text)


def ask_once(worker: Worker, do: str, **arguments: Any) -> Answer:
    """The only answer to a request. Raises as `Worker.ask`, and DeviceLostError where there is none or another."""
    answers = list(worker.ask(do, **arguments))
    if len(answers) != 1:
        raise DeviceLostError(f"the worker's answer to {do!r} is not hwprof's ({len(answers)} records instead of one)")
    return answers[0]


@contextmanager
def understood(do: str) -> Iterator[None]:
    """Around what takes the answers to a request apart. Raises DeviceLostError where they lack what they must hold."""
    try:
        yield
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        missing = f"{error} is missing" if isinstance(error, KeyError) else error
        raise DeviceLostError(
            f"the worker's answer to {do!r} is not hwprof's ({missing}); is the same hwprof installed there?"
        ) from None


@dataclass(slots=True)
class RestartedWorker:
    """A `Worker` that is started again when it is lost, for requests that may be repeated: those that change nothing.

    The last of `STARTS` losses is raised, and a TimeLimitError at once; the next request starts it again."""

    transport: Transport
    device: Device
    worker: Worker | None = field(default=None, init=False)
    stack: ExitStack = field(default_factory=ExitStack, init=False)

    def ask(self, do: str, **arguments: Any) -> Iterator[Answer]:
        """Yields the answers as `Worker.ask` does, once all of them are there."""
        yield from self._answers(do, arguments, STARTS)

    def _answers(self, do: str, arguments: Mapping[str, Any], starts: int) -> list[Answer]:
        try:
            if self.worker is None:
                self.worker = self.stack.enter_context(self.transport.open(self.device))
            return list(self.worker.ask(do, **arguments))
        except DeviceLostError as error:
            self.close()
            if starts == 1 or isinstance(error, errors.TimeLimitError):
                raise
        return self._answers(do, arguments, starts - 1)

    def close(self) -> None:
        """Ends the worker; the next request starts another."""
        self.worker = None
        self.stack.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


@dataclass(frozen=True, slots=True)
class MockTransport:
    """Workers that a function of this process plays: `answer(request)` returns the answers, or raises.

    Requests and answers pass through JSON and `read_answers`, as they do on the way to a process. Nothing ends a
    function that takes too long."""

    answer: Callable[[Request], Iterable[Any]]

    def open(self, device: Device, limit_s: float = LIMIT_S) -> Worker:  # noqa: ARG002 -- the function sees the device
        return FunctionWorker(self.answer)


@dataclass(slots=True)
class FunctionWorker:
    """A `Worker` that a function of this process plays, as `MockTransport` describes. After a DeviceLostError it stays
    lost, as a process does."""

    answer: Callable[[Request], Iterable[Any]]
    is_lost: bool = False

    def ask(self, do: str, **arguments: Any) -> Iterator[Answer]:
        if self.is_lost:
            raise DeviceLostError("the worker was lost")
        try:
            yield from read_answers(self._lines(json.loads(json.dumps({"do": do, **arguments}))))
        except DeviceLostError:
            self.is_lost = True
            raise

    def _lines(self, request: Request) -> Iterator[bytes]:
        for answer in chain(self.answer(request), [{"done": True}]):
            yield json.dumps(answer).encode() + b"\n"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        pass
