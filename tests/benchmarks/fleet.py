"""A fleet whose parts are killed, against a local measurement, and with many boards; every figure of reports/fleet.

    python tests/benchmarks/fleet.py kills --runs 10       # 200 requests and 20 kills at random in each
    python tests/benchmarks/fleet.py refusals
    python tests/benchmarks/fleet.py ratio                 # on a machine that does nothing else
    python tests/benchmarks/fleet.py boards --boards 200   # simulated, with requests of 5 s
    python tests/benchmarks/fleet.py report

Each command adds its figures to build/fleet.json.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import ssl
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil

from hwprof.data.store import Store
from hwprof.device import Device
from hwprof.errors import HwprofError
from hwprof.fleet import certificates
from hwprof.fleet.certificates import Credentials, Role, require_access
from hwprof.fleet.measuring import open_fleet
from hwprof.fleet.plan import Plan
from hwprof.jobs import profile
from hwprof.measure import environment
from hwprof.measure.recording import Options, recording
from hwprof.measurement import FAST, ProtocolSettings
from tests.fleet.chaos import ROLES, ROOT, Chaos
from tests.fleet.loopback import Loopback, plan_of
from tests.measure.scripted import ScriptedTransport

RESULTS = ROOT / "build" / "fleet.json"
REPORT = ROOT / "reports" / "fleet" / "README.md"
LIMIT_S = 1500.0
REQUESTS, KILLS = 200, 20
MODEL = "mobilenet_v2"


def kills(runs: int, requests: int, count: int, boards: int) -> None:
    """Each run: kills of random parts after random numbers of stored measurements."""
    rows = []
    for seed in range(runs):
        rng = random.Random(seed)
        moments = sorted(rng.sample(range(1, requests - 5), count))
        schedule = {moment: rng.choice(ROLES) for moment in moments}
        with tempfile.TemporaryDirectory() as name, Chaos(Path(name), requests, boards, rng) as chaos:
            start = time.monotonic()
            try:
                chaos.run(schedule, LIMIT_S)
                faults = chaos.faults()
            except TimeoutError as error:
                faults = [str(error)]
            seconds = time.monotonic() - start
            rows.append(
                {"seed": seed, "seconds": round(seconds), "kills": dict(chaos.kills), "stored": chaos.stored(),
                 "repeats": chaos.repeats(), "faults": faults}
            )  # fmt: skip
            print(rows[-1], flush=True)
            keep("kills", {"requests": requests, "boards": boards, "runs": rows})


def refusals() -> None:
    """Seconds until each stranger is refused, and what it is told."""
    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        certificates.make(folder / "foreign", "other")
        plan = plan_of(folder, ["a"])
        certificates.make(folder / "expired", "x")
        for file in ("ca.pem", "ca-key.pem"):
            (folder / "expired" / file).write_bytes((plan.keys / file).read_bytes())
        certificates.make(folder / "expired", "x", renew=True, role_days=0)
        with Loopback(plan, {"a": ScriptedTransport()}) as loopback:
            while not loopback.scheduler.workers:
                time.sleep(0.1)
            for what, keys in (("keys of another fleet", "foreign"), ("an expired certificate", "expired")):
                rows.append({"what": what, **refused(plan, folder / keys)})
            ports = [c.laddr.port for c in psutil.Process().net_connections("tcp") if c.status == psutil.CONN_LISTEN]
            for what, context in (("plain HTTP", None), ("TLS without a certificate", anonymous())):
                rows.append({"what": f"{what}, each of {len(ports)} ports", **silent(ports, context)})
    keep("refusals", rows)


def anonymous() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


def refused(plan: Plan, keys: Path) -> dict[str, Any]:
    start = time.monotonic()
    try:
        require_access(*plan.host_and_port, Credentials.of(keys, Role.DRIVER))
    except HwprofError as error:
        return {"seconds": time.monotonic() - start, "told": str(error)}
    return {"seconds": time.monotonic() - start, "told": "LET IN"}


def silent(ports: list[int], context: ssl.SSLContext | None) -> dict[str, Any]:
    from tests.fleet.test_certificates import answer_to

    start = time.monotonic()
    answers = {answer_to(port, b"GET /json/identity.json HTTP/1.0\r\n\r\n", context) for port in ports}
    is_silent = all(answer[:1] in (b"", b"\x15") for answer in answers)  # 0x15: a TLS alert
    return {"seconds": (time.monotonic() - start) / len(ports), "told": "no answer" if is_silent else "ANSWERED"}


def ratio(pairs: int, device: str) -> None:
    """The latency on a fleet of one board, this machine, over the local one; in turns."""
    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        plan = plan_of(folder, ["here"])
        plan.path.write_text(plan.path.read_text().replace('"any"', f'"{device}"') + 'launch = "here"\n')
        up = subprocess.Popen([sys.executable, "-m", "hwprof", "fleet", "up", str(plan.path), "--folder", str(folder)])
        try:
            time.sleep(10)
            with open_fleet(plan.path, print) as fleet:
                for _ in range(pairs):
                    options = Options(FAST, allow_unfit=True, with_operators=False, on_warning=lambda _: None)
                    local = profile(MODEL, device, options=options)
                    remote = profile(MODEL, device, options=fleet.options(options))
                    rows.append([local.normalized.median, remote.normalized.median])
                    print(rows[-1], rows[-1][1] / rows[-1][0], flush=True)
        finally:
            up.terminate()
            up.wait()
    keep("ratio", {"model": MODEL, "device": device, "pairs_ms": rows, "load": os.getloadavg()[0]})


def boards(count: int, seconds: float, each: int) -> None:
    """Share of the time in which simulated boards are busy, and what the scheduler takes of a core."""
    from tests.fleet.test_rounds import dense

    class Sleeping(ScriptedTransport):
        busy_s = 0.0

        def measure(self, request: Any) -> Any:
            time.sleep(seconds)
            self.busy_s += seconds
            return super().measure(request)

    settings = ProtocolSettings(pilot_processes=1, min_processes=1, max_processes=1, budget_s=seconds)
    with tempfile.TemporaryDirectory() as name:
        plan = plan_of(Path(name), [f"b{i}" for i in range(count)], group_s=0.001)
        with Loopback(plan, {b.name: Sleeping() for b in plan.boards}) as loopback:
            while len(loopback.scheduler.workers) < count:
                time.sleep(0.2)
            options = Options(settings, with_operators=False, keep_unconverged=True)
            device = Device("any", "roofline")
            with (
                open_fleet(plan, print) as fleet,
                Store() as store,
                recording(device, store, fleet.options(options)) as recorder,
            ):
                cpu, start = cpu_s(), time.monotonic()
                outcomes = list(recorder.profile_many([dense(n) for n in range(1, each * count + 1)]))
                wall, spent = time.monotonic() - start, cpu_s() - cpu
            busy = sum(agent.transport.busy_s for agent in loopback.agents.values())
    figures = {
        "boards": count, "request_s": seconds, "requests": len(outcomes), "busy": busy / (count * wall),
        "wall_s": wall, "cpu_ms_per_request": 1e3 * spent / len(outcomes), "load": os.getloadavg()[0],
        "threads": threading.active_count(),
    }  # fmt: skip
    print(figures)
    keep("boards", figures)


def cpu_s() -> float:
    times = psutil.Process().cpu_times()
    return float(times.user + times.system)


def keep(name: str, figures: Any) -> None:
    RESULTS.parent.mkdir(exist_ok=True)
    found = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    found[name] = figures
    RESULTS.write_text(json.dumps(found, indent=1))


def report() -> None:
    found: Mapping[str, Any] = json.loads(RESULTS.read_text())
    rows = [*kill_rows(found), *refusal_rows(found), *ratio_rows(found), *board_rows(found)]
    hardware = environment.hardware()
    lines = [
        "<!-- python tests/benchmarks/fleet.py report; its docstring has the commands of the runs -->",
        "# A fleet on one machine: killed, refused, compared",
        "",
        f"{hardware['cpu']}, {hardware['cores']} cores, {datetime.now(UTC):%Y-%m-%d}. The machine did much else at the "
        "same time, so that no figure here tells how long anything takes on a quiet one.",
        "",
        "| tried | result |",
        "| --- | --- |",
        *(f"| {tried} | {result} |" for tried, result in rows),
        "",
        "In the runs with kills, boards are simulated: their workers are processes that sleep, hold a lock in the "
        "kernel while they do, and log each start. A repeat is a network whose first process was started again.",
        "",
        *NOT_TRIED,
    ]
    REPORT.parent.mkdir(parents=True, exist_ok=True)
    REPORT.write_text("\n".join(lines) + "\n")


NOT_TRIED = [
    "Not measured: more boards than these, and boards on other machines. If all of the processor time of a request "
    "above were the scheduler's, half a core would pass on more than 20 requests a second: with requests of 60 s that "
    "is more than 1,000 boards on paper, less what heartbeats take, one from each board every n / 200 + 1 seconds. "
    "Beyond that, run a scheduler for each site and merge the stores (`hwprof store merge`).",
    "",
    "An SSH board was tried with a program in the place of OpenSSH that starts the worker on this machine: the same "
    "rows as a local one (`tests/fleet/test_agent.py`).",
]


def kill_rows(found: Mapping[str, Any]) -> list[tuple[str, str]]:
    if "kills" not in found:
        return []
    runs, requests = found["kills"]["runs"], found["kills"]["requests"]
    clean = sum(not run["faults"] for run in runs)
    by_role = {role: sum(run["kills"].get(role, 0) for run in runs) for role in ROLES}
    kinds = ", ".join(f"{n} {role}" for role, n in by_role.items())
    total, repeats = sum(by_role.values()), [run["repeats"] for run in runs]
    return [
        (
            f"{len(runs)} run(s) of {requests} requests on {found['kills']['boards']} boards, {total} SIGKILLs at "
            f"random ({kinds})",
            f"{clean} of {len(runs)}: all stored exactly once, never two measurements at once on a board; "
            f"{sum(repeats)} repeats in all, at most {max(repeats)} in a run",
        )
    ]


def refusal_rows(found: Mapping[str, Any]) -> list[tuple[str, str]]:
    return [(row["what"], f"{row['told']} ({row['seconds']:.2f} s)") for row in found.get("refusals", [])]


def ratio_rows(found: Mapping[str, Any]) -> list[tuple[str, str]]:
    if "ratio" not in found:
        return []
    figures = found["ratio"]
    ratios = [b / a for a, b in figures["pairs_ms"]]
    return [
        (
            f"{figures['model']} on {figures['device']}: fleet against local, {len(ratios)} pair(s) in turns, load "
            f"{figures['load']:.0f}",
            f"median ratio {statistics.median(ratios):.3f} ({min(ratios):.3f} .. {max(ratios):.3f})",
        )
    ]


def board_rows(found: Mapping[str, Any]) -> list[tuple[str, str]]:
    if "boards" not in found:
        return []
    f = found["boards"]
    return [
        (
            f"{f['boards']} simulated boards in one process, {f['requests']} requests of {f['request_s']:g} s, load "
            f"{f['load']:.0f}",
            f"busy {f['busy']:.1%} of the time; {f['cpu_ms_per_request']:.1f} ms of processor time a request for "
            "driver, scheduler and agents together",
        )
    ]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=["kills", "refusals", "ratio", "boards", "report"])
    parser.add_argument("--runs", type=int, default=10)
    parser.add_argument("--requests", type=int, default=REQUESTS)
    parser.add_argument("--kills", type=int, default=KILLS)
    parser.add_argument("--boards", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--each", type=int, default=6, help="Requests for each board.")
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--device", default="cpu-1t")
    a = parser.parse_args()
    tasks = {
        "kills": lambda: kills(a.runs, a.requests, a.kills, a.boards), "refusals": refusals,
        "ratio": lambda: ratio(a.pairs, a.device), "boards": lambda: boards(a.boards, a.seconds, a.each),
        "report": report,
    }  # fmt: skip
    tasks[a.what]()


if __name__ == "__main__":
    main()
