"""The parts of a fleet whose boards are simulated, each a process that can be killed:

    python -m tests.fleet.simulated driver PLAN STORE N | scheduler PLAN | agent PLAN BOARD
    python -m tests.fleet.simulated agents PLAN SECONDS FILE    (all agents in one process, whose workers are threads)
    python tests/fleet/simulated.py BOARD LOG SECONDS    (a worker: it loads nothing but this)
    python tests/fleet/simulated.py fault LOG crash|hang|memory    (a worker that network-2 ends)

A worker "measures" by sleeping. It writes each start and end into the log, and holds a lock in the kernel meanwhile:
two at once on a board are seen, however they come about.
"""

import json
import os
import resource
import signal
import socket
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

FOLDER = "boards"  # next to the plan: of each board its outbox
LOG = "log.jsonl"
DEVICE = "simulated"
BLOCKS = 2
_SECONDS = "HWPROF_SIMULATED_SECONDS"


def work(board: str, log: str, seconds: float) -> None:
    """Answers as `hwprof.measure.worker` does."""
    for line in sys.stdin:
        request = json.loads(line)
        for answer in answers(request, board, log, seconds):
            sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.write('{"done": true}\n')
        sys.stdout.flush()


def work_faultily(log: str, death: str) -> None:
    """Answers as `work` does, but for one network. Its tries are in the log."""
    for line in sys.stdin:
        request = json.loads(line)
        if request["do"] == "measure" and any('"network-2"' in text for text in request["graphs"]):
            write(log, {"event": death})
            end(death)
        for answer in [*answers(request, "faulty", os.devnull, 0.0), {"done": True}]:
            print(json.dumps(answer), flush=True)


def end(death: str) -> None:
    """In the way that a runtime's process does."""
    if death == "crash":
        os.kill(os.getpid(), signal.SIGSEGV)
    elif death == "hang":
        time.sleep(3600)
    resource.setrlimit(resource.RLIMIT_AS, (1 << 28, 1 << 28))
    bytearray(1 << 40)


def answers(request: dict, board: str, log: str, seconds: float) -> Iterator[dict]:
    hello = {"versions": {"sleep": "1"}, "evidence": "simulated", "hardware": {"cpu": "none"}, "fingerprint": "0" * 12}
    fixed = {
        "hold": [{"is_held": False}], "preflight": [], "hello": [{**hello, "state": None}],
        "overhead": [{"empty_ns": [70.0, 20.0]}, {"identity_ns": None}], "snapshot": [{}], "opening": [{}],
    }  # fmt: skip
    if request["do"] != "measure":
        yield from fixed[request["do"]]
        return
    for place, text in enumerate(request["graphs"]):
        yield {"index": place, "process": measured(text, request, board, log, seconds)}


def measured(text: str, request: dict, board: str, log: str, seconds: float) -> dict:
    lock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    told = {"board": board, "graph": json.loads(text)["name"], "round": request["round"]}
    try:
        lock.bind(f"\0{log}-{board}")
    except OSError:
        write(log, {**told, "event": "overlap"})
    write(log, {**told, "event": "start"})
    time.sleep(seconds)
    write(log, {**told, "event": "end"})
    lock.close()
    block = {
        "samples_ns": [1000000], "runs_per_sample": 1, "anchors_ns": {}, "cpu_ns": 0, "rejected": "",
        "states": [],
    }  # fmt: skip
    blocks = [{**block, "start_ns": n * 10**7} for n in range(BLOCKS)]
    return {
        "round": request["round"], "started": "2026-01-01T00:00:00+00:00", "open_ns": 1, "cold_ns": 1,
        "warmup_ns": [1], "warmup": "flat", "blocks": blocks, "peak_memory_bytes": 0, "energy_mj": None,
        "warnings": [], "figures": {}, "build": "", "instructions": [],
    }  # fmt: skip


def write(log: str, record: dict) -> None:
    """One write, so that lines of several processes do not mix."""
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.write(descriptor, json.dumps(record).encode() + b"\n")
    os.close(descriptor)


def worker_command(folder: Path, board: str) -> tuple[str, ...]:
    """A worker of the board that starts in a few milliseconds."""
    seconds = os.environ.get(_SECONDS, "0.05")
    return (sys.executable, "-S", "-E", __file__, board, str(folder / LOG), seconds)


def settings():
    """The protocol of a request: two processes."""
    from hwprof.measurement import ProtocolSettings

    return ProtocolSettings(target=0.5, pilot_processes=2, min_processes=2, max_processes=2, budget_s=60)


def networks(n: int) -> list:
    """Small ones, all different."""
    from hwprof.builder import GraphBuilder

    graphs = []
    for width in range(1, n + 1):
        b = GraphBuilder(f"network-{width}")
        graphs.append(b.build(b.gemm(b.input((1, width)), 1)))
    return graphs


def drive(plan: str, store: str, n: str) -> None:
    """Measures n networks, or what the store lacks of them."""
    from hwprof.data.store import Store
    from hwprof.device import Device
    from hwprof.fleet.measuring import open_fleet
    from hwprof.measure.recording import Options, recording

    options = Options(settings(), with_operators=False, keep_unconverged=True)
    with (
        open_fleet(plan, lambda text: print(text, file=sys.stderr)) as fleet,
        Store(store) as opened,
        recording(Device(DEVICE, "roofline"), opened, fleet.options(options)) as recorder,
    ):
        errors = [str(outcome.error) for outcome in recorder.profile_many(networks(int(n))) if outcome.error]
    if errors:
        sys.exit(f"{len(errors)} errors: {errors[0]}")


def serve_all(plan: str, seconds: str, file: str) -> None:
    """Every board of the plan, until this process is told to end; then writes when which of them was busy."""
    import asyncio
    from functools import partial

    from hwprof.fleet import engine, serving
    from hwprof.fleet.agent import Agent
    from hwprof.fleet.certificates import Credentials, Role
    from hwprof.fleet.plan import Plan
    from hwprof.measure.transport import MockTransport

    opened, spans = Plan.load(plan), {}

    def played(board: str, request: dict) -> list[dict]:
        if request["do"] != "measure":
            return list(answers(request, board, os.devnull, 0.0))
        start = time.time()
        time.sleep(float(seconds))
        found = list(answers(request, board, os.devnull, 0.0))
        spans.setdefault(board, []).append((start, time.time()))
        return found

    def drain(agents: list[Agent]) -> None:
        for agent in agents:
            agent.is_draining = True

    async def serve() -> None:
        keys = Credentials.of(opened.keys, Role.AGENT)
        folder = opened.path.parent / FOLDER
        agents = [Agent(b, folder / b.name, MockTransport(partial(played, b.name))) for b in opened.boards]
        with engine.settings():
            served = [asyncio.ensure_future(serving._serve(opened, agent, keys, print, None)) for agent in agents]
            await asyncio.sleep(0)  # each has set its own handler of signals
            asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, lambda: drain(agents))
            await asyncio.wait(served)

    engine.silence()
    serving.end_with_input()
    try:
        asyncio.run(serve())
    finally:
        Path(file).write_text(json.dumps(spans))


def main(part: str, arguments: Sequence[str]) -> None:
    if part == "driver":
        drive(*arguments)
        return
    if part == "agents":
        serve_all(*arguments)
        return
    from hwprof.fleet import serving
    from hwprof.fleet.plan import Plan
    from hwprof.measure.worker_process import LocalTransport

    plan, tell = Plan.load(arguments[0]), lambda text: print(text, file=sys.stderr)
    serving.end_with_input()
    if part == "scheduler":
        serving.run_scheduler(plan, tell)
    else:
        folder = plan.path.parent
        transport = LocalTransport(worker_command(folder, arguments[1]))
        serving.run_agent(plan, arguments[1], tell, folder / FOLDER, transport=transport)


if __name__ == "__main__":
    if sys.argv[1] in ("driver", "scheduler", "agent", "agents"):
        main(sys.argv[1], sys.argv[2:])
    elif sys.argv[1] == "fault":
        work_faultily(*sys.argv[2:])
    else:
        work(sys.argv[1], sys.argv[2], float(sys.argv[3]))
