"""The texts that a driver and an agent exchange: JSON, the same on both sides, and refused between two versions.

A request is {"do": NAME, "hwprof": VERSION, "done": [answers that the driver's store has], ...}; its answer is a
record, or {"error": CLASS, "text": ONE LINE}:

    greet    {"device"}                          what a worker there says of the machine, by the question
    measure  {"device", "settings", "limit_s", "in_detail", "job", "cohorts", "contents"}
                                                 {"cohorts": one record for each, "is_well"}
    ask      {"device", "limit_s", "request", "graphs", "contents"}
                                                 {"answers": those of a worker to the request}
    stop     {"job"}                             what is measured for the job ends after the process that runs now
    drain    {}                                  the agent ends when it has measured what it was asked for
    forget   {}                                  only "done" matters

"contents" may lack those of earlier requests; where the board has them no longer, the answer is {"missing": [digests]}.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from hwprof import __version__, errors
from hwprof.data.store import key_of
from hwprof.device import Device
from hwprof.errors import HwprofError, InputError, NotConvergedError
from hwprof.fleet.parcel import Parcel
from hwprof.measure.rounds import Cohort
from hwprof.measurement import Process, ProtocolSettings, process_from_record

GREETINGS = ("preflight", "hello", "overhead", "snapshot")


class DrainingError(HwprofError):
    """The agent takes no more requests."""


def request_text(do: str, **arguments: Any) -> str:
    """A request of this version of hwprof."""
    return json.dumps({"do": do, "hwprof": __version__, **arguments})


def read_request(text: str) -> dict[str, Any]:
    """Raises InputError for a request of another version, and for a text that is not one."""
    try:
        request = json.loads(text)
    except (ValueError, RecursionError):
        request = None
    if not isinstance(request, dict) or not isinstance(request.get("do"), str):
        raise InputError("the request is not hwprof's")
    require_version(str(request.get("hwprof")), "the driver")
    return request


def require_version(version: str, whose: str) -> None:
    """Raises InputError for another version of hwprof than this one."""
    if version != __version__:
        raise InputError(f"{whose} has hwprof {version}, this machine {__version__}; install one version on all")


def name_of(cohort: Cohort, device: Device, settings: ProtocolSettings, attempt: int) -> str:
    """The name of the answer for a cohort: hexadecimal digits that stay the same when the driver asks again, and differ
    for all else. attempt: counts what is asked again because it failed."""
    return key_of(
        {
            "cohort": cohort.name, "graphs": [graph.digest for graph in cohort.graphs], "device": device.digest,
            "settings": asdict(settings), "attempt": attempt,
        }
    )  # fmt: skip


def cohort_record(name: str, cohort: Cohort, parcel: Parcel) -> dict[str, Any]:
    """A cohort as it is sent, with the processes that it has. JSON-ready."""
    return {
        "name": name, "margin": cohort.margin, "limit": cohort.limit,
        "graphs": [parcel.packed(graph) for graph in cohort.graphs],
        "processes": [[asdict(process) for process in found] for found in cohort.processes],
    }  # fmt: skip


def cohort_answer(cohort: Cohort, is_stopped: bool = False) -> dict[str, Any]:
    """A cohort as it comes back. JSON-ready. is_stopped: its job's time was over, so that another job goes on with
    it."""
    return {
        "processes": [[asdict(process) for process in found] for found in cohort.processes],
        "spent_s": cohort.spent_s, "is_stopped": is_stopped, **(error_record(cohort.error) if cohort.error else {}),
    }  # fmt: skip


def not_begun(record: Mapping[str, Any]) -> dict[str, Any]:
    """The answer for a cohort, as it was sent, whose job's time was over before."""
    error = error_record(NotConvergedError("its job's time was over before it was begun"))
    return {"processes": record["processes"], "spent_s": 0.0, "is_stopped": True, **error}


def processes(record: Sequence[Sequence[Mapping[str, Any]]]) -> list[list[Process]]:
    """The processes of each graph. Raises as `process_from_record`."""
    return [[process_from_record(one) for one in found] for found in record]


def error_record(error: HwprofError) -> dict[str, Any]:
    """An error as an answer."""
    return {"error": type(error).__name__, "text": str(error)}


def error_of(record: Mapping[str, Any]) -> HwprofError | None:
    """The error that an answer holds, if any."""
    if "error" not in record:
        return None
    text = str(record.get("text", "")) or "it did not say why"
    if record["error"] == DrainingError.__name__:
        return DrainingError(text)
    kind = getattr(errors, str(record["error"]), None)
    return kind(text) if isinstance(kind, type) and issubclass(kind, HwprofError) else HwprofError(text)
