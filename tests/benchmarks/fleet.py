"""A fleet whose parts are killed, against a local measurement, and with many boards; every figure of reports/fleet.

    python tests/benchmarks/fleet.py kills --runs 10       # 200 requests and 20 kills at random in each
    python tests/benchmarks/fleet.py refusals
    python tests/benchmarks/fleet.py ratio                 # on a machine that does nothing else
    python tests/benchmarks/fleet.py boards --boards 200   # simulated, with requests of 5 s
    python tests/benchmarks/fleet.py faults                # a network that crashes, hangs or eats memory
    python tests/benchmarks/fleet.py ssh                   # a board behind OpenSSH's server, on this machine
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
import time
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil

from hwprof.data.store import Store
from hwprof.device import Device
from hwprof.errors import HwprofError
from hwprof.fleet import certificates
from hwprof.fleet import request as requests
from hwprof.fleet.agent import transport_of
from hwprof.fleet.certificates import Credentials, Role, require_access
from hwprof.fleet.connection import Connection
from hwprof.fleet.measuring import open_fleet
from hwprof.fleet.plan import Plan
from hwprof.jobs import profile
from hwprof.measure import environment
from hwprof.measure.recording import Options, recording
from hwprof.measure.worker_process import LocalTransport
from hwprof.measurement import FAST, ProtocolSettings
from tests.fleet.chaos import ROLES, ROOT, Chaos
from tests.fleet.loopback import Loopback, plan_of
from tests.fleet.simulated import networks
from tests.fleet.sshd import Sshd
from tests.measure.scripted import ScriptedTransport

RESULTS = ROOT / "build" / "fleet.json"
REPORT = ROOT / "reports" / "fleet" / "README.md"
LIMIT_S = 1500.0
REQUESTS, KILLS = 200, 20
MODEL = "mobilenet_v2"
SINGLE = ProtocolSettings(pilot_processes=1, min_processes=1, max_processes=1)
SIMULATED = ROOT / "tests" / "fleet" / "simulated.py"


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
            rows.append({"what": "a driver with another version of hwprof", **refused_version(plan)})
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


def refused_version(plan: Plan) -> dict[str, Any]:
    """What the agent says to a request of a driver that has the right keys."""
    connection = Connection(plan)
    connection.open()
    try:
        workers: Mapping[str, Any] = (connection.identity() or {})["workers"]
        start = time.monotonic()
        answers = connection.run(json.dumps({"do": "greet", "hwprof": "0.0.1"}), list(workers)) or {}
        return {"seconds": time.monotonic() - start, "told": "; ".join(told(answer) for answer in answers.values())}
    finally:
        connection.close()


def told(answer: str) -> str:
    return str(requests.error_of(json.loads(answer)) or "LET IN")


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
            await_scheduler(plan)
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
    """How busy simulated boards are, and what the driver, the scheduler and the agents take of a core. Each of the
    three is a process; each request holds one network, of one process that sleeps for so long."""
    name = f"{count} boards of {seconds:g} s"
    settings = replace(SINGLE, budget_s=seconds)
    with tempfile.TemporaryDirectory() as folder:
        plan = plan_of(Path(folder), [f"b{i}" for i in range(count)], group_s=0.001)
        spans = Path(folder) / "spans.json"
        parts = {"scheduler": started("scheduler", plan)}
        parts["agents"] = started("agents", plan, str(seconds), str(spans))
        try:
            await_scheduler(plan)
            options = Options(settings, with_operators=False, keep_unconverged=True)
            with (
                open_fleet(plan, print) as fleet,
                Store() as store,
                recording(Device("any", "roofline"), store, fleet.options(options)) as recorder,
            ):
                while len(fleet.fleet.boards()) < count:
                    time.sleep(1)
                processes = {"driver": psutil.Process(), **{k: psutil.Process(p.pid) for k, p in parts.items()}}
                before, start = cpu_s(processes), time.monotonic()
                outcomes = list(recorder.profile_many(networks(each * count)))
                wall, after = time.monotonic() - start, cpu_s(processes)
            errors = {str(outcome.error) for outcome in outcomes if outcome.error}
            memory = {part: process.memory_info().rss >> 20 for part, process in processes.items()}
        finally:
            for process in reversed(parts.values()):
                process.terminate()
                process.wait()
        measured = [span for found in json.loads(spans.read_text()).values() for span in found]
    begin, end = min(start for start, _ in measured), max(end for _, end in measured)
    if errors:
        raise SystemExit(f"errors: {errors}")
    figures = {
        "boards": count, "request_s": seconds, "requests": len(measured),
        "busy": sum(end - start for start, end in measured) / (count * (end - begin)), "span_s": end - begin,
        "wall_s": wall, "cores": {part: (after[part] - before[part]) / wall for part in before}, "mib": memory,
        "load": os.getloadavg()[0],
    }  # fmt: skip
    print(figures)
    keep(name, figures)


def faults() -> None:
    """What a network that ends its worker costs, and what becomes of the board and the other networks."""
    rows = []
    for death in ("crash", "hang", "memory"):
        with tempfile.TemporaryDirectory() as name:
            plan = plan_of(Path(name), ["a"], group_s=0.001)
            starts = Path(name) / "starts"
            worker = LocalTransport((sys.executable, "-S", "-E", str(SIMULATED), "fault", str(starts), death))
            with Loopback(plan, {"a": worker}) as loopback, open_fleet(plan, print) as fleet, Store() as store:
                options = Options(SINGLE, with_operators=False, keep_unconverged=True, limit_s=3.0)
                with recording(Device("any", "roofline"), store, fleet.options(options)) as recorder:
                    outcomes = list(recorder.profile_many(networks(6)))
                agent = loopback.agents["a"]
                failed = {outcome.graph.name: str(outcome.error) for outcome in outcomes if outcome.error}
                rows.append(
                    {"death": death, "failed": failed, "measured": sum(o.error is None for o in outcomes),
                     "tries": len(starts.read_text().splitlines()), "alive": agent.metric()["doing"] == "idle"}
                )  # fmt: skip
                print(rows[-1])
    keep("faults", rows)


def ssh() -> None:
    """The samples of a board behind a real OpenSSH server against those of this machine, on a device that calculates
    them: what is different came about on the way."""
    device = Device("any", "roofline").with_options(peak_macs_per_s=1e12, peak_bytes_per_s=1e11, noise=0.01, seed=1)
    with tempfile.TemporaryDirectory() as name, Sshd(Path(name)) as server:
        os.environ["PATH"] = f"{name}:{os.environ['PATH']}"
        plan = plan_of(Path(name), ["a"])
        plan.path.write_text(
            f'{plan.path.read_text()}launch = "ssh"\nhost = "{server.host}"\npython = "{sys.executable}"\n'
        )
        plan = Plan.load(plan.path)
        settings = ProtocolSettings(pilot_processes=2, min_processes=2, max_processes=2)
        options, rows = Options(settings, with_operators=False, keep_unconverged=True), []
        with Loopback(plan, {"a": transport_of(plan.board("a"))}), open_fleet(plan, print) as fleet:
            for asked in (options, fleet.options(options)):
                with Store() as store, recording(device, store, asked) as recorder:
                    rows.append([[[b.samples_ns for b in p.blocks] for p in m.processes]
                                 for m in recorder.measure(networks(2))])  # fmt: skip
    figures = {"networks": 2, "processes": sum(map(len, rows[0])), "is_same": rows[0] == rows[1]}
    print(figures)
    keep("ssh", figures)


def started(part: str, plan: Plan, *words: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "tests.fleet.simulated", part, str(plan.path), *words]
    return subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE)


def await_scheduler(plan: Plan) -> None:
    keys = Credentials.of(plan.keys, Role.DRIVER)
    while True:
        try:
            return require_access(*plan.host_and_port, keys)
        except ConnectionError:
            time.sleep(0.5)


def cpu_s(processes: Mapping[str, psutil.Process]) -> dict[str, float]:
    """Seconds of a core that each has taken."""
    times = {part: process.cpu_times() for part, process in processes.items()}
    return {part: float(found.user + found.system) for part, found in times.items()}


def keep(name: str, figures: Any) -> None:
    RESULTS.parent.mkdir(exist_ok=True)
    found = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    found[name] = figures
    RESULTS.write_text(json.dumps(found, indent=1))


def report() -> None:
    found: Mapping[str, Any] = json.loads(RESULTS.read_text())
    rows = [row for make in ROWS for row in make(found)]
    hardware = environment.hardware()
    lines = [
        "<!-- python tests/benchmarks/fleet.py report; its docstring has the commands of the runs -->",
        "# A fleet on one machine: killed, refused, compared",
        "",
        f"{hardware['cpu']}, {hardware['cores']} cores, {datetime.now(UTC):%Y-%m-%d}. The loads are given "
        "where other programs ran at the same time.",
        "",
        "| tried | result |",
        "| --- | --- |",
        *(f"| {tried} | {result} |" for tried, result in rows),
        "",
        "In the runs with kills, boards are simulated: their workers are processes that sleep, hold a lock in the "
        "kernel while they do, and log each start. A repeat is a network whose first process was started again.",
        "",
        *scale(found),
    ]
    REPORT.parent.mkdir(parents=True, exist_ok=True)
    REPORT.write_text("\n".join(lines) + "\n")


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
            f"repeats: {sum(repeats)} in all, at most {max(repeats)} in a run",
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


def fault_rows(found: Mapping[str, Any]) -> list[tuple[str, str]]:
    told = {"crash": "crashes its worker", "hang": "hangs", "memory": "eats all memory"}
    return [
        (
            f"a network that {told[row['death']]}, among 6 on one board",
            f"started {row['tries']} times, then: {row['failed'].get('network-2', 'NO ERROR')}; the agent is "
            f"{'alive' if row['alive'] else 'GONE'}, and {row['measured']} of 5 others are measured",
        )
        for row in found.get("faults", [])
    ]


def ssh_rows(found: Mapping[str, Any]) -> list[tuple[str, str]]:
    if "ssh" not in found:
        return []
    f = found["ssh"]
    return [
        (
            f"a board behind OpenSSH's server on this machine, {f['networks']} networks",
            f"{'the same samples' if f['is_same'] else 'OTHER SAMPLES'} as locally in all {f['processes']} processes",
        )
    ]


def board_rows(found: Mapping[str, Any]) -> list[tuple[str, str]]:
    return [
        (
            f"{f['boards']} simulated boards, {f['requests']} requests of {f['request_s']:g} s; driver, scheduler and "
            f"all agents on this machine, load {f['load']:.0f}",
            f"busy {f['busy']:.1%} of the time; "
            + ", ".join(f"{part} {cores:.3f} cores, {f['mib'][part]} MiB" for part, cores in f["cores"].items()),
        )
        for f in simulated(found)
    ]


def simulated(found: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The runs with simulated boards, the smallest first."""
    return sorted((f for name, f in found.items() if "boards of" in name), key=lambda f: int(f["boards"]))


def scale(found: Mapping[str, Any]) -> list[str]:
    """What more boards would take, on paper."""
    runs = simulated(found)
    if not runs:
        return []
    ms = {part: max(1e3 * cores(f, part) for f in runs) for part in ("scheduler", "driver")}
    per_s = 500 / ms["scheduler"]
    return [
        f"On paper: the scheduler took at most {ms['scheduler']:.1f} ms of a core for each request in these runs, "
        f"heartbeats included, and the driver {ms['driver']:.1f} ms. 200 boards with requests of 5 s are 40 requests a "
        f"second, {40 * ms['scheduler'] / 1e3:.2f} of a core for the scheduler; 1,000 with requests of 60 s are 17, "
        f"{17 * ms['scheduler'] / 1e3:.2f} of a core. Half a core is reached at {per_s:.0f} requests a second. The "
        "number of heartbeats grows no further than 200 a second, as each board's become rarer. Two requests are at "
        "each board, so that what is between them costs nothing as long as the scheduler and the driver keep up. All "
        "agents of a run above are one process on this machine, which boards have of their own: where a run is less "
        "busy than it should be, they may have waited for the processor. "
        "Beyond that, run a scheduler for each site and merge the stores (`hwprof store merge`).",
        "",
        "Not measured: boards on other machines.",
    ]


def cores(f: Mapping[str, Any], part: str) -> float:
    """Seconds of a core that the part took for a request."""
    return float(f["cores"][part]) * float(f["wall_s"]) / float(f["requests"])


ROWS = (kill_rows, refusal_rows, ratio_rows, fault_rows, ssh_rows, board_rows)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=["kills", "refusals", "ratio", "boards", "faults", "ssh", "report"])
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
        "faults": faults, "ssh": ssh, "report": report,
    }  # fmt: skip
    tasks[a.what]()


if __name__ == "__main__":
    main()
